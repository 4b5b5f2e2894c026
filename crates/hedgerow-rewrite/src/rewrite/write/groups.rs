//! Writes the properties of groups (mapping 1.3, 1.6 and 5.5).

use std::borrow::Cow;

use super::super::event_plan::Piece;
use super::super::explain::ValueOrigin;
use super::super::group_types::{GroupSpelling, NewGroupTypes};
use super::super::identity::Id;
use super::super::json::{
    find_flat_key, name, unescape, write_string, Entry, EventWriter, FlatSearch, Name, Output,
    Scratch, Shape, Value,
};
use super::super::library::LibraryKind;
use super::super::mapping::{GroupTypeFrom, Mode};
use super::super::message::{named, MessagePart};
use super::super::message_source::MessageSource;
use super::super::usable;
use super::enriched::is_set;
use super::piece::write_piece;
use super::Properties;
use crate::segment::Kind;

/// The traits that name a group's type. The first takes precedence.
const TYPE_TRAITS: [&str; 2] = ["$group_type", "groupType"];

/// The group that an event's visitor belongs to.
#[derive(Debug)]
pub(super) enum VisitorGroup<'p> {
    /// `context.groupId`.
    Context(Id),
    /// The id in analytics.js's cookie, which analytics.js never copies into later events (mapping 5.5).
    Cookie(&'p str),
}

impl<'p> VisitorGroup<'p> {
    /// Returns the group of a message. The cookie is used only for events of a browser's visitor, and
    /// only if the message's context names no group. It is not used if the caller's `$groups` is not an
    /// object, to which nothing can be added.
    #[inline(never)]
    pub(super) fn of(
        cookie: Option<&'p str>,
        (kind, library, mode): (Kind, LibraryKind, Mode),
        source: &MessageSource<'_>,
        entries: &[Entry],
    ) -> Option<Self> {
        let text = source.context_text;
        let group_id = source.context.named(name!("groupId"));
        if mode == Mode::Reference {
            let id = Id::as_written(group_id, text);
            return id.if_truthy(text).is_some().then_some(Self::Context(id));
        }
        let id = Id::of_utf8(group_id, source.context_utf8, mode);
        if id.value().is_some() {
            return Some(Self::Context(id));
        }
        let cookie = cookie?;
        let applies = library == LibraryKind::Browser && kind.has_properties();
        let given = named(entries, name!("$groups"));
        let can_add = given.is_none_or(|given| given.shape == Shape::Object);
        (applies && can_add).then_some(Self::Cookie(cookie))
    }

    /// Whether a message may have a group: only then the context or the cookie names one.
    #[inline(always)]
    pub(super) fn is_possible(cookie: Option<&'p str>, source: &MessageSource<'_>) -> bool {
        cookie.is_some() || source.context.names().has(name!("groupId"))
    }

    fn origin(&self) -> ValueOrigin<'static> {
        ValueOrigin::Fixed(match self {
            Self::Context(_) => "context.groupId, and properties.$groups in the enriched mode",
            Self::Cookie(_) => "the cookie ajs_group_id, and properties.$groups",
        })
    }
}

/// Whether a key, which may contain escapes, equals `name`.
fn is_key(key: &[u8], name: &str) -> bool {
    if !key.contains(&b'\\') {
        return key == name.as_bytes();
    }
    unescape(&[b"\"", key, b"\""].concat()) == name
}

/// Returns a group's key in `$groups` in the normal form of an id. The id has no value if the key names
/// no group.
fn group_key(value: Value, text: &str) -> Id {
    Id::of_utf8(Some(value), text, Mode::Enriched)
}

/// Whether a number keeps all its digits in a program that reads it as a double.
fn is_safe(value: Value, text: &[u8]) -> bool {
    const SAFE_DIGITS: usize = 15;
    value.of(text).len() <= SAFE_DIGITS
}

/// Whether an id is written differently from its text, or not at all.
fn is_respelled(id: &Id, text: &[u8]) -> bool {
    match (id.value(), id.spelled()) {
        (Some(value), None) => value.shape == Shape::Number && !is_safe(value, text),
        _ => true,
    }
}

/// Writes a group's key. PostHog converts a number to a text. A number with more digits than a double
/// holds is written as a text, so that it keeps every digit.
fn write_group_key(out: &mut EventWriter<'_>, id: &Id, text: &[u8]) {
    match id.value() {
        Some(value) if id.spelled().is_none() && is_safe(value, text) => {
            out.extend_from_slice(value.of(text));
        }
        _ => write_piece(out, Piece::of(id).digits(), text),
    }
}

