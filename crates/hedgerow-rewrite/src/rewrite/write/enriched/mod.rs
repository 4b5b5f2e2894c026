//! Adds the properties that PostHog's own libraries would also send (mapping, section 5).
//!
//! This module only adds properties: a key that the caller or the reference has given stays unchanged.
//! A source that is missing, has the wrong type, or has no usable value ([`usable`]) adds nothing.

mod device;
mod meta;
mod person;
mod web;

use std::borrow::Cow;

use super::super::explain::ValueOrigin;
use super::super::json::{name, write_string, Name, Output, Shape, Value};
use super::super::mapping::Mode;
use super::super::message::{named, ContextObject};
use super::super::usable;
use super::presence::ContextValue;
use super::Properties;
pub(super) use person::is_set;

/// Whether a text may contain characters that JSON escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Escapes {
    /// The text is a part of a message's string without escapes, or one of Hedgerow's own words.
    None,
    Perhaps,
}

impl Escapes {
    /// Judges a decoded string: a borrowed one had no escapes, an owned one may have had some.
    #[allow(clippy::ptr_arg)]
    fn of(text: &Cow<'_, str>) -> Self {
        match text {
            Cow::Borrowed(_) => Self::None,
            Cow::Owned(_) => Self::Perhaps,
        }
    }
}

impl<'t> Properties<'_, '_, '_, 't> {
    pub(super) fn is_enriched(&self) -> bool {
        self.inputs.mapping.mode == Mode::Enriched
    }

    pub(super) fn write_enriched(&mut self) {
        self.write_device_id();
        self.write_session();
        self.write_person();
        self.write_meta_ids();
        self.write_bookkeeping();
        self.write_left_over();
    }

    /// Records that a property replaces a value of the context that has no usable text.
    #[inline(always)]
    fn claim(&mut self, key: Name) {
        if self.mapped.has_left() {
            if let Some(target) = ContextValue::from_property(key) {
                self.note(target);
            }
        }
        if let Some(left) = self.campaign_left.as_mut() {
            left.add(key);
        }
    }

    /// Whether the caller or the reference has given a key.
    #[inline(always)]
    pub(super) fn has(&self, key: Name) -> bool {
        self.taken.has(key) || self.caller_has(key)
    }

    /// Writes the properties that follow from the context alone, unless the caller has given them.
    pub(super) fn write_enriched_of_context(&mut self) {
        self.note_context();
        self.write_page();
        self.write_device();
        self.write_library();
    }

    /// Records the `segment_*` properties that the context gives and that this module might add.
    fn note_context(&mut self) {
        let context = self.source.context;
        for (given, property) in [
            (name!("library_name"), name!("segment_library_name")),
            (name!("library_version"), name!("segment_library_version")),
            (name!("message_id"), name!("segment_message_id")),
            (
                name!("original_timestamp"),
                name!("segment_original_timestamp"),
            ),
            (name!("sent_at"), name!("segment_sent_at")),
        ] {
            if context.has(given) {
                self.taken.add(property);
            }
        }
    }

    /// Adds a text that may contain characters that JSON escapes.
    pub(super) fn add_any(&mut self, key: Name, value: &str, origin: ValueOrigin<'_>) {
        if !value.is_empty() && !self.has(key) {
            self.claim(key);
            self.key(key, origin);
            write_string(self.out, value);
        }
    }

    /// Adds a text.
    pub(super) fn add(
        &mut self,
        key: Name,
        value: &str,
        escapes: Escapes,
        origin: ValueOrigin<'_>,
    ) {
        if escapes == Escapes::Perhaps {
            return self.add_any(key, value, origin);
        }
        if !value.is_empty() && !self.has(key) {
            self.claim(key);
            self.key(key, origin);
            self.out.quoted(value.as_bytes());
        }
    }

    /// Adds JSON text that is not a string of the message.
    pub(super) fn add_json(&mut self, key: Name, value: &str, origin: ValueOrigin<'_>) {
        if !self.has(key) {
            self.claim(key);
            self.key(key, origin);
            self.out.extend_from_slice(value.as_bytes());
        }
    }

    /// Adds a text or number of the context unchanged.
    pub(super) fn add_context(&mut self, key: Name, value: Option<Value>, origin: ValueOrigin<'_>) {
        let text = self.source.context_text;
        let value = value.filter(|value| usable::is_word(*value, text));
        self.add_value(key, (text, value), origin);
    }

    /// Adds a text of the context unchanged.
    pub(super) fn add_text(&mut self, key: Name, value: Option<Value>, origin: ValueOrigin<'_>) {
        let value = value.filter(|value| value.is_string());
        self.add_context(key, value, origin);
    }

    /// Adds a boolean of the context.
    pub(super) fn add_switch(&mut self, key: Name, value: Option<Value>, origin: ValueOrigin<'_>) {
        let value = value.filter(|value| matches!(value.shape, Shape::True | Shape::False));
        let text = self.source.context_text;
        self.add_value(key, (text, value), origin);
    }

    /// Adds a text or number of the message unchanged.
    pub(super) fn add_own(&mut self, key: Name, value: Option<Value>, origin: ValueOrigin<'_>) {
        let text = self.source.text;
        let value = value.filter(|value| usable::is_word(*value, text));
        self.add_value(key, (text, value), origin);
    }

    #[inline(always)]
    fn add_value(
        &mut self,
        key: Name,
        (text, value): (&[u8], Option<Value>),
        origin: ValueOrigin<'_>,
    ) {
        if let Some(value) = value {
            self.add_part(key, (text, value), origin);
        }
    }

    #[inline(never)]
    fn add_part(&mut self, key: Name, (text, value): (&[u8], Value), origin: ValueOrigin<'_>) {
        if !self.has(key) {
            self.claim(key);
            self.key(key, origin);
            self.out.span(text, value.span);
        }
    }

    /// Returns a value of one of the context's objects.
    pub(super) fn inner(&self, inner: ContextObject, key: Name) -> Option<Value> {
        named(self.source.context.inner(inner), key)
    }

    /// Returns a usable text of the context's first level.
    pub(super) fn context_text_of(&self, key: Name) -> Option<Cow<'t, str>> {
        let context_utf8: &'t str = self.source.context_utf8;
        let value = self.source.context.named(key)?;
        usable::text_of_str(value, context_utf8)
    }

    /// Returns a usable text of one of the context's objects.
    pub(super) fn inner_text(&self, inner: ContextObject, key: Name) -> Option<Cow<'t, str>> {
        let context_utf8: &'t str = self.source.context_utf8;
        usable::text_of_str(self.inner(inner, key)?, context_utf8)
    }
}
