//! `limits`: the limits on bodies, connections and clients.

use std::time::Duration;

use super::reader::{ConfigReader, Field, Section};
use super::shape::{KeyType, SectionSchema, PLAIN};
use crate::rewrite::Bounds;

/// The bounds of the durations that the file may give clients.
const SECOND: Duration = Duration::from_secs(1);
const MINUTES: Duration = Duration::from_secs(300);

/// `limits`.
pub(super) const LIMITS: SectionSchema = SectionSchema {
    name: "limits",
    label: "`limits`",
    at: "limits",
    keys: &[
        ("body", KeyType::Read),
        ("window", KeyType::Read),
        ("event", KeyType::Read),
        ("memory", KeyType::Read),
        ("connections", KeyType::Read),
        ("connections_per_client", KeyType::Read),
        (
            "requests_per_client",
            KeyType::AnyOf(&[KeyType::Read, KeyType::Off]),
        ),
        (
            "requests_per_key",
            KeyType::AnyOf(&[KeyType::Read, KeyType::Off]),
        ),
        ("head_timeout", KeyType::Read),
        ("body_rate", KeyType::AnyOf(&[KeyType::Read, KeyType::Off])),
        ("body_grace", KeyType::Read),
    ],
    ..PLAIN
};

/// The limits on bodies, connections and clients. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    /// The largest body after decompression; a larger one gets 413.
    pub body: usize,
    /// The largest size of all bodies in memory together; a request above it gets 503.
    pub memory: usize,
    /// The largest number of open client connections.
    pub connections: usize,
    /// The largest number of open connections of one address (one /64 with IPv6) that is not in
    /// `trusted_proxies`.
    pub connections_per_client: usize,
    /// The largest number of requests a second of one address (one /64 with IPv6) that is not in
    /// `trusted_proxies`; `None` for no limit.
    pub requests_per_client: Option<usize>,
    /// The largest number of requests a second with one write key; `None` for no limit.
    pub requests_per_key: Option<usize>,
    /// How long the head of a request may take, from its first byte to its last.
    pub head_timeout: Duration,
    /// The minimum rate of a body; no minimum if it is `None`.
    pub body_rate: Option<BodyRate>,
}

/// The minimum rate of a body: `bytes` a second, on average over each period of at least `grace`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyRate {
    /// Bytes a second; at least one.
    pub bytes: u64,
    /// How long the proxy waits before it measures the rate.
    pub grace: Duration,
}

impl Default for BodyRate {
    fn default() -> Self {
        Self {
            bytes: 250,
            grace: Duration::from_secs(30),
        }
    }
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            body: 10 << 20,
            memory: 256 << 20,
            connections: 10_000,
            connections_per_client: 2_500,
            requests_per_client: None,
            requests_per_key: None,
            head_timeout: Duration::from_secs(30),
            body_rate: Some(BodyRate::default()),
        }
    }
}

/// Reads the minimum rate of a body; `None` if it is off.
fn body_rate(reader: &mut ConfigReader<'_>, section: &Section<'_>) -> Option<BodyRate> {
    let field = section.get("body_rate");
    let is_off = field.is_some_and(Field::is_off);
    let grace = reader.duration(section, "body_grace", SECOND..=MINUTES);
    if is_off {
        if let (Some(field), Some(_)) = (section.get("body_grace"), grace) {
            reader.wrong(field, "has no effect: `body_rate` is off");
        }
        return None;
    }
    let bytes = reader.size(section, "body_rate", 1..=1 << 30);
    let default = BodyRate::default();
    Some(BodyRate {
        bytes: bytes.unwrap_or(default.bytes),
        grace: grace.unwrap_or(default.grace),
    })
}

/// Reads `limits`. The default of `window` is at most `body`, and that of `memory` is at least `body`.
pub(super) fn read(reader: &mut ConfigReader<'_>, top: &Section<'_>) -> (RequestLimits, Bounds) {
    const MOST: u64 = 1 << 30;
    let mut limits = RequestLimits::default();
    let mut bounds = Bounds::default();
    let Some(section) = reader.optional_section(top, "limits", &LIMITS) else {
        return (limits, bounds);
    };
    let mut read = |key, most| {
        let size = reader.size(&section, key, 1..=most)?;
        usize::try_from(size).ok()
    };
    let (body, window, event, memory) = (
        read("body", MOST),
        read("window", MOST),
        read("event", MOST),
        read("memory", 1 << 40),
    );
    let most = reader.number(&section, "connections", 8..=1_000_000);
    let of_one = reader.number(&section, "connections_per_client", 1..=1_000_000);
    limits.connections = most.unwrap_or(limits.connections);
    limits.connections_per_client = of_one.unwrap_or((limits.connections / 4).max(1));
    let mut rate = |key| {
        let field = section.get(key);
        let off = field.is_none_or(Field::is_off);
        (!off).then(|| reader.number(&section, key, 1..=1_000_000))?
    };
    limits.requests_per_client = rate("requests_per_client");
    limits.requests_per_key = rate("requests_per_key");
    let head = reader.duration(&section, "head_timeout", SECOND..=MINUTES);
    limits.head_timeout = head.unwrap_or(limits.head_timeout);
    limits.body_rate = body_rate(reader, &section);
    let beyond = limits.connections_per_client > limits.connections;
    if let (Some(field), true) = (section.get("connections_per_client"), beyond) {
        reader.wrong(
            field,
            "larger than `connections`: one client could use them all",
        );
    }
    limits.body = body.unwrap_or(limits.body);
    limits.memory = memory.unwrap_or(limits.memory.max(limits.body));
    bounds.window = window.unwrap_or(bounds.window.min(limits.body));
    bounds.event = event.unwrap_or(bounds.event);
    if let (Some(field), true) = (section.get("window"), bounds.window > limits.body) {
        reader.wrong(field, "larger than `body`: no body reaches this size");
    }
    if let (Some(field), true) = (section.get("memory"), limits.memory < bounds.window) {
        reader.wrong(field, "smaller than `window`: no body would fit");
    }
    (limits, bounds)
}