impl Properties<'_, '_, '_, '_> {
    /// Returns the id that the caller gives under one of PostHog's own names, if it is not in its normal
    /// form. An id in a merge must also be a text, or PostHog drops the event (posthog-ingestion 4.2).
    pub(super) fn respelled(&self, entry: &Entry) -> Option<Id> {
        const ANONYMOUS: Name = name!("$anon_distinct_id");
        const ALIAS: Name = name!("alias");
        const GROUP_KEY: Name = name!("$group_key");
        let (text, value) = (self.source.text, entry.value);
        let names_id = match entry.name {
            ANONYMOUS => true,
            ALIAS => self.is_event(&["$create_alias", "$merge_dangerously"]),
            GROUP_KEY => self.is_event(&["$groupidentify"]),
            _ => return None,
        };
        if !names_id || !self.is_enriched() {
            return None;
        }
        let id = Id::of(Some(value), text, Mode::Enriched);
        let is_number = value.shape == Shape::Number && entry.name != GROUP_KEY;
        (is_number || is_respelled(&id, text)).then_some(id)
    }

    fn is_event(&self, names: &[&str]) -> bool {
        let event = self.plan.event.text(self.source.text);
        event.is_some_and(|event| names.contains(&event.as_ref()))
    }

    /// Writes an id of [`respelled`](Self::respelled), unless it has no value.
    pub(super) fn write_respelled(&mut self, key: &[u8], id: &Id) {
        if id.value().is_some() {
            self.key_of(key, ValueOrigin::Under("properties", key));
            write_piece(self.out, Piece::of(id).digits(), self.source.text);
        }
    }

    /// Writes `$groups` of any call: the visitor's group and, in the enriched mode, the caller's groups.
    /// If both have a group of one type, writes only the caller's.
    pub(super) fn write_groups(&mut self) {
        if self.group.is_some() {
            self.write_visitors_group();
        } else if self.replaced.groups {
            self.write_groups_of(None, ValueOrigin::Under("properties", b"$groups"));
        } else if self.plan.kind == Kind::Group && self.is_enriched() {
            self.write_own_group();
        }
    }

    #[inline(never)]
    fn write_visitors_group(&mut self) {
        let group = self.group.take();
        if let Some(group) = &group {
            self.write_groups_of(Some(group), group.origin());
        }
        self.group = group;
    }

    fn write_groups_of(&mut self, group: Option<&VisitorGroup<'_>>, origin: ValueOrigin<'_>) {
        let group_type = &self.inputs.mapping.group_type;
        let given = self
            .callers(name!("$groups"))
            .filter(|given| self.is_enriched() && given.shape == Shape::Object);
        let given_utf8 = given.map_or("", |given| given.part_of(self.source.utf8));
        let given_text = given_utf8.as_bytes();
        let callers = self.look_into(given);
        self.key(name!("$groups"), origin);
        self.out.push(b'{');
        let mut first = true;
        let names_type = |entry: &Entry| {
            is_key(entry.key.of(given_text), group_type)
                && group_key(entry.value, given_utf8).value().is_some()
        };
        if let Some(group) = group.filter(|_| !callers.entries.iter().any(names_type)) {
            first = false;
            write_string(self.out, group_type);
            self.out.push(b':');
            match group {
                VisitorGroup::Context(id) => self.write_context_group(id),
                VisitorGroup::Cookie(id) => write_string(self.out, id),
            }
        }
        for entry in &callers.entries {
            let id = group_key(entry.value, given_utf8);
            if id.value().is_none() {
                continue;
            }
            if !std::mem::replace(&mut first, false) {
                self.out.push(b',');
            }
            self.out.push(b'"');
            self.out.extend_from_slice(entry.key.of(given_text));
            self.out.extend_from_slice(b"\":");
            write_group_key(self.out, &id, given_text);
        }
        self.out.push(b'}');
        *self.scratch.part = callers;
    }

    fn write_context_group(&mut self, id: &Id) {
        let text = self.source.context_text;
        match id.value() {
            Some(value) if !self.is_enriched() => self.out.extend_from_slice(value.of(text)),
            _ => write_group_key(self.out, id, text),
        }
    }

