//! The findings about a project's key and host.

use super::finding::Finding;
use crate::posthog::Host;

/// Whether PostHog knows a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKnown {
    /// PostHog has a project with the key.
    Yes,
    /// PostHog has no project with the key.
    No,
}

/// Who runs a PostHog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installation {
    /// One of PostHog's own regions.
    Cloud,
    /// Your own PostHog, which may be too old to report whether it knows a key.
    Own,
}

/// Checks whether PostHog knows a project's key. `here` is the result for the configured host, and
/// `elsewhere` the other region if that one knows the key.
pub fn key(
    name: &str,
    here: KeyKnown,
    elsewhere: Option<&str>,
    installation: Installation,
) -> Finding {
    let about = format!("project {name}, key");
    match (here, elsewhere, installation) {
        (KeyKnown::Yes, ..) => Finding::ok(about, "PostHog has a project with it"),
        (KeyKnown::No, Some(region), _) => Finding::bad(
            about,
            format!(
                "is that of a project in the other region, {region}: PostHog accepts the events and drops them"
            ),
            format!("set `host: {region}` for this project"),
        ),
        (KeyKnown::No, None, Installation::Cloud) => Finding::bad(
            about,
            "PostHog has no project with it: it accepts the events and drops them",
            "copy the project API key from PostHog: Settings, Project",
        ),
        (KeyKnown::No, None, Installation::Own) => Finding::note(
            about,
            "this PostHog has no project with it, or is too old to say",
            "compare it with the project API key in PostHog: Settings, Project",
        ),
    }
}

/// Checks a project's key and host, as far as this needs no request.
pub fn project(name: &str, api_key: &str, host: &Host) -> Vec<Finding> {
    let about = format!("project {name}, key");
    let key = match api_key.starts_with("phc_") {
        true => Finding::ok(about, "has the form of a project key"),
        false => Finding::note(
            about,
            "does not begin with phc_, as PostHog's project keys do",
            "copy the project API key from PostHog: Settings, Project",
        ),
    };
    let about = format!("project {name}, host");
    let region = match host.misdirection() {
        Some(misdirection) => Finding::bad(
            about,
            misdirection.to_string(),
            "a key works only in its own region: PostHog's address bar shows us or eu",
        ),
        None => Finding::ok(about, host.to_string()),
    };
    vec![key, region]
}

#[cfg(test)]
mod tests {
    use super::super::finding::{render, CheckStatus};
    use super::*;

    #[test]
    fn a_key_is_bad_only_if_it_certainly_does_not_exist() {
        for (here, installation, expected) in [
            (KeyKnown::Yes, Installation::Cloud, CheckStatus::Passed),
            (KeyKnown::Yes, Installation::Own, CheckStatus::Passed),
            (KeyKnown::No, Installation::Cloud, CheckStatus::Failed),
            (KeyKnown::No, Installation::Own, CheckStatus::Note),
        ] {
            assert_eq!(
                key("p", here, None, installation).status,
                expected,
                "{here:?} {installation:?}"
            );
        }
    }

    /// The other words of the page are compared by `tests/first_hour.rs`.
    #[test]
    fn the_first_hour_has_the_words_of_both_findings_about_a_key() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/first-hour.md");
        let page = std::fs::read_to_string(path).unwrap();
        for elsewhere in [Some("eu"), None] {
            let found = key("shop", KeyKnown::No, elsewhere, Installation::Cloud);
            assert!(
                page.contains(&format!("`{}`", found.observation)),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_key_of_the_other_region_is_reported_with_the_correct_host() {
        let found = key("shop", KeyKnown::No, Some("eu"), Installation::Cloud);
        assert_eq!(found.status, CheckStatus::Failed);
        let text = render(&[found]);
        assert!(text.contains("project in the other region, eu"), "{text}");
        assert!(text.contains("-> set `host: eu`"), "{text}");
    }
}
