//! What PostHog's own libraries would send besides (mapping, section 5).
//!
//! Everything here only adds: a key that the caller or the reference has given stays as it is. A
//! source that is missing, empty or of the wrong type adds nothing.

mod device;
mod meta;
mod person;
mod web;

use std::io::Write;

use super::super::explain::Origin;
use super::super::json::{unescape, write_string, Shape, Value};
use super::super::message::{find, Inner};
use super::super::Mode;
use super::presence::Target;
use super::Properties;

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
        find(campaign, text, name).is_some()
            || name == "campaign" && find(campaign, text, "name").is_some()
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
            self.key(key, origin);
            // Writing to a vector cannot fail.
            let _ = self.out.write_fmt(value);
        }
    }

    /// Adds a string, number or boolean of the context as it stands.
    pub(super) fn add_context(&mut self, key: &str, value: Option<Value>, origin: Origin<'_>) {
        let text = self.source.context_text;
        if let Some(value) = value.filter(|value| says_something(*value, text)) {
            if !self.has(key) {
                self.key(key, origin);
                self.out.extend_from_slice(value.of(text));
            }
        }
    }

    /// Adds a string, number or boolean of the message as it stands.
    pub(super) fn add_own(&mut self, key: &str, value: Option<Value>, origin: Origin<'_>) {
        let text = self.source.text;
        if let Some(value) = value.filter(|value| says_something(*value, text)) {
            if !self.has(key) {
                self.copy(key, Some(value), origin);
            }
        }
    }

    /// A value of one of the context's objects.
    pub(super) fn inner(&self, inner: Inner, key: &str) -> Option<Value> {
        find(
            self.source.context.inner(inner),
            self.source.context_text,
            key,
        )
    }

    /// A string of the context's first level.
    pub(super) fn context_text_of(&self, key: &str) -> Option<std::borrow::Cow<'t, str>> {
        let value = self.source.context.get(self.source.context_text, key)?;
        self.string(value)
    }

    /// A string of one of the context's objects.
    pub(super) fn inner_text(&self, inner: Inner, key: &str) -> Option<std::borrow::Cow<'t, str>> {
        self.string(self.inner(inner, key)?)
    }

    fn string(&self, value: Value) -> Option<std::borrow::Cow<'t, str>> {
        let context_text: &'t [u8] = self.source.context_text;
        value
            .is_string()
            .then(|| unescape(value.of(context_text)))
            .filter(|text| !text.is_empty())
    }
}

/// Whether a value can be added: not null, not empty, nothing nested.
pub(super) fn says_something(value: Value, text: &[u8]) -> bool {
    match value.shape {
        Shape::Null | Shape::Array | Shape::Object => false,
        Shape::Plain => value.of(text) != b"\"\"",
        _ => true,
    }
}
