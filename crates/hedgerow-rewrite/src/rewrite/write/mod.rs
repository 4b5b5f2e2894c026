//! Writes an event: copies slices of the message to where PostHog looks for them.
//!
//! The order of precedence is the reference's (mapping 1.5): forced properties, then the caller's,
//! then the context's. Instead of building an object and overwriting its keys, this module writes each
//! key once, after checking that no key of higher precedence replaces it. The properties that the
//! enriched mode adds are written last and never replace others.

mod address;
mod campaign;
mod context;
mod context_cache;
mod enriched;
mod groups;
mod piece;
mod prefix;
mod presence;
mod reference;

use super::arrival::Recipient;
use super::enrich::cache::UserAgents;
use super::enrich::meta_ids::MetaIds;
use super::event_plan::EventPlan;
use super::explain::{Trace, ValueOrigin};
use super::group_types::{GroupTypes, NotedGroups};
use super::json::{
    is_truthy, name, Chunk, Entry, EventWriter, Name, Names, Output, Scratch, Value,
};
use super::library::LibraryKind;
use super::mapping::{Mapping, Mode};
use super::message::{find, named, MessagePart};
use super::message_source::MessageSource;
use super::normalise::{HappenedAt, Settled};
use super::time::KnownDate;
use crate::posthog::{EventParts, Location};
use context_cache::ContextWriting;
pub(super) use context_cache::{ContextCache, ContextId};
use groups::VisitorGroup;
use piece::write_piece;
use prefix::{Prefix, SEGMENT, UTM};
use presence::Mapped;

/// The inputs of an event besides its message.
#[derive(Clone, Copy)]
pub(super) struct WriteInputs<'d> {
    pub(super) mapping: &'d Mapping,
    pub(super) user_agents: &'d UserAgents,
    pub(super) recipient: &'d Recipient,
    /// The visitor's group from analytics.js's cookie.
    pub(super) group_cookie: Option<&'d str>,
    /// The ids from the cookies of Meta's pixel, if Hedgerow may send them.
    pub(super) meta_ids: Option<&'d MetaIds>,
    /// The counter of group types, or none if the groups are not sent.
    pub(super) group_types: Option<&'d GroupTypes>,
}

/// Memory for scanning a value of the message that has not been scanned yet.
pub(super) struct WriteScratch<'a> {
    pub(super) part: &'a mut MessagePart,
    pub(super) scan_scratch: &'a mut Scratch,
    /// The caller's groups whose types were recorded last.
    pub(super) noted_groups: &'a mut NotedGroups,
    /// The id of the message's context, and the cached properties of an earlier context.
    pub(super) context_cache: (ContextId, &'a mut ContextCache),
}

/// The result of [`write_event`].
pub(super) struct Written {
    pub(super) parts: EventParts,
    /// A group type that exceeds the project's limit.
    pub(super) sixth_group_type: Option<String>,
}

/// Appends the event of a plan: `{"uuid":…,"event":…,"timestamp":…,"properties":{…}}`.
pub(super) fn write_event<'b, 't>(
    (out, mut scratch, known_date): (&'b mut Vec<u8>, WriteScratch<'b>, &KnownDate),
    inputs: &WriteInputs<'_>,
    plan: &EventPlan<'_>,
    settled: &Settled<'t>,
    source: &'t MessageSource<'t>,
    trace: Option<&mut Trace>,
) -> Written {
    let text = source.text;
    static PROPERTIES: Chunk = Chunk::of([b",", b"\"properties\":", b""]);
    let mut out = EventWriter::new(out);
    let mut head: [u8; 9 + 37] = *b"{\"uuid\":\"........-....-....-....-............\"";
    head[9..45].copy_from_slice(&settled.uuid.text());
    out.array(&head);
    let mut event = out.at();
    if !plan.event.is_absent() {
        out.chunk(name!("event").entry());
        event = out.at();
        write_piece(&mut out, plan.event, text);
    }
    let event = out.at() - event;
    let mut time = out.at();
    match plan.timestamp {
        HappenedAt::Unknown => {}
        HappenedAt::AsWritten(value) => {
            out.chunk(name!("timestamp").entry());
            time = out.at();
            out.span(text, value.span);
        }
        HappenedAt::At(timestamp) => {
            let mut entry: [u8; 13 + 26] = *b",\"timestamp\":\"....-..-..T..:..:.......\"";
            entry[14..38].copy_from_slice(&timestamp.text(known_date));
            time += 13;
            out.array(&entry);
        }
    }
    let timestamp = out.at() - time;
    out.chunk(&PROPERTIES);
    let mut properties = Properties::open(
        (&mut out, &mut scratch),
        inputs,
        plan,
        settled,
        source,
        trace,
    );
    let (from, to) = properties.write();
    let location = properties.location;
    let sixth_group_type = properties.sixth_group_type();
    out.push(b'}');
    Written {
        // The size limit of an event is far below 4 GiB.
        parts: EventParts {
            length: out.at() as u32,
            event: event as u32,
            timestamp: timestamp as u32,
            distinct_id: (from as u32, to as u32),
            location,
        },
        sixth_group_type,
    }
}

