//! Groups (mapping 1.3, 1.6 and 5.5).

use std::borrow::Cow;

use super::super::explain::Origin;
use super::super::group_types::News;
use super::super::json::{is_truthy, unescape, write_string, Entry, Scratch, Shape, Value};
use super::super::library::Library;
use super::super::message::{find, Part};
use super::super::normalise::Source;
use super::super::GroupTypeFrom;
use super::Properties;
use crate::segment::Kind;

/// The traits that name a group's type, the stronger one first.
const TYPE_TRAITS: [&str; 2] = ["$group_type", "groupType"];

/// The group that an event's visitor belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Group<'p> {
    /// `context.groupId`.
    Context(Value),
    /// What analytics.js keeps in its cookie: it never copies it into later events (mapping 5.5).
    Cookie(&'p str),
}

impl<'p> Group<'p> {
    /// The group of a message. The cookie counts for what a browser's visitor does, and only where
    /// the message says nothing of a group itself; a caller's `$groups` that cannot be added to
    /// stays as it is.
    pub(super) fn of(
        cookie: Option<&'p str>,
        (kind, library): (Kind, Library),
        source: Source<'_>,
        entries: &[Entry],
    ) -> Option<Self> {
        let text = source.context_text;
        if let Some(id) = source.context.get(text, "groupId") {
            return is_truthy(id, text).then_some(Self::Context(id));
        }
        let cookie = cookie?;
        let counts = library == Library::Browser && !matches!(kind, Kind::Group | Kind::Alias);
        let given = find(entries, source.text, "$groups");
        let adds = given.is_none_or(|given| given.shape == Shape::Object);
        (counts && adds).then_some(Self::Cookie(cookie))
    }

    fn origin(self) -> Origin<'static> {
        Origin::Fixed(match self {
            Self::Context(_) => "context.groupId, and properties.$groups in the enriched mode",
            Self::Cookie(_) => "the cookie ajs_group_id, and properties.$groups",
        })
    }
}

/// Whether a key of JSON text says this.
fn says(key: &[u8], name: &str) -> bool {
    if !key.contains(&b'\\') {
        return key == name.as_bytes();
    }
    unescape(&[b"\"", key, b"\""].concat()) == name
}

