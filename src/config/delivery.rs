//! `delivery`, its `spool`, and the mode of a single project.

use std::time::Duration;

use hedgerow_spool::DeliveryMode;

use super::reader::{ConfigReader, Section};
use super::shape::{KeyType, SectionSchema, PLAIN};
use super::spool::{self, SpoolConfig};
use crate::posthog::BATCH_LIMIT;

const MODES: [(&str, DeliveryMode); 3] = [
    ("stream", DeliveryMode::Stream),
    ("group", DeliveryMode::Group),
    ("spool", DeliveryMode::Spool),
];

/// `delivery`.
pub(super) const DELIVERY: SectionSchema = SectionSchema {
    name: "delivery",
    label: "`delivery`",
    at: "delivery",
    keys: &[
        ("connect_timeout", KeyType::Read),
        ("timeout", KeyType::Read),
        ("mode", KeyType::Read),
        ("linger", KeyType::Read),
        ("group_size", KeyType::Read),
        (
            "spool",
            KeyType::AnyOf(&[KeyType::Off, KeyType::Section("spool")]),
        ),
    ],
    ..PLAIN
};

/// `delivery` of a project.
pub(super) const PROJECT_DELIVERY: SectionSchema = SectionSchema {
    name: "delivery of a project",
    label: "`delivery` of a project",
    at: "projects.shop.delivery",
    keys: &[("mode", KeyType::Read)],
    ..PLAIN
};

/// How long PostHog may take, and what happens when it takes longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryConfig {
    /// The limit for a connection, including TLS.
    pub connect_timeout: Duration,
    /// The limit for the answer to a batch.
    pub timeout: Duration,
    /// When clients get their 200. A project may have its own mode.
    pub mode: DeliveryMode,
    /// How long a request waits for others, in the mode `group`.
    pub linger: Duration,
    /// The size in bytes at which a group is sent without further waiting, in the mode `group`.
    pub group_size: usize,
    /// Where batches wait while PostHog is unreachable; `None` if it is off.
    pub spool: Option<SpoolConfig>,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(15),
            mode: DeliveryMode::Stream,
            linger: Duration::from_millis(5),
            group_size: 1 << 20,
            spool: None,
        }
    }
}

/// Whether the file has a `spool`, even one with mistakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpoolNamed {
    Yes,
    No,
}

/// Reads `delivery`.
pub(super) fn read(
    reader: &mut ConfigReader<'_>,
    top: &Section<'_>,
) -> (DeliveryConfig, SpoolNamed) {
    let mut delivery = DeliveryConfig::default();
    let Some(section) = reader.optional_section(top, "delivery", &DELIVERY) else {
        return (delivery, SpoolNamed::No);
    };
    let range = Duration::from_millis(1)..=Duration::from_secs(600);
    if let Some(timeout) = reader.duration(&section, "connect_timeout", range.clone()) {
        delivery.connect_timeout = timeout;
    }
    if let Some(timeout) = reader.duration(&section, "timeout", range) {
        delivery.timeout = timeout;
    }
    delivery.spool = section
        .get("spool")
        .and_then(|field| spool::read(reader, field));
    let named = match section.get("spool") {
        Some(field) if !field.is_off() => SpoolNamed::Yes,
        _ => SpoolNamed::No,
    };
    if let Some(mode) = mode(reader, &section, named) {
        delivery.mode = mode;
    }
    let moment = Duration::ZERO..=Duration::from_secs(1);
    if let Some(linger) = reader.duration(&section, "linger", moment) {
        delivery.linger = linger;
    }
    if let Some(size) = reader.size(&section, "group_size", 1..=BATCH_LIMIT as u64) {
        delivery.group_size = size as usize;
    }
    (delivery, named)
}

/// Reads the `delivery` of a project. Returns its own mode, if it has one.
pub(super) fn of_project(
    reader: &mut ConfigReader<'_>,
    project: &Section<'_>,
    named: SpoolNamed,
) -> Option<DeliveryMode> {
    let section = reader.optional_section(project, "delivery", &PROJECT_DELIVERY)?;
    mode(reader, &section, named)
}

fn mode(
    reader: &mut ConfigReader<'_>,
    section: &Section<'_>,
    named: SpoolNamed,
) -> Option<DeliveryMode> {
    let mode = reader.choice(section, "mode", &MODES)?;
    if let (DeliveryMode::Spool, SpoolNamed::No, Some(field)) = (mode, named, section.get("mode")) {
        reader.wrong(field, "needs a `spool` in `delivery`");
    }
    Some(mode)
}
