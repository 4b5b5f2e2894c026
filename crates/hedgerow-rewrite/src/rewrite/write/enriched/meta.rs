//! Writes `$fbc` and `$fbp` of Meta's pixel as person properties, as posthog-js does.
//!
//! posthog-js sends each id until PostHog has accepted it. Hedgerow does not store which ids it has sent,
//! so it adds them to every event that may set person properties. PostHog changes a person only if a
//! value differs.

use super::super::super::enrich::url::Query;
use super::super::super::explain::ValueOrigin;
use super::super::super::json::{name, write_string, Output, Shape};
use super::super::super::library::LibraryKind;
use super::super::super::message::find;
use super::Properties;

impl Properties<'_, '_, '_, '_> {
    /// Writes `$set` with the ids, on calls that have no `$set` of their own.
    pub(super) fn write_meta_ids(&mut self) {
        let is_event_call = self.plan.kind.is_event_call();
        let is_identified = self.settled.user_id.value().is_some();
        // If an event sets properties but may not have a profile, PostHog drops it or ignores the change.
        let profile = self.callers(name!("$process_person_profile"));
        let has_profile = profile.is_none_or(|profile| profile.shape != Shape::False)
            && !self.wants_no_profile(is_identified);
        if !is_event_call || !has_profile || self.has(name!("$set")) || self.sets_context_traits() {
            return;
        }
        self.set_meta_ids();
    }

    /// Adds the ids to the `$set` of an identify call, which begins at `start`. If the call has no
    /// traits and so no `$set`, writes one.
    pub(in crate::rewrite::write) fn add_meta_ids(&mut self, start: usize) {
        if self.inputs.meta_ids.is_none() {
            return;
        }
        let written = self.out.since(start);
        if written.is_empty() {
            return self.set_meta_ids();
        }
        let value = written.iter().position(|byte| *byte == b':');
        let value = value.map_or(written.len(), |colon| colon + 1);
        let traits = written.get(value..).unwrap_or_default().to_vec();
        // Traits that are not an object stay unchanged.
        let Some(inside) = traits.strip_prefix(b"{") else {
            return;
        };
        let mut ids = self.meta_ids(&traits);
        if !ids.is_empty() {
            if inside.trim_ascii_start() != b"}" {
                ids.push(b',');
            }
            let at = start + value + 1;
            self.out.insert(at, &ids);
        }
    }

    fn set_meta_ids(&mut self) {
        let ids = self.meta_ids(b"{}");
        if !ids.is_empty() {
            self.key(
                name!("$set"),
                ValueOrigin::Fixed("the cookies _fbc and _fbp"),
            );
            self.out.push(b'{');
            self.out.extend_from_slice(&ids);
            self.out.push(b'}');
        }
    }

    /// Returns the ids as the entries of an object without its braces. Leaves out an id that `traits` has.
    fn meta_ids(&mut self, traits: &[u8]) -> Vec<u8> {
        let mut inside = Vec::new();
        let Some(ids) = self
            .inputs
            .meta_ids
            .filter(|_| self.library == LibraryKind::Browser)
        else {
            return inside;
        };
        let url = self.current_url();
        let fbclid = Query::of(url.as_deref().unwrap_or_default()).get("fbclid");
        let own = self.look_into_text(traits);
        for (name, id) in [
            ("$fbc", ids.click(fbclid.as_deref())),
            ("$fbp", ids.browser()),
        ] {
            let Some(id) = id.filter(|_| find(&own.entries, traits, name).is_none()) else {
                continue;
            };
            if !inside.is_empty() {
                inside.push(b',');
            }
            write_string(&mut inside, name);
            inside.push(b':');
            write_string(&mut inside, id);
        }
        *self.scratch.part = own;
        inside
    }
}
