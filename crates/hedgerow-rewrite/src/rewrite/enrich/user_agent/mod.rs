//! Determines browser, operating system and device from a user agent, with posthog-js's names.
//!
//! PostHog does not parse user agents itself (posthog-ingestion 2.4), and its filters compare text.
//! So the names, the order of the rules and their oddities (Android 10 has no version, Facebook has
//! no browser version) are those of posthog-js 1.449 (`@posthog/core` 1.67). Two inputs of
//! posthog-js do not exist on a server: `navigator.vendor` is derived from the user agent, and
//! `navigator.brave` is taken from the client hints.
//!
//! posthog-js's option that names Google's search app as a browser of its own is not supported.
//! posthog-js switches it off unless a site requests the defaults of May 2026 or later.

use std::borrow::Cow;

mod browser;
mod device;
mod hints;
mod os;
mod parse;
mod scan;
mod webview;

pub use hints::{Brand, ClientHints, Mobile, Refined, Screen};
pub use parse::{UserAgent, PARSED_BYTES};

/// The longest `$raw_user_agent` in posthog-js, in UTF-16 units.
const RAW_UNITS: usize = 1000;

/// Returns `$raw_user_agent`. If the text is longer than 1,000 UTF-16 units, posthog-js keeps 997
/// of them and adds three dots.
pub fn raw(user_agent: &str) -> Cow<'_, str> {
    if user_agent.len() <= RAW_UNITS || user_agent.encode_utf16().count() <= RAW_UNITS {
        return Cow::Borrowed(user_agent);
    }
    let mut units = 0;
    let kept: String = user_agent
        .chars()
        .take_while(|character| {
            units += character.len_utf16();
            units <= RAW_UNITS - 3
        })
        .collect();
    Cow::Owned(kept + "...")
}

#[cfg(test)]
mod tests {
    use super::parse::cut;
    use super::*;

    #[test]
    fn an_empty_user_agent_adds_nothing() {
        assert_eq!(UserAgent::parse(""), UserAgent::default());
    }

    #[test]
    fn a_user_agent_of_a_megabyte_costs_no_more_than_its_beginning() {
        let head = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 \
                    (KHTML, like Gecko) Version/26.6 Mobile/15E148 Safari/604.1";
        let long = format!("{head} {}", "é".repeat(1 << 20));
        assert_eq!(UserAgent::parse(&long), UserAgent::parse(head));
        let beyond = format!("{head}{} Vivaldi/7.1", " ".repeat(PARSED_BYTES));
        assert_eq!(UserAgent::parse(&beyond), UserAgent::parse(head));
    }

    #[test]
    fn a_cut_falls_between_characters() {
        for bytes in 0..=12 {
            let text = "aé日😀z";
            let kept = cut(text, bytes);
            assert!(text.starts_with(kept) && kept.len() <= bytes && bytes - kept.len() < 4);
        }
    }

    #[test]
    fn the_raw_text_is_cut_as_posthog_js_cuts_it() {
        let exact = "x".repeat(1000);
        assert!(matches!(raw(&exact), Cow::Borrowed(text) if text == exact));
        let long = raw(&"x".repeat(1001)).into_owned();
        assert_eq!(long, format!("{}...", "x".repeat(997)));
        // Each character has two bytes but one unit, so the text is short enough.
        assert!(matches!(raw(&"é".repeat(1000)), Cow::Borrowed(_)));
        // A character of two units is not split: 996 units and the dots remain.
        assert_eq!(raw(&"😀".repeat(600)).encode_utf16().count(), 999);
    }
}
