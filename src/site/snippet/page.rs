//! What a page needs to know about its installation.

use super::super::layout::Layout;
use super::super::page_sessions::PageSessions;
use super::super::path_names::PathNames;
use super::super::settings::KeyForm;
use super::literal::literal;

/// What a page needs to know about its installation.
#[derive(Debug, Clone)]
pub struct Page {
    /// The proxy as the page sees it.
    pub home: ProxyAddress,
    /// Segment's library, if the page uses it.
    pub analytics: Option<AnalyticsPart>,
    /// posthog-js, if the page uses it.
    pub posthog: Option<PostHogPart>,
}

/// Where the proxy is, seen from the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyAddress {
    /// On the page's own host.
    SameHost,
    /// On another one: scheme, host and port, such as `https://t.shop.example`.
    OtherHost(String),
}

impl ProxyAddress {
    /// A separate host: scheme, host and optionally a port.
    pub fn other(text: &str) -> Option<Self> {
        let host = text.parse::<crate::posthog::Host>().ok()?;
        let plain = text.contains("://") && host.base_path().is_empty();
        plain.then(|| Self::OtherHost(text.trim_end_matches('/').to_owned()))
    }

    /// An expression of JavaScript for the host and a path on it, without a scheme.
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

    /// The text before a path: empty on the page's own host.
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
    /// Where its files are.
    pub layout: Layout,
    /// The write key, or the alias of one.
    pub write_key: String,
    /// Whether events carry it; decides for pages that bundle the library and so ask for no
    /// settings.
    pub key_form: KeyForm,
    /// Whether pages keep sessions; a page that bundles the library does it with this code, every
    /// other one with the code in the library's loader.
    pub sessions: PageSessions,
}

/// posthog-js on a page.
#[derive(Debug, Clone)]
pub struct PostHogPart {
    /// The route's prefix without the slash at its end.
    pub prefix: String,
    /// The project's key; each page shows it.
    pub api_key: String,
    /// Where people look at PostHog: `https://us.posthog.com`.
    pub ui_host: String,
    /// Neutral names for its paths, if the route has them.
    pub names: Option<PathNames>,
}

impl PostHogPart {
    /// The address of PostHog's app for a project's host: its own one for the clouds, the same
    /// host for others (posthog-ingestion 6.1).
    pub fn ui_host_of(host: &str) -> String {
        match host {
            "us" | "https://us.i.posthog.com" => "https://us.posthog.com".to_owned(),
            "eu" | "https://eu.i.posthog.com" => "https://eu.posthog.com".to_owned(),
            other => other.trim_end_matches('/').to_owned(),
        }
    }

    /// The address that this part of posthog-js's paths has on the page.
    pub(super) fn address(&self, home: &ProxyAddress, path: &str) -> String {
        let path = match &self.names {
            Some(names) => names.to_neutral(path).into_owned(),
            None => path.to_owned(),
        };
        format!("{}{}{path}", home.origin(), self.prefix)
    }
}