/// Values among the caller's properties that change other properties.
#[derive(Debug, Default)]
struct MovedValues {
    url: Option<Value>,
    utm_name: Option<Value>,
    browser: Option<Value>,
}

impl MovedValues {
    const NAMES: Names = Names::of(&["url", "utm_name", "browser"]);

    #[inline(never)]
    fn of(entries: &[Entry], text: &[u8]) -> Self {
        let truthy = |name: Name| {
            let value = named(entries, name);
            value.filter(|value| is_truthy(*value, text))
        };
        Self {
            url: truthy(name!("url")),
            utm_name: truthy(name!("utm_name")),
            browser: truthy(name!("browser")),
        }
    }

    /// The properties that the values become.
    fn properties(&self) -> Names {
        let mut taken = Names::default();
        for (moved, property) in [
            (self.url, name!("$current_url")),
            (self.utm_name, name!("utm_campaign")),
            (self.browser, name!("$browser")),
        ] {
            if moved.is_some() {
                taken.add(property);
            }
        }
        taken
    }
}

/// The caller's values that are replaced, because they are not usable or not in their normal form.
#[derive(Debug, Default)]
struct ReplacedValues {
    /// The caller's `$ip` is not usable, and another address is known.
    ip: bool,
    /// The caller's `$set` is not an object, and the context's traits replace it.
    set: bool,
    /// The caller's `$groups` has a group's key that must be written differently for PostHog.
    groups: bool,
}

/// The properties of one event while they are written.
struct Properties<'o, 'b, 'p, 't> {
    out: &'o mut EventWriter<'b>,
    scratch: &'o mut WriteScratch<'b>,
    inputs: &'p WriteInputs<'p>,
    plan: &'p EventPlan<'p>,
    settled: &'p Settled<'t>,
    source: &'t MessageSource<'t>,
    trace: Option<&'o mut Trace>,
    noting: Noting,
    library: LibraryKind,
    /// The caller's properties. Group and alias calls have none.
    entries: &'t [Entry],
    /// The known names among the keys of `entries`.
    callers: Names,
    /// The properties that the context has given so far.
    taken: Names,
    /// Whether one of the caller's keys may equal a prefixed key of the context.
    prefixed: Prefixed,
    /// The context's values that have been written to a property of their own.
    mapped: Mapped,
    moved: MovedValues,
    /// The properties written since the first value of the campaign was skipped as not usable: they may
    /// replace a skipped value. None if no value was skipped.
    campaign_left: Option<Names>,
    replaced: ReplacedValues,
    group: Option<VisitorGroup<'p>>,
    /// The caller's groups whose entries are in `scratch.part`.
    looked_into: Option<Option<Value>>,
    /// Whether PostHog changes persons or groups by this event.
    changes_persons: bool,
    /// The project's constants whose keys have been written already, one bit for each.
    constants: u64,
    caching: ContextWriting,
    location: Location,
}

/// Whether written keys are recorded. They are if the project has constants, which written keys replace,
/// or if an explanation is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noting {
    Nothing,
    Keys,
}

/// Whether the caller has given any `utm_*` or `segment_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prefixed {
    None,
    Some,
}

impl Prefixed {
    fn of(callers: &Names) -> Self {
        match callers.intersects(&Names::PREFIXED) {
            true => Self::Some,
            false => Self::None,
        }
    }
}

