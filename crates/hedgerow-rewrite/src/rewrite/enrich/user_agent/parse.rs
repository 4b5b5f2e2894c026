//! Parses a user agent.

use super::scan::UserAgentText;
use super::{browser, device, os, webview};

/// The most bytes of a user agent that are read. Real user agents are much shorter; a longer one is
/// an abuse and must not cost more time.
pub const PARSED_BYTES: usize = 4096;

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

/// Returns the longest beginning of `text` of at most `bytes` bytes that ends between two
/// characters.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    if text.len() <= bytes {
        return text;
    }
    let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}
