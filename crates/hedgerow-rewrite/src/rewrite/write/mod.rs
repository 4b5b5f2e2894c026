//! Writing an event: slices of the message, copied to where PostHog looks for them.
//!
//! The order of precedence is the reference's (mapping 1.5): what is forced, then the caller's
//! properties, then what the context gives. Instead of building an object and overwriting keys,
//! each key is written once, after looking whether a stronger one takes its place. What the
//! enriched mode adds comes last and gives way to everything else.

mod enriched;
mod groups;
mod presence;
mod reference;

use super::enrich::cache::UserAgents;
use super::enrich::meta_ids::MetaIds;
use super::explain::{Origin, Trace};
use super::group_types::GroupTypes;
use super::json::{is_truthy, write_string, Entry, Scratch, Value};
use super::library::Library;
use super::message::{find, Part};
use super::normalise::{Settled, Source, Time};
use super::plan::{Piece, Plan};
use super::{Mapping, Mode, Recipient};
use crate::segment::Kind;
use groups::Group;
use presence::{Mapped, Presence};

/// What an event is written from besides its message.
#[derive(Clone, Copy)]
pub(super) struct Desk<'d> {
    pub(super) mapping: &'d Mapping,
    pub(super) user_agents: &'d UserAgents,
    pub(super) recipient: &'d Recipient,
    /// The visitor's group, as analytics.js keeps it in its cookie.
    pub(super) group_cookie: Option<&'d str>,
    /// The ids that Meta's pixel keeps in the visitor's cookies, where they may leave.
    pub(super) meta_ids: Option<&'d MetaIds>,
    /// Where types of groups are counted; nowhere if the groups do not leave.
    pub(super) group_types: Option<&'d GroupTypes>,
}

/// Memory to look into a value of the message with that has not been taken apart yet.
pub(super) struct Aside<'a> {
    pub(super) part: &'a mut Part,
    pub(super) scratch: &'a mut Scratch,
}

/// Writes the event of a plan: `{"uuid":…,"event":…,"timestamp":…,"properties":{…}}`. Gives back a
/// type of groups that is one too many for the project.
pub(super) fn write_event(
    (out, aside): (&mut Vec<u8>, Aside<'_>),
    desk: Desk<'_>,
    plan: &Plan<'_>,
    settled: &Settled<'_>,
    source: Source<'_>,
    trace: Option<&mut Trace>,
) -> Option<String> {
    let text = source.text;
    // Most of a message goes out as it came, some of it twice.
    out.reserve(text.len() + text.len() / 2 + 1024);
    out.extend_from_slice(b"{\"uuid\":\"");
    settled.uuid.write(out);
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
    let mut properties = Properties::open((out, aside), desk, plan, settled, source, trace);
    properties.write();
    let sixth = properties.sixth_group_type();
    out.push(b'}');
    sixth
}

fn write_piece(out: &mut Vec<u8>, piece: Piece<'_>, text: &[u8]) {
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
        Piece::Spelled(id) => write_string(out, id),
    }
}

/// What the caller's properties hold that bears on other properties.
#[derive(Debug, Default)]
struct Given {
    url: Option<Value>,
    utm_name: Option<Value>,
    browser: Option<Value>,
}

/// What the caller gave and does not count, because it is no value or not in its one form.
#[derive(Debug, Default)]
struct Yielding {
    /// `$ip` that is no address, where there is one.
    ip: bool,
    /// `$set` that is no object, where the context's traits are to be set.
    set: bool,
    /// `$groups` with a key that is not spelled as PostHog shall get it.
    groups: bool,
}

/// The properties of one event while they are written.
struct Properties<'o, 'p, 't> {
    out: &'o mut Vec<u8>,
    aside: Aside<'o>,
    desk: Desk<'p>,
    plan: &'p Plan<'p>,
    settled: &'p Settled<'t>,
    source: Source<'t>,
    trace: Option<&'o mut Trace>,
    library: Library,
    /// The caller's properties that count; none on group and alias calls.
    entries: &'t [Entry],
    presence: Presence,
    /// Which of the context's values have been written to a property of their own.
    mapped: Mapped,
    given: Given,
    /// Where values of the campaign have given way because they say nothing: what has taken the
    /// place of any.
    campaign_left: Option<Vec<String>>,
    yielding: Yielding,
    group: Option<Group<'p>>,
    /// Whether it is an event by which PostHog changes persons and groups.
    changes_persons: bool,
    /// Which of the project's constants have been written already: a bit for each.
    constants: u64,
    empty: bool,
}