    /// Returns the caller's `$groups`. It is mostly where it was in the last event.
    #[inline(always)]
    fn callers_groups(&mut self) -> Option<Value> {
        const GROUPS: Name = name!("$groups");
        if !self.callers.has(GROUPS) {
            return None;
        }
        let place = &mut self.scratch.noted_groups.place;
        match self.entries.get(*place) {
            Some(entry) if entry.name == GROUPS => Some(entry.value),
            _ => {
                *place = self.entries.iter().position(|entry| entry.name == GROUPS)?;
                self.entries.get(*place).map(|entry| entry.value)
            }
        }
    }

    /// Whether a group's key in the caller's `$groups` must be written differently for PostHog.
    pub(super) fn respells_groups(&mut self) -> bool {
        let given = self.callers_groups();
        let Some(given) = given.filter(|given| given.shape == Shape::Object) else {
            return false;
        };
        let utf8 = given.part_of(self.source.utf8);
        let text = utf8.as_bytes();
        if let Some(spelling) = self.scratch.noted_groups.spelling(text) {
            return spelling == GroupSpelling::Different;
        }
        let groups = self.look_into(Some(given));
        let respells = groups
            .entries
            .iter()
            .any(|entry| is_respelled(&group_key(entry.value, utf8), text));
        *self.scratch.part = groups;
        respells
    }

    /// Returns the entries of the caller's groups, which are scanned only once. Without groups, returns
    /// no entries. After use, the part must be put back into `scratch.part`.
    fn look_into(&mut self, given: Option<Value>) -> MessagePart {
        if self.looked_into == Some(given) {
            return std::mem::take(self.scratch.part);
        }
        // Include the text after the value: the scanner is slow near the end of a text.
        let text = given.and_then(|given| self.source.text.get(given.span.start()..));
        let part = self.look_into_text(text.unwrap_or_default());
        self.looked_into = Some(given);
        part
    }

    /// Returns the entries of the object at the start of clean JSON, or no entries. After use, the part
    /// must be put back into `scratch.part`.
    pub(super) fn look_into_text(&mut self, text: &[u8]) -> MessagePart {
        self.looked_into = None;
        let mut part = std::mem::take(self.scratch.part);
        // The text was scanned before as a part of the message, so this scan succeeds as well.
        if part.scan_first(text, self.scratch.scan_scratch).is_err() {
            part.clear();
        }
        part
    }

    /// Returns a group type of this event that exceeds the project's limit, if it has not been reported
    /// before (posthog-ingestion 4.5).
    pub(super) fn sixth_group_type(&mut self) -> Option<String> {
        let group_types = self.inputs.group_types?;
        let project = &self.inputs.recipient.project;
        let is_sixth = |name: &str| group_types.note(project, name) == NewGroupTypes::Sixth;
        if self.plan.kind == Kind::Group {
            let group_type = self.group_type();
            if is_sixth(&group_type) {
                return Some(group_type);
            }
        }
        if self.group.is_some() {
            let group_type = &self.inputs.mapping.group_type;
            if is_sixth(group_type) {
                return Some(group_type.clone());
            }
            if !self.is_enriched() {
                // In the reference mode, the visitor's group replaces the caller's `$groups`.
                return None;
            }
        }
        if !self.caller_has(name!("$groups")) {
            return None;
        }
        let given = self.callers_groups()?;
        let groups = given.part_of(self.source.utf8);
        if self.scratch.noted_groups.is(project, groups.as_bytes()) {
            return None;
        }
        let sixth = self.sixth_of(given, is_sixth);
        if sixth.is_none() {
            let spelling = match self.replaced.groups {
                true => GroupSpelling::Different,
                false => GroupSpelling::AsSent,
            };
            self.scratch
                .noted_groups
                .keep(project, groups.as_bytes(), spelling);
        }
        sixth
    }

