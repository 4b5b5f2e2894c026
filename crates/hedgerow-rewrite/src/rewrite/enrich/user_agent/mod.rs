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
mod scan;
mod webview;

pub use hints::{Brand, ClientHints, Mobile, Refined, Screen};

use scan::UserAgentText;

/// The most bytes of a user agent that are read. Real user agents are much shorter; a longer one is
/// an abuse and must not cost more time.
pub const PARSED_BYTES: usize = 4096;

/// The longest `$raw_user_agent` in posthog-js, in UTF-16 units.
const RAW_UNITS: usize = 1000;

/// The values in a user agent. An unknown one is `None`, never an empty text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserAgent {
    /// `$browser`: `Chrome`, `Mobile Safari`, …
    pub browser: Option<&'static str>,
    /// `$browser_version`: major and minor version as the text of a JSON number, `17.4`.
    pub browser_version: Option<String>,
    /// `$os`: `Mac OS X`, `iOS`, `Windows`, …
    pub os: Option<&'static str>,
    /// `$os_version`: `10.15.7`, `XP`, …
    pub os_version: Option<String>,
    /// `$device`: `iPhone`, `Android Tablet`, …; `None` for a desktop computer.
    pub device: Option<&'static str>,
    /// `$device_type`: `Desktop`, `Mobile`, `Tablet`, `Console` or `Wearable`.
    pub device_type: Option<&'static str>,
    /// `$webview_app`: `Instagram`, `LinkedIn`, …, if the browser is built into such an app.
    pub webview_app: Option<&'static str>,
    /// `$webview_app_version`, as the user agent writes it.
    pub webview_app_version: Option<String>,
}

impl UserAgent {
    /// Parses a user agent. The time grows with its length, of which at most [`PARSED_BYTES`] are
    /// read.
    pub fn parse(user_agent: &str) -> Self {
        if user_agent.is_empty() {
            return Self::default();
        }
        let text = UserAgentText::new(cut(user_agent, PARSED_BYTES));
        let browser = browser::name(&text);
        let (os, os_version) = os::name_and_version(&text);
        let device = device::name(&text);
        let (webview_app, webview_app_version) = match webview::app(text.plain) {
            Some((app, version)) => (Some(app), version),
            None => (None, None),
        };
        Self {
            browser,
            browser_version: browser.and_then(|browser| browser::version(&text, browser)),
            os,
            os_version,
            device,
            device_type: Some(device::kind(device)),
            webview_app,
            webview_app_version,
        }
    }
}

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

/// Returns the longest beginning of `text` of at most `bytes` bytes that ends between two
/// characters.
fn cut(text: &str, bytes: usize) -> &str {
    if text.len() <= bytes {
        return text;
    }
    let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
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
