//! `mapping`, `limits` and `server`.

use std::path::Path;
use std::time::Duration;

use super::model::{BodyRate, RequestLimits, ServerConfig, Watching};
use super::reader::{ConfigReader, Field, Section};
use super::schema;
use super::sessions::{self, SessionMode};
use crate::rewrite::{
    Bookkeeping, Bounds, ContextTraits, DeviceTypes, EventUuidForm, GroupTypeFrom, Integrations,
    Mapping, Mode, Noise, PersonProfiles, Repeats, SameAnonymousId, SecondIdentify,
};

/// The shortest and the longest that a client may be given for something.
const SECOND: Duration = Duration::from_secs(1);
const MINUTES: Duration = Duration::from_secs(300);

/// Reads `mapping`.
pub(super) fn mapping(reader: &mut ConfigReader<'_>, top: &Section<'_>) -> (Mapping, SessionMode) {
    let mut mapping = Mapping::default();
    let Some(section) = reader.optional_section(top, "mapping", &schema::MAPPING) else {
        return (mapping, SessionMode::Off);
    };
    let mut choose = Chooser {
        reader,
        section: &section,
    };
    choose.set(
        "mode",
        &mut mapping.mode,
        &[("reference", Mode::Reference), ("enriched", Mode::Enriched)],
    );
    choose.set(
        "integrations",
        &mut mapping.integrations,
        &[
            ("respect", Integrations::Respect),
            ("ignore", Integrations::Ignore),
        ],
    );
    choose.set(
        "group_type_from",
        &mut mapping.group_type_from,
        &[
            ("setting", GroupTypeFrom::Setting),
            ("traits", GroupTypeFrom::Traits),
        ],
    );
    choose.set(
        "person_profiles",
        &mut mapping.person_profiles,
        &[
            ("always", PersonProfiles::Always),
            ("identified_only", PersonProfiles::IdentifiedOnly),
            ("never", PersonProfiles::Never),
        ],
    );
    choose.set(
        "event_uuid",
        &mut mapping.event_uuid,
        &[("v5", EventUuidForm::V5), ("v7", EventUuidForm::V7)],
    );
    choose.set(
        "device_type",
        &mut mapping.device_type,
        &[
            ("as_sent", DeviceTypes::AsSent),
            ("posthog", DeviceTypes::PostHog),
        ],
    );
    choose.set(
        "same_anonymous_id",
        &mut mapping.same_anonymous_id,
        &[
            ("keep", SameAnonymousId::Keep),
            ("drop", SameAnonymousId::Drop),
        ],
    );
    choose.set(
        "context_traits",
        &mut mapping.context_traits,
        &[
            ("identify", ContextTraits::Identify),
            ("always", ContextTraits::Always),
        ],
    );
    choose.set(
        "bookkeeping",
        &mut mapping.bookkeeping,
        &[("off", Bookkeeping::Off), ("on", Bookkeeping::On)],
    );
    choose.set(
        "repeats",
        &mut mapping.repeats,
        &[("send", Repeats::Send), ("suppress", Repeats::Suppress)],
    );
    if let Some(group_type) = group_type(reader, &section) {
        mapping.group_type = group_type;
    }
    if let Some(posthog_js) = reader.optional_section(&section, "posthog_js", &schema::POSTHOG_JS) {
        let mut choose = Chooser {
            reader,
            section: &posthog_js,
        };
        choose.set(
            "identify",
            &mut mapping.posthog_js.identify,
            &[("send", SecondIdentify::Send), ("set", SecondIdentify::Set)],
        );
        choose.set(
            "noise",
            &mut mapping.posthog_js.noise,
            &[("keep", Noise::Keep), ("strip", Noise::Strip)],
        );
    }
    let sessions = sessions::read(reader, &section);
    if mapping.mode == Mode::Reference {
        warn_about_enriched_only_switches(reader, &section);
    }
    (mapping, sessions)
}

fn warn_about_enriched_only_switches(reader: &mut ConfigReader<'_>, section: &Section<'_>) {
    for key in ["sessions", "repeats"] {
        let field = section.get(key);
        let does_something = |field: &&Field<'_>| !field.is_off() && field.text() != Some("send");
        if let Some(field) = field.filter(does_something).cloned() {
            reader.warn(&field, "has no effect in `mode: reference`");
        }
    }
}

/// Reads keys whose values are words.
struct Chooser<'c, 'r, 's> {
    reader: &'c mut ConfigReader<'r>,
    section: &'c Section<'s>,
}

impl Chooser<'_, '_, '_> {
    fn set<T: Copy>(&mut self, key: &str, to: &mut T, words: &[(&str, T)]) {
        if let Some(chosen) = self.reader.choice(self.section, key, words) {
            *to = chosen;
        }
    }
}

fn group_type(reader: &mut ConfigReader<'_>, section: &Section<'_>) -> Option<String> {
    let field = section.get("group_type")?;
    let text = reader.text(field, "the name of a group type")?;
    if text.is_empty() || text.len() > 200 || text.contains(char::is_control) {
        reader.wrong(
            field,
            "expected the name of a group type, at most 200 bytes",
        );
        return None;
    }
    Some(text.to_owned())
}

/// How fast a body has to come.
fn body_rate(reader: &mut ConfigReader<'_>, section: &Section<'_>) -> Option<BodyRate> {
    let said = section.get("body_rate");
    let is_off = said.is_some_and(Field::is_off);
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

/// Reads `limits`. A window that is not given fits into the body, memory holds at least a body.
pub(super) fn limits(reader: &mut ConfigReader<'_>, top: &Section<'_>) -> (RequestLimits, Bounds) {
    const MOST: u64 = 1 << 30;
    let mut limits = RequestLimits::default();
    let mut bounds = Bounds::default();
    let Some(section) = reader.optional_section(top, "limits", &schema::LIMITS) else {
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
        let said = section.get(key);
        let off = said.is_none_or(Field::is_off);
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

/// Reads `server`.
pub(super) fn server(reader: &mut ConfigReader<'_>, top: &Section<'_>) -> ServerConfig {
    let mut server = ServerConfig::default();
    let Some(section) = reader.optional_section(top, "server", &schema::SERVER) else {
        return server;
    };
    if let Some(threads) = reader.number(&section, "threads", 1..=1024) {
        server.threads = threads;
    }
    let range = Duration::ZERO..=Duration::from_secs(3600);
    if let Some(grace) = reader.duration(&section, "grace", range) {
        server.grace = grace;
    }
    let words = [("on", Watching::On), ("off", Watching::Off)];
    if let Some(watch) = reader.choice(&section, "watch", &words) {
        server.watch = watch;
    }
    let said = section.get("upgrade_socket").cloned();
    let said = said.filter(|field| !field.is_nothing() && !field.is_off());
    server.upgrade_socket = said.and_then(|field| {
        let text = reader.text(&field, "off or the path of a socket")?;
        if text.is_empty() {
            reader.wrong(&field, "expected off or the path of a socket");
            return None;
        }
        Some(reader.secrets.resolve(Path::new(text)))
    });
    server
}
