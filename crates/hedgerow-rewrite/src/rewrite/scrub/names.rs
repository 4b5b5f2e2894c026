//! The names of properties that the privacy settings treat specially.

/// The properties that identify a visitor, or that link an event to other events of the same visitor.
pub(super) const IDENTITY: &[&str] = &[
    "$set",
    "$set_once",
    "$unset",
    "$user_id",
    "$device_id",
    "$device_name",
    "$session_id",
    "$window_id",
    "$anon_distinct_id",
    "$had_persisted_distinct_id",
    "$is_identified",
    "$cookieless_mode",
    "$cookieless_extra",
    "$groups",
    "$raw_user_agent",
];

/// The context's keys that reveal nothing about the visitor. Plugins can put anything into a context,
/// so an anonymised event loses all other keys, except the address, which is masked.
pub(super) const OPEN_CONTEXT: &[&str] = &[
    "app",
    "campaign",
    "consent",
    "library",
    "library_name",
    "library_version",
    "locale",
    "original_timestamp",
    "os",
    "page",
    "screen",
    "sent_at",
    "timezone",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::privacy::PROTECTED;

    #[test]
    fn the_documents_list_matches_the_code() {
        let document = include_str!("../../../../../docs/privacy.md");
        let names = PROTECTED.iter().chain(IDENTITY).chain(OPEN_CONTEXT);
        let names = names.chain(crate::rewrite::rules::PERSON_EVENTS);
        let missing: Vec<_> = names
            .filter(|name| !document.contains(&format!("`{name}`")))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