impl<'o, 'p, 't> Properties<'o, 'p, 't> {
    fn open(
        (out, aside): (&'o mut Vec<u8>, Aside<'o>),
        desk: Desk<'p>,
        plan: &'p Plan<'p>,
        settled: &'p Settled<'t>,
        source: Source<'t>,
        trace: Option<&'o mut Trace>,
    ) -> Self {
        let entries: &[Entry] = match plan.kind {
            Kind::Group | Kind::Alias => &[],
            _ => &source.message.properties.entries,
        };
        let text = source.text;
        let truthy = |value: Value| Some(value).filter(|value| is_truthy(*value, text));
        let mut given = Given::default();
        let mut presence = Presence::default();
        for entry in entries {
            let key = entry.key.of(text);
            match key {
                b"url" => given.url = truthy(entry.value),
                b"utm_name" => given.utm_name = truthy(entry.value),
                b"browser" => given.browser = truthy(entry.value),
                _ => {}
            }
            presence.note(key);
        }
        for (moved, property) in [(given.url, "$current_url"), (given.browser, "$browser")] {
            if moved.is_some() {
                presence.note(property.as_bytes());
            }
        }
        let context = source.context;
        let library = Library::of(context, source.context_text);
        let mode = desk.mapping.mode;
        let group = Group::of(
            desk.group_cookie,
            (plan.kind, library, mode),
            source,
            entries,
        );
        out.push(b'{');
        let mut properties = Self {
            out,
            aside,
            desk,
            plan,
            settled,
            source,
            trace,
            library,
            entries,
            presence,
            mapped: Mapped::default(),
            given,
            campaign_left: None,
            yielding: Yielding::default(),
            group,
            changes_persons: plan.changes_persons(source),
            constants: 0,
            empty: true,
        };
        if mode == Mode::Enriched {
            properties.yielding = Yielding {
                ip: properties.yields_ip(),
                set: properties.yields_set(),
                groups: properties.respells_groups(),
            };
        }
        properties
    }

    fn write(&mut self) {
        self.write_callers();
        self.write_calls_own();
        self.write_groups();
        self.write_campaign();
        self.write_mapped();
        self.write_context();
        self.write_unusable_time();
        if self.desk.mapping.mode == Mode::Enriched {
            self.write_enriched();
        }
        self.write_constants();
        if self.plan.distinct_id != Piece::Absent {
            self.key("distinct_id", Origin::Fixed(self.plan.distinct_id_from));
            write_piece(self.out, self.plan.distinct_id, self.source.text);
        }
        self.key(
            "$lib",
            Origin::Fixed("always Segment, as in PostHog's own destination"),
        );
        self.out.extend_from_slice(b"\"Segment\"}");
    }

    fn comma(&mut self) {
        if self.empty {
            self.empty = false;
        } else {
            self.out.push(b',');
        }
    }

    fn key(&mut self, key: &str, origin: Origin<'_>) {
        self.key_of(b"", key.as_bytes(), origin);
    }

    /// A key out of two parts, each of which is JSON text already.
    fn key_of(&mut self, prefix: &[u8], key: &[u8], origin: Origin<'_>) {
        // Some forty keys an event: what is not there is not copied, and what is goes in few pieces.
        match std::mem::take(&mut self.empty) {
            true => self.out.push(b'"'),
            false => self.out.extend_from_slice(b",\""),
        }
        if !prefix.is_empty() {
            self.out.extend_from_slice(prefix);
        }
        self.out.extend_from_slice(key);
        self.out.extend_from_slice(b"\":");
        if !self.desk.recipient.properties.is_empty() {
            self.note_constant(prefix, key);
        }
        if let Some(trace) = &mut self.trace {
            trace.note(prefix, key, origin);
        }
    }

    /// Copies a value of the message, if it is there.
    fn copy(&mut self, key: &str, value: Option<Value>, origin: Origin<'_>) {
        if let Some(value) = value {
            self.key(key, origin);
            self.out.extend_from_slice(value.of(self.source.text));
        }
    }

    /// Whether the caller has given this key, so that others give way.
    fn caller_has(&self, key: &str) -> bool {
        self.callers(key).is_some_and(|_| !self.is_yielding(key))
    }

    /// The caller's value of a key.
    fn callers(&self, key: &str) -> Option<Value> {
        if !self.presence.may_have(key.as_bytes()) {
            return None;
        }
        find(self.entries, self.source.text, key)
    }

    /// Whether the caller's value of a key gives way to others.
    fn is_yielding(&self, key: &str) -> bool {
        match key {
            "$ip" => self.yielding.ip,
            "$set" => self.yielding.set,
            _ => false,
        }
    }

    /// Constant properties of the project; they give way to everything else.
    fn write_constants(&mut self) {
        let constants = &self.desk.recipient.properties;
        for (index, (key, value)) in constants.iter().enumerate() {
            // The last two are still to come.
            let is_harmful = self.changes_persons && is_no_profile(key, value);
            let is_taken = self.constants & constant_bit(index) != 0
                || is_harmful
                || self.caller_has(key)
                || matches!(key.as_str(), "distinct_id" | "$lib");
            if !is_taken {
                self.key(key, Origin::Fixed("the project's constant properties"));
                self.out.extend_from_slice(value.as_bytes());
            }
        }
    }

    fn note_constant(&mut self, prefix: &[u8], key: &[u8]) {
        let constants = &self.desk.recipient.properties;
        for (index, (constant, _)) in constants.iter().enumerate() {
            if constant.as_bytes().strip_prefix(prefix) == Some(key) {
                self.constants |= constant_bit(index);
            }
        }
    }
}

/// Whether a property keeps PostHog from making a profile, and from changing persons at all.
fn is_no_profile(key: &str, value: &str) -> bool {
    key == "$process_person_profile" && value == "false"
}

/// More constants than bits share the last one; the configuration allows fewer.
fn constant_bit(index: usize) -> u64 {
    1 << index.min(63)
}