impl<'o, 'b, 'p, 't> Properties<'o, 'b, 'p, 't> {
    #[inline(always)]
    fn open(
        (out, scratch): (&'o mut EventWriter<'b>, &'o mut WriteScratch<'b>),
        inputs: &'p WriteInputs<'p>,
        plan: &'p EventPlan<'p>,
        settled: &'p Settled<'t>,
        source: &'t MessageSource<'t>,
        trace: Option<&'o mut Trace>,
    ) -> Self {
        let properties = &source.message.properties;
        let (entries, callers): (&[Entry], _) = match plan.kind.has_properties() {
            true => (&properties.entries, properties.names()),
            false => (&[], Names::default()),
        };
        let noting = match inputs.recipient.properties.is_empty() && trace.is_none() {
            true => Noting::Nothing,
            false => Noting::Keys,
        };
        let context = source.context;
        let library = LibraryKind::of(context, source.context_text);
        let mode = inputs.mapping.mode;
        let mut properties = Self {
            out,
            scratch,
            inputs,
            plan,
            settled,
            source,
            trace,
            noting,
            library,
            entries,
            callers,
            taken: Names::default(),
            prefixed: Prefixed::of(&callers),
            mapped: Mapped::default(),
            moved: MovedValues::default(),
            campaign_left: None,
            replaced: ReplacedValues::default(),
            group: None,
            looked_into: None,
            changes_persons: plan.changes_persons(*source),
            constants: 0,
            caching: ContextWriting::No,
            // The connection's address is sent as `$ip` unless the caller has given another.
            location: match (settled.ip, callers.has(name!("$ip"))) {
                (Some(_), false) => Location::Settled,
                _ => Location::Open,
            },
        };
        if callers.intersects(&MovedValues::NAMES) {
            properties.moved = MovedValues::of(entries, source.text);
            properties.taken = properties.moved.properties();
        }
        if VisitorGroup::is_possible(inputs.group_cookie, source) {
            properties.group = VisitorGroup::of(
                inputs.group_cookie,
                (plan.kind, library, mode),
                source,
                entries,
            );
        }
        properties
    }

    /// Writes all properties and returns where the value of `distinct_id` begins and ends. Each entry
    /// is written after a comma; at the end, the opening brace replaces the first comma.
    fn write(&mut self) -> (usize, usize) {
        let start = self.out.at();
        if self.is_enriched() {
            self.replaced = ReplacedValues {
                ip: self.replaces_ip(),
                set: self.replaces_set(),
                groups: self.respells_groups(),
            };
        }
        self.write_callers();
        self.write_calls_own();
        self.write_groups();
        self.write_name();
        self.write_cached();
        self.write_unusable_time();
        if self.inputs.mapping.mode == Mode::Enriched {
            self.write_enriched();
        }
        self.write_constants();
        let mut distinct_id = self.out.at();
        if !self.plan.distinct_id.is_absent() {
            self.key(
                name!("distinct_id"),
                ValueOrigin::Fixed(self.plan.distinct_id_from),
            );
            distinct_id = self.out.at();
            write_piece(self.out, self.plan.distinct_id, self.source.text);
        }
        let behind = self.out.at();
        static LIB: Chunk = Chunk::of([b",\"$lib\":", b"\"Segment\"", b"}"]);
        self.out.chunk(&LIB);
        if self.noting == Noting::Keys {
            let origin = ValueOrigin::Fixed("always Segment, as in PostHog's own destination");
            self.note_key(b"", b"$lib", origin);
        }
        self.out.put_over(start, b'{');
        (distinct_id, behind)
    }

    #[inline(always)]
    fn key(&mut self, key: Name, origin: ValueOrigin<'_>) {
        self.out.chunk(key.entry());
        if self.noting == Noting::Keys {
            self.note_name(key, origin);
        }
    }

    #[inline(never)]
    fn note_name(&mut self, key: Name, origin: ValueOrigin<'_>) {
        self.note_key(b"", key.text().as_bytes(), origin);
    }

    /// Writes a key that is JSON text already.
    fn key_of(&mut self, key: &[u8], origin: ValueOrigin<'_>) {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(key);
        self.out.extend_from_slice(b"\":");
        self.note_key(b"", key, origin);
    }

