//! What PostHog's own libraries would send besides (mapping, section 5).
//!
//! Everything here only adds: a key that the caller or the reference has given stays as it is. A
//! source that is missing, of the wrong type, or says nothing ([`usable`]) adds nothing.

mod device;
mod meta;
mod person;
mod web;

use std::borrow::Cow;
use std::io::Write;

use super::super::explain::Origin;
use super::super::json::{write_string, Name, Shape, Value};
use super::super::message::{find, named, Inner};
use super::super::{usable, Mode};
use super::presence::Target;
use super::Properties;
pub(super) use person::is_set;

impl<'t> Properties<'_, '_, 't> {
    pub(super) fn is_enriched(&self) -> bool {
        self.desk.mapping.mode == Mode::Enriched
    }

    pub(super) fn write_enriched(&mut self) {
        self.write_page();
        self.write_device();
        self.write_library();
        self.write_session();
        self.write_person();
        self.write_meta_ids();
        self.write_bookkeeping();
        self.write_left_over();
    }

    /// Notes that a property takes the place of a value of the context that says nothing.
    fn claim(&mut self, key: &str) {
        if self.mapped.has_left() {
            if let Some(target) = Target::from_property(key) {
                self.note(target);
            }
        }
        if let Some(taken) = self.campaign_left.as_mut() {
            if key.starts_with("utm_") {
                taken.push(key.to_owned());
            }
        }
    }

    /// Whether a key is taken, by the caller or by the reference.
    pub(super) fn has(&self, key: &str) -> bool {
        // All that the caller and the reference have given is noted, but for names that the
        // context gives by a prefix.
        let has_prefix = key.starts_with("utm_") || key.starts_with("segment_");
        if !has_prefix && !self.presence.may_have(key.as_bytes()) {
            return false;
        }
        if Target::from_property(key).is_some_and(|target| self.mapped.has(target)) {
            return true;
        }
        match key {
            "$current_url" if self.given.url.is_some() => true,
            "$browser" if self.given.browser.is_some() => true,
            "utm_campaign" if self.given.utm_name.is_some() => true,
            _ if key.starts_with("utm_") => self.campaign_has(key) || self.caller_has(key),
            _ if key.starts_with("segment_") => self.context_has(key) || self.caller_has(key),
            _ => self.caller_has(key),
        }
    }

    fn campaign_has(&self, key: &str) -> bool {
        let text = self.source.context_text;
        let name = key.strip_prefix("utm_").unwrap_or(key);
        let campaign = self.source.context.inner(Inner::Campaign);
        let has = |name: &str| {
            let value = find(campaign, text, name);
            value.is_some_and(|value| !usable::is_missing(value, text))
        };
        has(name) || name == "campaign" && has("name")
    }

    fn context_has(&self, key: &str) -> bool {
        let name = key.strip_prefix("segment_").unwrap_or(key);
        self.source
            .context
            .get(self.source.context_text, name)
            .is_some()
    }

    /// Adds a string.
    pub(super) fn add(&mut self, key: &str, value: &str, origin: Origin<'_>) {
        if !value.is_empty() && !self.has(key) {
            self.claim(key);
            self.key(key, origin);
            write_string(self.out, value);
        }
    }

    /// Adds JSON text that is not a string of the message.
    pub(super) fn add_json(
        &mut self,
        key: &str,
        value: std::fmt::Arguments<'_>,
        origin: Origin<'_>,
    ) {
        if !self.has(key) {
            self.claim(key);
            self.key(key, origin);
            // Writing to a vector cannot fail.
            let _ = self.out.write_fmt(value);
        }
    }

    /// Adds a text or number of the context as it stands.
    pub(super) fn add_context(&mut self, key: &str, value: Option<Value>, origin: Origin<'_>) {
        let text = self.source.context_text;
        let value = value.filter(|value| usable::is_word(*value, text));
        self.add_value(key, value.map(|value| value.of(text)), origin);
    }

    /// Adds a text of the context as it stands.
    pub(super) fn add_text(&mut self, key: &str, value: Option<Value>, origin: Origin<'_>) {
        let value = value.filter(|value| value.is_string());
        self.add_context(key, value, origin);
    }

    /// Adds a boolean of the context.
    pub(super) fn add_switch(&mut self, key: &str, value: Option<Value>, origin: Origin<'_>) {
        let value = value.filter(|value| matches!(value.shape, Shape::True | Shape::False));
        let text = self.source.context_text;
        self.add_value(key, value.map(|value| value.of(text)), origin);
    }

    /// Adds a text or number of the message as it stands.
    pub(super) fn add_own(&mut self, key: &str, value: Option<Value>, origin: Origin<'_>) {
        let text = self.source.text;
        let value = value.filter(|value| usable::is_word(*value, text));
        self.add_value(key, value.map(|value| value.of(text)), origin);
    }

    fn add_value(&mut self, key: &str, value: Option<&[u8]>, origin: Origin<'_>) {
        if let Some(value) = value {
            if !self.has(key) {
                self.claim(key);
                self.key(key, origin);
                self.out.extend_from_slice(value);
            }
        }
    }

    /// A value of one of the context's objects.
    pub(super) fn inner(&self, inner: Inner, key: Name) -> Option<Value> {
        named(self.source.context.inner(inner), key)
    }

    /// A text of the context's first level that says something.
    pub(super) fn context_text_of(&self, key: Name) -> Option<Cow<'t, str>> {
        let context_text: &'t [u8] = self.source.context_text;
        let value = self.source.context.named(key)?;
        usable::text(value, context_text)
    }

    /// A text of one of the context's objects that says something.
    pub(super) fn inner_text(&self, inner: Inner, key: Name) -> Option<Cow<'t, str>> {
        let context_text: &'t [u8] = self.source.context_text;
        usable::text(self.inner(inner, key)?, context_text)
    }
}
