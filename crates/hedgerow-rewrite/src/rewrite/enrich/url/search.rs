//! Determines which search engine sent a visitor, and for which words.

use std::borrow::Cow;

use super::parameters::{is_line_end, Query};

/// The search engines that posthog-js knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchEngine {
    /// Google.
    Google,
    /// Bing.
    Bing,
    /// Yahoo.
    Yahoo,
    /// DuckDuckGo.
    DuckDuckGo,
}

impl SearchEngine {
    /// Returns the search engine that a referrer belongs to.
    ///
    /// As in posthog-js, the engine's name may be anywhere after the scheme, even in the query. A
    /// stricter rule would be better, but the same visit would then count differently.
    pub fn of(referrer: &str) -> Option<Self> {
        let rest = referrer
            .strip_prefix("https://")
            .or_else(|| referrer.strip_prefix("http://"))?;
        let line = rest.split(is_line_end).next().unwrap_or_default();
        // posthog-js writes the names as regular expressions, in which a dot matches any one
        // character.
        let occurs = |name: &str, end: &str| {
            line.match_indices(name).any(|(at, _)| {
                let mut rest = line.get(at + name.len()..).unwrap_or_default().chars();
                let dot = rest.next();
                dot.is_some_and(|dot| end.is_empty() || dot.len_utf16() == 1)
                    && rest.as_str().starts_with(end)
            })
        };
        if occurs("google", "") {
            Some(Self::Google)
        } else if occurs("bing", "com") {
            Some(Self::Bing)
        } else if occurs("yahoo", "com") {
            Some(Self::Yahoo)
        } else if occurs("duckduckgo", "com") {
            Some(Self::DuckDuckGo)
        } else {
            None
        }
    }

    /// Returns `$search_engine`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Google => "google",
            Self::Bing => "bing",
            Self::Yahoo => "yahoo",
            Self::DuckDuckGo => "duckduckgo",
        }
    }

    /// Returns the name of the parameter that holds the words searched for.
    fn parameter(self) -> &'static str {
        match self {
            Self::Yahoo => "p",
            _ => "q",
        }
    }
}

/// Returns `ph_keyword`: the words searched for, if the engine still sends them.
pub fn search_keyword(engine: SearchEngine, referrer: &str) -> Option<Cow<'_, str>> {
    Query::of(referrer).get(engine.parameter())
}