    /// Returns the type among the caller's groups that exceeds the project's limit.
    fn sixth_of(&mut self, given: Value, is_sixth: impl Fn(&str) -> bool) -> Option<String> {
        if self.looked_into != Some(Some(given)) {
            let text = self.source.utf8.get(given.span.start()..);
            match find_flat_key(text.unwrap_or_default(), &is_sixth) {
                FlatSearch::Found(name) => return Some(name.to_owned()),
                FlatSearch::Absent => return None,
                FlatSearch::NotFlat => {}
            }
        }
        let groups = given.part_of(self.source.utf8);
        let part = self.look_into(Some(given));
        let sixth = part.entries.iter().find_map(|entry| {
            let key = entry.key.part_of(groups);
            let name = match key.contains('\\') {
                false => Cow::Borrowed(key),
                true => {
                    let quoted = [b"\"", key.as_bytes(), b"\""].concat();
                    Cow::Owned(unescape(&quoted).into_owned())
                }
            };
            is_sixth(&name).then(|| name.into_owned())
        });
        *self.scratch.part = part;
        sixth
    }

    /// Writes `$groups` of a group call without `context.groupId`: the group that the call names.
    fn write_own_group(&mut self) {
        let settled = self.settled;
        if settled.group_id.value().is_some() {
            let group_type = self.group_type();
            self.key(name!("$groups"), ValueOrigin::Fixed("groupId"));
            self.out.push(b'{');
            write_string(self.out, &group_type);
            self.out.push(b':');
            write_group_key(self.out, &settled.group_id, self.source.text);
            self.out.push(b'}');
        }
    }

    /// Writes the properties of a group call (mapping 1.6).
    pub(super) fn write_group(&mut self) {
        let message = self.source.message;
        let group_type = self.group_type();
        self.key(
            name!("$geoip_disable"),
            ValueOrigin::Fixed("always on a group call"),
        );
        self.out.extend_from_slice(b"true");
        self.key(
            name!("$group_type"),
            ValueOrigin::Fixed("mapping.group_type, or the traits if allowed"),
        );
        write_string(self.out, &group_type);
        self.write_own_group_key();
        if self.inputs.mapping.group_type_from == GroupTypeFrom::Traits {
            self.write_group_set_without_type();
        } else {
            let traits = message.traits();
            let traits = traits.filter(|traits| !self.is_enriched() || is_set(*traits));
            self.copy(name!("$group_set"), traits, ValueOrigin::Fixed("traits"));
        }
    }

    fn write_own_group_key(&mut self) {
        let settled = self.settled;
        if !self.is_enriched() {
            let group_id = self.source.message.group_id();
            return self.copy(name!("$group_key"), group_id, ValueOrigin::Fixed("groupId"));
        }
        if settled.group_id.value().is_some() {
            self.key(name!("$group_key"), ValueOrigin::Fixed("groupId"));
            write_group_key(self.out, &settled.group_id, self.source.text);
        }
    }

    /// Returns the type of the group that a group call names.
    fn group_type(&self) -> String {
        let setting = || self.inputs.mapping.group_type.clone();
        if self.inputs.mapping.group_type_from == GroupTypeFrom::Setting {
            return setting();
        }
        let (traits, text) = self.traits();
        let named = TYPE_TRAITS.iter().find_map(|trait_name| {
            traits
                .get(text, trait_name)
                .filter(|name| usable::is_text(*name, text))
        });
        named.map_or_else(setting, |name| name.decode(text).into_owned())
    }

    fn traits(&self) -> (MessagePart, &[u8]) {
        let text = self.source.message.traits();
        let text = text.map_or(&b"null"[..], |traits| traits.of(self.source.text));
        let mut part = MessagePart::default();
        let _ = part.scan_text(text, &mut Scratch::default());
        (part, text)
    }

    fn write_group_set_without_type(&mut self) {
        let traits = self.source.message.traits();
        let is_object = traits.is_some_and(|traits| traits.shape == Shape::Object);
        if !is_object {
            let traits = traits.filter(|traits| !self.is_enriched() || is_set(*traits));
            return self.copy(name!("$group_set"), traits, ValueOrigin::Fixed("traits"));
        }
        let mut set = Vec::new();
        let (traits, text) = self.traits();
        for entry in &traits.entries {
            let key = entry.key.of(text);
            if TYPE_TRAITS.iter().any(|name| is_key(key, name)) {
                continue;
            }
            set.push(if set.is_empty() { b'{' } else { b',' });
            set.push(b'"');
            set.extend_from_slice(key);
            set.extend_from_slice(b"\":");
            set.extend_from_slice(entry.value.of(text));
        }
        if set.is_empty() {
            set.push(b'{');
        }
        set.push(b'}');
        self.key(name!("$group_set"), ValueOrigin::Fixed("traits"));
        self.out.extend_from_slice(&set);
    }
}
