//! Writes the properties of the session, the person, the sending library and Segment's bookkeeping
//! (mapping 5.3, 5.4 and 5.6).

use super::super::super::enrich::uuid7::{hyphenated, Uuid7};
use super::super::super::explain::ValueOrigin;
use super::super::super::json::{name, Name, Shape, Value};
use super::super::super::library::LibraryKind;
use super::super::super::mapping::{Bookkeeping, ContextTraits, PersonProfiles};
use super::super::super::message::ContextObject;
use super::super::super::usable;
use super::{Escapes, Properties};
use crate::posthog::Location;
use crate::segment::Kind;

impl Properties<'_, '_, '_, '_> {
    pub(super) fn write_library(&mut self) {
        let version = self.inner(ContextObject::Library, name!("version"));
        let name = self.inner(ContextObject::Library, name!("name"));
        self.add_context(
            name!("$lib_version"),
            version,
            ValueOrigin::Fixed("context.library.version"),
        );
        self.add_text(
            name!("segment_library_name"),
            name,
            ValueOrigin::Fixed("context.library.name"),
        );
        self.add_context(
            name!("segment_library_version"),
            version,
            ValueOrigin::Fixed("context.library.version"),
        );
    }

    pub(super) fn write_session(&mut self) {
        if let Some((session, origin)) = self.settled.session {
            self.add_uuid(name!("$session_id"), session, ValueOrigin::Fixed(origin));
        }
        if let Some(window) = self.settled.window {
            let origin = ValueOrigin::Fixed("context.windowId");
            self.add_uuid(name!("$window_id"), window, origin);
        }
    }

    fn add_uuid(&mut self, key: Name, uuid: Uuid7, origin: ValueOrigin<'_>) {
        let text = hyphenated(*uuid.as_bytes());
        let text = std::str::from_utf8(&text).unwrap_or_default();
        self.add(key, text, Escapes::None, origin);
    }

    pub(super) fn write_person(&mut self) {
        let is_identified = self.settled.user_id.value().is_some();
        if self.plan.kind.has_properties() {
            let origin = ValueOrigin::Fixed("whether there is a userId");
            let text = if is_identified { "true" } else { "false" };
            self.add_json(name!("$is_identified"), text, origin);
        }
        if self.wants_no_profile(is_identified) {
            let origin = ValueOrigin::Fixed("mapping.person_profiles");
            self.add_json(name!("$process_person_profile"), "false", origin);
        }
        let wants_place = self.library != LibraryKind::Server || self.plan.kind == Kind::Group;
        if !wants_place && !self.has_address() {
            let origin = ValueOrigin::Fixed("a server's address is not the user's");
            if !self.has(name!("$geoip_disable")) {
                self.location = Location::Settled;
            }
            self.add_json(name!("$geoip_disable"), "true", origin);
        }
        if self.sets_context_traits() {
            let traits = self.context_traits();
            self.add_object(name!("$set"), traits);
        }
    }

    /// Whether the event carries an address that PostHog can look up. For any other `$ip`, PostHog
    /// uses the connection's address or none.
    fn has_address(&self) -> bool {
        if self.caller_has(name!("$ip")) {
            let own = self.callers(name!("$ip"));
            return own.is_some_and(|ip| usable::is_address(ip, self.source.text));
        }
        let text = self.source.context_text;
        let ip = self.source.context.named(name!("ip"));
        self.settled.ip.is_some() || ip.is_some_and(|ip| usable::is_address(ip, text))
    }

    /// Whether the caller's `$ip` has no usable text and another address is known. A text that is not
    /// an address stays, because sites write such a text to hide the real address.
    pub(in crate::rewrite::write) fn replaces_ip(&self) -> bool {
        let own = self.callers(name!("$ip"));
        if own.is_none_or(|ip| usable::is_text(ip, self.source.text)) {
            return false;
        }
        let text = self.source.context_text;
        let ip = self.source.context.named(name!("ip"));
        self.settled.ip.is_some() || ip.is_some_and(|ip| usable::is_text(ip, text))
    }

