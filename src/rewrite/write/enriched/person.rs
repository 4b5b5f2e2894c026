//! Sessions, persons, the sending library and the books (mapping 5.3, 5.4 and 5.6).

use super::super::super::explain::Origin;
use super::super::super::json::{inner as json_inner, Shape, Value};
use super::super::super::library::Library;
use super::super::super::message::Inner;
use super::super::super::{Bookkeeping, ContextTraits, PersonProfiles};
use super::Properties;
use crate::segment::Kind;

impl Properties<'_, '_, '_> {
    pub(super) fn write_library(&mut self) {
        let version = self.inner(Inner::Library, "version");
        let name = self.inner(Inner::Library, "name");
        self.add_context(
            "$lib_version",
            version,
            Origin::Fixed("context.library.version"),
        );
        self.add_context(
            "segment_library_name",
            name,
            Origin::Fixed("context.library.name"),
        );
        self.add_context(
            "segment_library_version",
            version,
            Origin::Fixed("context.library.version"),
        );
    }

    pub(super) fn write_session(&mut self) {
        if let Some((session, origin)) = self.settled.session {
            self.add_json(
                "$session_id",
                format_args!("\"{session}\""),
                Origin::Fixed(origin),
            );
        }
        if let Some(window) = self.settled.window {
            let origin = Origin::Fixed("context.windowId");
            self.add_json("$window_id", format_args!("\"{window}\""), origin);
        }
    }

    pub(super) fn write_person(&mut self) {
        let is_identified = self.settled.user_id.is_some();
        if !matches!(self.plan.kind, Kind::Group | Kind::Alias) {
            let origin = Origin::Fixed("whether there is a userId");
            self.add_json("$is_identified", format_args!("{is_identified}"), origin);
        }
        if self.wants_no_profile(is_identified) {
            let origin = Origin::Fixed("mapping.person_profiles");
            self.add_json("$process_person_profile", format_args!("false"), origin);
        }
        let has_address = self.has("$ip");
        if self.library == Library::Server && !has_address && self.plan.kind != Kind::Group {
            let origin = Origin::Fixed("a server's address is not the user's");
            self.add_json("$geoip_disable", format_args!("true"), origin);
        }
        let traits_count = matches!(self.plan.kind, Kind::Track | Kind::Page | Kind::Screen);
        if self.desk.mapping.context_traits == ContextTraits::Always && traits_count {
            let traits = self.context_traits();
            self.add_object("$set", traits);
        }
    }

    /// Whether the event is to leave persons alone. What merges or sets never is: PostHog would
    /// drop it (posthog-ingestion 4.4).
    fn wants_no_profile(&self, is_identified: bool) -> bool {
        let profiles = self.desk.mapping.person_profiles;
        if !matches!(self.plan.kind, Kind::Track | Kind::Page | Kind::Screen) {
            return profiles == PersonProfiles::Never && self.plan.kind == Kind::Group;
        }
        match profiles {
            PersonProfiles::Always => false,
            PersonProfiles::IdentifiedOnly => {
                !is_identified && !self.caller_has("$set") && !self.caller_has("$set_once")
            }
            PersonProfiles::Never => true,
        }
    }

    /// `$set` of an identify call: its traits, else the context's (mapping 5.4).
    pub(in crate::rewrite::write) fn write_set(&mut self) {
        let traits = self.source.message.traits;
        let lacking = traits.is_none_or(|traits| self.is_empty_object(traits));
        if lacking && self.is_enriched() {
            if let Some(traits) = self.context_traits() {
                self.key("$set", Origin::Fixed("context.traits"));
                self.out
                    .extend_from_slice(traits.of(self.source.context_text));
                return;
            }
        }
        self.copy("$set", traits, Origin::Fixed("traits"));
    }

    fn is_empty_object(&self, value: Value) -> bool {
        let inside = json_inner(value.of(self.source.text));
        value.shape == Shape::Object && inside.trim_ascii().is_empty()
    }

    fn context_traits(&self) -> Option<Value> {
        self.source
            .context
            .get(self.source.context_text, "traits")
            .filter(|traits| traits.shape == Shape::Object)
    }

    fn add_object(&mut self, key: &str, value: Option<Value>) {
        if let (Some(value), false) = (value, self.has(key)) {
            self.key(key, Origin::Fixed("context.traits"));
            self.out
                .extend_from_slice(value.of(self.source.context_text));
        }
    }

    pub(super) fn write_bookkeeping(&mut self) {
        if self.desk.mapping.bookkeeping == Bookkeeping::Off {
            return;
        }
        let message = self.source.message;
        let message_id = self.settled.message_id.as_ref();
        self.add("segment_message_id", message_id, Origin::Fixed("messageId"));
        if self.plan.unusable_time.is_none() {
            let written = message.original_timestamp.or(message.timestamp);
            self.add_own(
                "segment_original_timestamp",
                written,
                Origin::Fixed("timestamp"),
            );
        }
        self.add_own("segment_sent_at", message.sent_at, Origin::Fixed("sentAt"));
    }
}
