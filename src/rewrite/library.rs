//! Which library sent a message, and so on whose machine it ran.

use super::json::unescape;
use super::message::{find, Context, Inner};

/// Where a library runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Library {
    /// In a visitor's browser.
    Browser,
    /// On a visitor's phone.
    Mobile,
    /// On a machine of the sender's.
    Server,
    /// The message does not say.
    Unknown,
}

impl Library {
    /// By `context.library.name`.
    pub(super) fn of(context: &Context, text: &[u8]) -> Self {
        let name = find(context.inner(Inner::Library), text, "name");
        match name.filter(|name| name.is_string()) {
            Some(name) => Self::named(&unescape(name.of(text))),
            None => Self::Unknown,
        }
    }

    fn named(name: &str) -> Self {
        match name {
            "" => Self::Unknown,
            "analytics.js" | "amp" => Self::Browser,
            "analytics-ios"
            | "analytics-swift"
            | "analytics-android"
            | "analytics-kotlin"
            | "analytics-react-native"
            | "@segment/analytics-react-native"
            | "analytics-flutter"
            | "analytics_flutter"
            | "analytics-xamarin" => Self::Mobile,
            // Whatever is neither is somebody's server: its address says nothing of the user's.
            _ => Self::Server,
        }
    }

    /// Whether the client's address is the user's.
    pub(super) fn runs_on_a_device(self) -> bool {
        matches!(self, Self::Browser | Self::Mobile)
    }
}