impl Properties<'_, '_, '_> {
    /// `$groups` of any call: the visitor's group, and in the enriched mode the caller's beside
    /// it, each type once, the caller's first.
    pub(super) fn write_groups(&mut self) {
        let Some(group) = self.group else {
            if self.plan.kind == Kind::Group && self.is_enriched() {
                self.write_own_group();
            }
            return;
        };
        let group_type = &self.desk.mapping.group_type;
        let given = find(self.entries, self.source.text, "$groups")
            .filter(|given| self.is_enriched() && given.shape == Shape::Object);
        let given_text = given.map_or(&b""[..], |given| given.of(self.source.text));
        let callers = self.look_into(given_text);
        self.key("$groups", group.origin());
        self.out.push(b'{');
        let mut first = true;
        let names_type = |entry: &Entry| says(entry.key.of(given_text), group_type);
        if !callers.entries.iter().any(names_type) {
            first = false;
            write_string(self.out, group_type);
            self.out.push(b':');
            match group {
                Group::Context(id) => {
                    let id = id.of(self.source.context_text);
                    self.out.extend_from_slice(id);
                }
                Group::Cookie(id) => write_string(self.out, id),
            }
        }
        for entry in &callers.entries {
            if !std::mem::replace(&mut first, false) {
                self.out.push(b',');
            }
            self.out.push(b'"');
            self.out.extend_from_slice(entry.key.of(given_text));
            self.out.extend_from_slice(b"\":");
            self.out.extend_from_slice(entry.value.of(given_text));
        }
        self.out.push(b'}');
        *self.aside.part = callers;
    }

    /// The entries of an object of the message, or none. Whoever asks gives the part back.
    pub(super) fn look_into(&mut self, text: &[u8]) -> Part {
        let mut part = std::mem::take(self.aside.part);
        // It has been scanned as a part of the message; it can be scanned again.
        if part.scan_text(text, self.aside.scratch).is_err() {
            part.clear();
        }
        part
    }

    /// A type of groups on this event that is one too many for the project, if it has not been
    /// said before (posthog-ingestion 4.5).
    pub(super) fn sixth_group_type(&mut self) -> Option<String> {
        let group_types = self.desk.group_types?;
        let project = &self.desk.recipient.posthog_cookie;
        let is_sixth = |name: &str| group_types.note(project, name) == News::Sixth;
        if self.plan.kind == Kind::Group {
            let group_type = self.group_type();
            if is_sixth(&group_type) {
                return Some(group_type);
            }
        }
        if self.group.is_some() {
            let group_type = &self.desk.mapping.group_type;
            if is_sixth(group_type) {
                return Some(group_type.clone());
            }
            if !self.is_enriched() {
                // The caller's give way.
                return None;
            }
        }
        if !self.caller_has("$groups") {
            return None;
        }
        let text = self.source.text;
        let groups = find(self.entries, text, "$groups")?.of(text);
        let part = self.look_into(groups);
        let sixth = part.entries.iter().find_map(|entry| {
            let key = entry.key.of(groups);
            let name = match std::str::from_utf8(key) {
                Ok(name) if !key.contains(&b'\\') => Cow::Borrowed(name),
                _ => Cow::Owned(unescape(&[b"\"", key, b"\""].concat()).into_owned()),
            };
            is_sixth(&name).then(|| name.into_owned())
        });
        *self.aside.part = part;
        sixth
    }

    /// `$groups` of a group call without `context.groupId`: the group that it names.
    fn write_own_group(&mut self) {
        let text = self.source.text;
        let group_id = self.source.message.group_id;
        let usable =
            |id: &Value| is_truthy(*id, text) && (id.is_string() || id.shape == Shape::Number);
        if let Some(group_id) = group_id.filter(usable) {
            let group_type = self.group_type();
            self.key("$groups", Origin::Fixed("groupId"));
            self.out.push(b'{');
            write_string(self.out, &group_type);
            self.out.push(b':');
            self.out.extend_from_slice(group_id.of(text));
            self.out.push(b'}');
        }
    }

    /// What a group call becomes (mapping 1.6).
    pub(super) fn write_group(&mut self) {
        let message = self.source.message;
        let group_type = self.group_type();
        self.key("$geoip_disable", Origin::Fixed("always on a group call"));
        self.out.extend_from_slice(b"true");
        self.key(
            "$group_type",
            Origin::Fixed("mapping.group_type, or traits where it may"),
        );
        write_string(self.out, &group_type);
        self.copy("$group_key", message.group_id, Origin::Fixed("groupId"));
        if self.desk.mapping.group_type_from == GroupTypeFrom::Traits {
            self.write_group_set_without_type();
        } else {
            self.copy("$group_set", message.traits, Origin::Fixed("traits"));
        }
    }

    /// The type of the group that this call is about.
    fn group_type(&self) -> String {
        let setting = || self.desk.mapping.group_type.clone();
        if self.desk.mapping.group_type_from == GroupTypeFrom::Setting {
            return setting();
        }
        let (traits, text) = self.traits();
        let named = TYPE_TRAITS.iter().find_map(|trait_name| {
            traits
                .get(text, trait_name)
                .filter(|name| name.is_string() && is_truthy(*name, text))
        });
        named.map_or_else(setting, |name| unescape(name.of(text)).into_owned())
    }

    fn traits(&self) -> (Part, &[u8]) {
        let text = self.source.message.traits;
        let text = text.map_or(&b"null"[..], |traits| traits.of(self.source.text));
        let mut part = Part::default();
        let _ = part.scan_text(text, &mut Scratch::default());
        (part, text)
    }

    fn write_group_set_without_type(&mut self) {
        let traits = self.source.message.traits;
        let is_object = traits.is_some_and(|traits| traits.shape == Shape::Object);
        if !is_object {
            return self.copy("$group_set", traits, Origin::Fixed("traits"));
        }
        let mut set = Vec::new();
        let (traits, text) = self.traits();
        for entry in &traits.entries {
            let key = entry.key.of(text);
            if TYPE_TRAITS.iter().any(|name| name.as_bytes() == key) {
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
        self.key("$group_set", Origin::Fixed("traits"));
        self.out.extend_from_slice(&set);
    }
}