    /// Writes an entry of the context under its key with a prefix.
    #[inline(always)]
    fn entry_of(&mut self, prefix: &'static Prefix, entry: &Entry, part: &'static str) {
        let text = self.source.context_text;
        let opening = (&prefix.opening, prefix.length);
        // Nearly always the colon follows the key directly, and the value follows the colon.
        if entry.value.span.start() == entry.key.end() + 2 {
            let whole = entry.key.to(entry.value.span);
            self.out.short_and_span(opening, (text, whole));
        } else {
            self.out.short(opening.0, opening.1);
            self.entry_in_pieces(entry);
        }
        if self.noting == Noting::Keys {
            let key = entry.key.of(text);
            self.note_key(prefix.text, key, ValueOrigin::Under(part, key));
        }
    }

    #[inline(never)]
    fn entry_in_pieces(&mut self, entry: &Entry) {
        let text = self.source.context_text;
        self.out.span(text, entry.key);
        self.out.extend_from_slice(b"\":");
        self.out.span(text, entry.value.span);
    }

    #[inline(never)]
    fn note_key(&mut self, prefix: &[u8], key: &[u8], origin: ValueOrigin<'_>) {
        self.note_constant(prefix, key);
        if let Some(trace) = &mut self.trace {
            trace.note(prefix, key, origin);
        }
    }

    /// Copies a value of the message, if there is one.
    fn copy(&mut self, key: Name, value: Option<Value>, origin: ValueOrigin<'_>) {
        if let Some(value) = value {
            self.key(key, origin);
            self.out.span(self.source.text, value.span);
        }
    }

    /// Whether the caller has given this key with a value that takes precedence over others.
    #[inline(always)]
    fn caller_has(&self, key: Name) -> bool {
        debug_assert!(
            self.caching == ContextWriting::No || context_cache::depends_on_presence(key)
        );
        self.callers.has(key) && !self.context_replaces(key)
    }

    /// Returns the caller's value of a key.
    fn callers(&self, key: Name) -> Option<Value> {
        debug_assert!(self.caching == ContextWriting::No || context_cache::depends_on_value(key));
        let has = self.callers.has(key);
        has.then(|| named(self.entries, key)).flatten()
    }

    /// Whether another value replaces the caller's value of a key.
    #[inline(always)]
    fn context_replaces(&self, key: Name) -> bool {
        const IP: Name = name!("$ip");
        const SET: Name = name!("$set");
        match key {
            IP => self.replaced.ip,
            SET => self.replaced.set,
            _ => false,
        }
    }

    /// Writes the project's constant properties. Every other property takes precedence.
    fn write_constants(&mut self) {
        let constants = &self.inputs.recipient.properties;
        for (index, (key, value)) in constants.iter().enumerate() {
            // `distinct_id` and `$lib` are written later.
            let is_harmful = self.changes_persons && is_no_profile(key, value);
            let is_taken = self.constants & constant_bit(index) != 0
                || is_harmful
                || self.caller_has_any(key)
                || matches!(key.as_str(), "distinct_id" | "$lib");
            if !is_taken {
                self.key_of(
                    key.as_bytes(),
                    ValueOrigin::Fixed("the project's constant properties"),
                );
                self.out.extend_from_slice(value.as_bytes());
            }
        }
    }

    /// The same as [`caller_has`](Self::caller_has), also for a key that is not a known name.
    fn caller_has_any(&self, key: &str) -> bool {
        find(self.entries, self.source.text, key).is_some_and(|_| match key {
            "$ip" => !self.replaced.ip,
            "$set" => !self.replaced.set,
            _ => true,
        })
    }

    fn note_constant(&mut self, prefix: &[u8], key: &[u8]) {
        let constants = &self.inputs.recipient.properties;
        for (index, (constant, _)) in constants.iter().enumerate() {
            if constant.as_bytes().strip_prefix(prefix) == Some(key) {
                self.constants |= constant_bit(index);
            }
        }
    }
}

/// Whether a property keeps PostHog from creating a profile and from changing persons at all.
fn is_no_profile(key: &str, value: &str) -> bool {
    key == "$process_person_profile" && value == "false"
}

/// Returns the bit of a constant. Constants after the 64th would share its bit, but the configuration
/// allows fewer.
fn constant_bit(index: usize) -> u64 {
    1 << index.min(63)
}
