//! Writing an event: slices of the message, copied to where PostHog looks for them.
//!
//! The order of precedence is the reference's (mapping 1.5): what is forced, then the caller's
//! properties, then what the context gives. Instead of building an object and overwriting keys,
//! each key is written once, after looking whether a stronger one takes its place.

use super::json::{is_truthy, write_string, Entry, Shape, Value};
use super::message::{find, Inner};
use super::message_id::EventUuid;
use super::normalise::{Settled, Source, Time};
use super::plan::{Piece, Plan};
use super::spread::{write_spread, Strangers};
use crate::segment::Kind;

/// Writes the event of a plan: `{"uuid":…,"event":…,"timestamp":…,"properties":{…}}`.
pub(super) fn write_event(
    out: &mut Vec<u8>,
    plan: &Plan,
    settled: &Settled<'_>,
    source: Source<'_>,
    uuid: EventUuid,
) {
    let text = source.text;
    out.extend_from_slice(b"{\"uuid\":\"");
    uuid.write(out);
    out.push(b'"');
    if plan.event != Piece::Absent {
        out.extend_from_slice(b",\"event\":");
        write_piece(out, plan.event, text);
    }
    match plan.timestamp {
        Time::Unknown => {}
        Time::AsWritten(value) => {
            out.extend_from_slice(b",\"timestamp\":");
            out.extend_from_slice(value.of(text));
        }
        Time::At(timestamp) => {
            out.extend_from_slice(b",\"timestamp\":\"");
            timestamp.write(out);
            out.push(b'"');
        }
    }
    out.extend_from_slice(b",\"properties\":");
    Properties::open(out, plan, settled, source).write();
    out.push(b'}');
}

fn write_piece(out: &mut Vec<u8>, piece: Piece, text: &[u8]) {
    match piece {
        Piece::Absent => {}
        Piece::Raw(value) => out.extend_from_slice(value.of(text)),
        Piece::Digits(value) => {
            out.push(b'"');
            out.extend_from_slice(value.of(text));
            out.push(b'"');
        }
        Piece::Name(name) => {
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.push(b'"');
        }
    }
}

/// A path of the context that has a property of its own: the literal key that is preferred to the
/// path, the path, and the property.
type Mapped = (&'static str, Option<(Inner, &'static str)>, &'static str);

/// Those paths (mapping 1.3, point 3).
const MAPPED: [Mapped; 8] = [
    ("ip", None, "$ip"),
    ("page.url", Some((Inner::Page, "url")), "$current_url"),
    ("page.path", Some((Inner::Page, "path")), "$pathname"),
    ("os.name", Some((Inner::Os, "name")), "$os"),
    (
        "page.referrer",
        Some((Inner::Page, "referrer")),
        "$referrer",
    ),
    (
        "screen.width",
        Some((Inner::Screen, "width")),
        "$screen_width",
    ),
    (
        "screen.height",
        Some((Inner::Screen, "height")),
        "$screen_height",
    ),
    ("device.type", Some((Inner::Device, "type")), "$device_type"),
];

/// The type under which the reference files every group (mapping 1.3).
const GROUP_TYPE: &str = "segment_group";

/// A time that PostHog could not read, as the sender wrote it.
const ORIGINAL_TIMESTAMP: &str = "segment_original_timestamp";

/// What the caller's properties hold that bears on other properties.
#[derive(Debug, Default)]
struct Given {
    url: Option<Value>,
    utm_name: Option<Value>,
    browser: Option<Value>,
    /// Whether any key could stand in the way of one that the context gives.
    reserved: Reserved,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Reserved {
    #[default]
    None,
    Some,
}

struct Properties<'o, 'p, 't> {
    out: &'o mut Vec<u8>,
    plan: &'p Plan,
    settled: &'p Settled<'t>,
    source: Source<'t>,
    /// The caller's properties that count; none on group and alias calls.
    entries: &'t [Entry],
    given: Given,
    group_id: Option<Value>,
    empty: bool,
}

impl<'o, 'p, 't> Properties<'o, 'p, 't> {
    fn open(
        out: &'o mut Vec<u8>,
        plan: &'p Plan,
        settled: &'p Settled<'t>,
        source: Source<'t>,
    ) -> Self {
        let entries: &[Entry] = match plan.kind {
            Kind::Group | Kind::Alias => &[],
            _ => &source.message.properties.entries,
        };
        let text = source.text;
        let truthy = |value: Value| Some(value).filter(|value| is_truthy(*value, text));
        let mut given = Given::default();
        for entry in entries {
            let key = entry.key.of(text);
            match key {
                b"url" => given.url = truthy(entry.value),
                b"utm_name" => given.utm_name = truthy(entry.value),
                b"browser" => given.browser = truthy(entry.value),
                _ => {}
            }
            if key.starts_with(b"$") || key.starts_with(b"segment_") || key.starts_with(b"utm_") {
                given.reserved = Reserved::Some;
            }
        }
        let group_id = source
            .context
            .get(source.context_text, "groupId")
            .filter(|id| is_truthy(*id, source.context_text));
        out.push(b'{');
        Self {
            out,
            plan,
            settled,
            source,
            entries,
            given,
            group_id,
            empty: true,
        }
    }

