//! The parts of an installation that a page's snippet depends on.

use super::super::layout::Layout;
use super::super::page_sessions::PageSessions;
use super::super::path_names::PathNames;
use super::super::settings::KeyForm;
use super::literal::literal;

/// The parts of an installation that a page's snippet depends on.
#[derive(Debug, Clone)]
pub struct Page {
    /// The proxy's address, as the page sees it.
    pub home: ProxyAddress,
    /// analytics.js, if the page uses it.
    pub analytics: Option<AnalyticsPart>,
    /// posthog-js, if the page uses it.
    pub posthog: Option<PostHogPart>,
}

/// The proxy's address, as the page sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyAddress {
    /// The proxy is on the page's own host.
    SameHost,
    /// The proxy is on another host: scheme, host and optionally a port, such as
    /// `https://t.shop.example`.
    OtherHost(String),
}

impl ProxyAddress {
    /// Reads a separate host: scheme, host and optionally a port. Returns `None` if the text has another
    /// form.
    pub fn other(text: &str) -> Option<Self> {
        let host = text.parse::<crate::posthog::Host>().ok()?;
        let plain = text.contains("://") && host.base_path().is_empty();
        plain.then(|| Self::OtherHost(text.trim_end_matches('/').to_owned()))
    }

    /// Returns a JavaScript expression for the host and a path on it, without a scheme.
    pub(super) fn place(&self, path: &str) -> String {
        match self {
            Self::SameHost => format!("location.host + {}", literal(path)),
            Self::OtherHost(origin) => {
                let host = origin
                    .split_once("://")
                    .map_or(origin.as_str(), |(_, host)| host);
                literal(&format!("{}{path}", host.trim_end_matches('/')))
            }
        }
    }

    /// Returns the text before a path: empty on the page's own host.
    pub(super) fn origin(&self) -> &str {
        match self {
            Self::SameHost => "",
            Self::OtherHost(origin) => origin.trim_end_matches('/'),
        }
    }
}

/// analytics.js on a page.
#[derive(Debug, Clone)]
pub struct AnalyticsPart {
    /// The paths of its files.
    pub layout: Layout,
    /// The write key, or an alias of it.
    pub write_key: String,
    /// Whether events contain the write key. It matters for pages that bundle the library, because
    /// these do not request the settings.
    pub key_form: KeyForm,
    /// Whether pages keep sessions. For a page that bundles the library the module contains the code;
    /// for any other page the library's loader does.
    pub sessions: PageSessions,
}

/// posthog-js on a page.
#[derive(Debug, Clone)]
pub struct PostHogPart {
    /// The route's prefix without the slash at its end.
    pub prefix: String,
    /// The project's key. It is public: every page contains it.
    pub api_key: String,
    /// The address of PostHog's app for its users, such as `https://us.posthog.com`.
    pub ui_host: String,
    /// Neutral names for its paths, if the route has them.
    pub names: Option<PathNames>,
}

impl PostHogPart {
    /// Returns the address of PostHog's app for a project's host. In PostHog's clouds the app has its own
    /// host; elsewhere it is on the project's host (posthog-ingestion 6.1).
    pub fn ui_host_of(host: &str) -> String {
        match host {
            "us" | "https://us.i.posthog.com" => "https://us.posthog.com".to_owned(),
            "eu" | "https://eu.i.posthog.com" => "https://eu.posthog.com".to_owned(),
            other => other.trim_end_matches('/').to_owned(),
        }
    }

    /// Returns the address that the page uses for one of posthog-js's paths.
    pub(super) fn address(&self, home: &ProxyAddress, path: &str) -> String {
        let path = match &self.names {
            Some(names) => names.to_neutral(path).into_owned(),
            None => path.to_owned(),
        };
        format!("{}{}{path}", home.origin(), self.prefix)
    }
}