    /// Whether the caller's `$set` is not an object and the context's traits replace it.
    pub(in crate::rewrite::write) fn replaces_set(&self) -> bool {
        let own = self.callers(name!("$set"));
        own.is_some_and(|set| set.shape != Shape::Object) && self.sets_context_traits()
    }

    /// Whether the `$set` of an event call is built from `context.traits`.
    pub(super) fn sets_context_traits(&self) -> bool {
        self.traits_count() && self.context_traits().is_some()
    }

    /// Whether the context's traits set person properties on a call of this kind.
    fn traits_count(&self) -> bool {
        self.inputs.mapping.context_traits == ContextTraits::Always
            && self.plan.kind.is_event_call()
    }

    /// Whether the event carries the flag that it must not change persons. An event that changes persons
    /// never carries it, because PostHog would drop the event (posthog-ingestion 4.4).
    pub(super) fn wants_no_profile(&self, is_identified: bool) -> bool {
        if self.changes_persons || !self.plan.kind.is_event_call() {
            return false;
        }
        match self.inputs.mapping.person_profiles {
            PersonProfiles::Always => false,
            PersonProfiles::IdentifiedOnly => !is_identified && !self.caller_sets(),
            PersonProfiles::Never => true,
        }
    }

    /// Whether the caller changes the person's properties.
    fn caller_sets(&self) -> bool {
        let text = self.source.text;
        const UNSET: Name = name!("$unset");
        let keys = [name!("$set"), name!("$set_once"), UNSET];
        keys.into_iter().any(|key| {
            let value = self.callers(key);
            value.is_some_and(|value| match value.shape {
                Shape::Array => key == UNSET && !usable::is_empty(value, text),
                _ => usable::is_object(value, text),
            })
        })
    }

    /// Writes the `$set` of an identify call from its traits, or in the enriched mode else from the
    /// context's traits (mapping 5.4). There, traits that are not an object set nothing: PHP writes an
    /// empty object as `[]`.
    pub(in crate::rewrite::write) fn write_set(&mut self) {
        let text = self.source.text;
        let mut traits = self.source.message.traits();
        let is_missing = traits.is_none_or(|traits| !usable::is_object(traits, text));
        if is_missing && self.is_enriched() {
            if let Some(traits) = self.context_traits() {
                self.key(name!("$set"), ValueOrigin::Fixed("context.traits"));
                self.out.span(self.source.context_text, traits.span);
                return;
            }
            traits = traits.filter(|traits| is_set(*traits));
        }
        self.copy(name!("$set"), traits, ValueOrigin::Fixed("traits"));
    }

    fn context_traits(&self) -> Option<Value> {
        self.source
            .context
            .named(name!("traits"))
            .filter(|traits| usable::is_object(*traits, self.source.context_text))
    }

    fn add_object(&mut self, key: Name, value: Option<Value>) {
        if let (Some(value), false) = (value, self.has(key)) {
            self.key(key, ValueOrigin::Fixed("context.traits"));
            self.out.span(self.source.context_text, value.span);
        }
    }

    pub(super) fn write_bookkeeping(&mut self) {
        if self.inputs.mapping.bookkeeping == Bookkeeping::Off {
            return;
        }
        let message = self.source.message;
        let message_id = self.settled.message_id.as_ref();
        self.add_any(
            name!("segment_message_id"),
            message_id,
            ValueOrigin::Fixed("messageId"),
        );
        if self.plan.unusable_time.is_none() {
            let written = message.original_timestamp().or(message.timestamp());
            self.add_own(
                name!("segment_original_timestamp"),
                written,
                ValueOrigin::Fixed("timestamp"),
            );
        }
        self.add_own(
            name!("segment_sent_at"),
            message.sent_at(),
            ValueOrigin::Fixed("sentAt"),
        );
    }
}

/// Whether PostHog accepts traits as properties to set: an object or null.
pub(in crate::rewrite::write) fn is_set(traits: Value) -> bool {
    matches!(traits.shape, Shape::Object | Shape::Null)
}