    fn write(mut self) {
        self.write_callers();
        self.write_calls_own();
        if let Some(group_id) = self.group_id {
            self.key("$groups");
            self.out.push(b'{');
            write_string(self.out, GROUP_TYPE);
            self.out.push(b':');
            self.out
                .extend_from_slice(group_id.of(self.source.context_text));
            self.out.push(b'}');
        }
        self.write_campaign();
        self.write_mapped();
        self.write_context();
        self.write_unusable_time();
        if self.plan.distinct_id != Piece::Absent {
            self.key("distinct_id");
            write_piece(self.out, self.plan.distinct_id, self.source.text);
        }
        self.key("$lib");
        self.out.extend_from_slice(b"\"Segment\"}");
    }

    fn comma(&mut self) {
        if self.empty {
            self.empty = false;
        } else {
            self.out.push(b',');
        }
    }

    fn key(&mut self, key: &str) {
        self.key_of(b"", key.as_bytes());
    }

    /// A key out of two parts, each of which is JSON text already.
    fn key_of(&mut self, prefix: &[u8], key: &[u8]) {
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(prefix);
        self.out.extend_from_slice(key);
        self.out.extend_from_slice(b"\":");
    }

    /// The caller's properties, in runs as long as nothing stands in between that has to go.
    fn write_callers(&mut self) {
        let text = self.source.text;
        let mut run: Option<(usize, usize)> = None;
        for entry in self.entries {
            if self.is_replaced(entry.key.of(text)) {
                self.write_run(run.take());
                continue;
            }
            // One before the key is its quote.
            let start = run.map_or(entry.key.start() - 1, |(start, _)| start);
            run = Some((start, entry.value.span.end()));
        }
        self.write_run(run);
        let properties = self.source.message.properties.value;
        if let (Some(value), false) = (properties, self.takes_no_properties()) {
            self.spread(b"", &Strangers::none(), text, value);
        }
        if self.given.url.is_some() {
            self.copy("$current_url", self.given.url);
        }
        if self.given.utm_name.is_some() {
            self.copy("utm_campaign", self.given.utm_name);
        }
        if self.given.browser.is_some() {
            self.copy("$browser", self.given.browser);
        }
    }

    fn takes_no_properties(&self) -> bool {
        matches!(self.plan.kind, Kind::Group | Kind::Alias)
    }

    fn write_run(&mut self, run: Option<(usize, usize)>) {
        if let Some((start, end)) = run {
            self.comma();
            let entries = self.source.text.get(start..end).unwrap_or_default();
            self.out.extend_from_slice(entries);
        }
    }

    /// Whether a key of the caller's gives way (mapping 1.4, 1.5 and 1.6).
    fn is_replaced(&self, key: &[u8]) -> bool {
        match key {
            b"distinct_id" | b"$lib" => true,
            b"url" | b"$current_url" => self.given.url.is_some(),
            b"utm_campaign" => self.given.utm_name.is_some(),
            b"$browser" => self.given.browser.is_some(),
            b"$groups" => self.group_id.is_some(),
            b"$screen_name" => self.plan.kind == Kind::Screen,
            b"$set" => self.plan.kind == Kind::Identify,
            b"$anon_distinct_id" => self.plan.anon_distinct_id != Piece::Absent,
            _ => false,
        }
    }

    /// What the call itself puts among the properties (mapping 1.6).
    fn write_calls_own(&mut self) {
        let text = self.source.text;
        let message = self.source.message;
        match self.plan.kind {
            Kind::Track | Kind::Page => {}
            Kind::Screen => self.copy("$screen_name", message.name),
            Kind::Identify => {
                self.copy("$set", message.traits);
                if self.plan.anon_distinct_id != Piece::Absent {
                    self.key("$anon_distinct_id");
                    write_piece(self.out, self.plan.anon_distinct_id, text);
                }
            }
            Kind::Group => {
                self.key("$geoip_disable");
                self.out.extend_from_slice(b"true");
                self.key("$group_type");
                write_string(self.out, GROUP_TYPE);
                self.copy("$group_key", message.group_id);
                self.copy("$group_set", message.traits);
            }
            Kind::Alias => {
                if self.plan.alias != Piece::Absent {
                    self.key("alias");
                    write_piece(self.out, self.plan.alias, text);
                }
            }
        }
    }

    fn copy(&mut self, key: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.key(key);
            self.out.extend_from_slice(value.of(self.source.text));
        }
    }

    /// Whether the caller has given this key, so that the context's gives way.
    fn caller_has(&self, key: &str) -> bool {
        self.given.reserved == Reserved::Some && find(self.entries, self.source.text, key).is_some()
    }

    /// `utm_*` (mapping 1.3, point 2).
    fn write_campaign(&mut self) {
        let Some(campaign) = self.campaign() else {
            return;
        };
        let text = self.source.context_text;
        let entries = self.source.context.inner(Inner::Campaign);
        let named = |entry: &Entry| match entry.key.of(text) {
            b"name" => "campaign".as_bytes(),
            key => key,
        };
        let strangers = self.strangers(b"utm_", campaign, entries);
        for (index, entry) in entries.iter().enumerate() {
            let name = named(entry);
            let twice = name == b"campaign"
                && entries
                    .iter()
                    .skip(index + 1)
                    .any(|later| named(later) == name);
            let outdone = name == b"campaign" && self.given.utm_name.is_some();
            if !twice && !outdone && !strangers.hold(name) {
                self.key_of(b"utm_", name);
                self.out.extend_from_slice(entry.value.of(text));
            }
        }
        self.spread(b"utm_", &strangers, text, campaign);
    }

    /// The campaign, if it is one that is taken apart rather than kept.
    fn campaign(&self) -> Option<Value> {
        let text = self.source.context_text;
        let campaign = self.source.context.get(text, "campaign")?;
        is_truthy(campaign, text).then_some(campaign)
    }

    /// The keys of the caller's that begin like those the context gives by this value.
    fn strangers(&self, prefix: &'static [u8], value: Value, entries: &[Entry]) -> Strangers<'t> {
        if self.given.reserved == Reserved::None {
            return Strangers::none();
        }
        let questions = match value.shape {
            Shape::Object => entries.len(),
            // One that is spread has at most as many parts as bytes.
            _ => value.span.end() - value.span.start(),
        };
        Strangers::with_prefix(prefix, self.entries, self.source.text, questions)
    }

    /// What spreading a value that is not an object adds, where the caller gives no such key.
    fn spread(&mut self, prefix: &[u8], strangers: &Strangers<'_>, text: &[u8], value: Value) {
        write_spread(self.out, &mut self.empty, (prefix, strangers), text, value);
    }

    fn write_mapped(&mut self) {
        let Source {
            context,
            context_text,
            ..
        } = self.source;
        for (literal, path, property) in MAPPED {
            let value = context.get(context_text, literal).or_else(|| {
                path.and_then(|(inner, key)| find(context.inner(inner), context_text, key))
            });
            let stands_in = property == "$ip" && self.settled.ip.is_some();
            let replaced = property == "$current_url" && self.given.url.is_some();
            let Some(value) = value.filter(|_| !stands_in && !replaced) else {
                continue;
            };
            if !self.caller_has(property) {
                self.key(property);
                self.out.extend_from_slice(value.of(context_text));
            }
        }
        if let Some(ip) = self.settled.ip {
            for key in ["$ip", "segment_ip"] {
                if !self.caller_has(key) {
                    self.key(key);
                    write_string(self.out, &ip.to_string());
                }
            }
        }
    }

    /// `segment_*` (mapping 1.3, point 4).
    fn write_context(&mut self) {
        if let Some(value) = self.source.context.value {
            self.write_context_of(value);
        }
        if let Some(user_agent) = self.settled.user_agent {
            if !self.caller_has("segment_userAgent") {
                self.key("segment_userAgent");
                write_string(self.out, user_agent);
            }
        }
    }

    fn write_context_of(&mut self, value: Value) {
        let Source {
            context,
            context_text,
            ..
        } = self.source;
        let campaign_gone = self.campaign().is_some();
        let strangers = self.strangers(b"segment_", value, &context.entries);
        for entry in &context.entries {
            let key = entry.key.of(context_text);
            let gone = match key {
                b"campaign" => campaign_gone,
                b"ip" => self.settled.ip.is_some(),
                _ => false,
            };
            if !gone && !strangers.hold(key) {
                self.key_of(b"segment_", key);
                self.out.extend_from_slice(entry.value.of(context_text));
            }
        }
        self.spread(b"segment_", &strangers, context_text, value);
    }

    fn write_unusable_time(&mut self) {
        let Some(time) = self.plan.unusable_time else {
            return;
        };
        let Source {
            context,
            context_text,
            ..
        } = self.source;
        let taken = context.get(context_text, "original_timestamp").is_some();
        // An array or object among the times is no loss, and could be of any size.
        let scalar = !matches!(time.shape, Shape::Array | Shape::Object);
        if scalar && !taken && !self.caller_has(ORIGINAL_TIMESTAMP) {
            self.copy(ORIGINAL_TIMESTAMP, Some(time));
        }
    }
}
