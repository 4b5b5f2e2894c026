//! The content for a page: the tag for plain HTML, and the modules for bundlers and frameworks.
//!
//! All of this text is our own. It names no vendor's host, except PostHog's app, which links and
//! the toolbar open and which is never requested otherwise.

mod csp;
mod html;
mod modules;
mod places;

use super::layout::Layout;
use super::page_sessions::PageSessions;
use super::path_names::PathNames;
use super::settings::KeyForm;

pub use csp::content_security_policy;
pub use html::{script, tag, tag_of_template};
pub use places::{snippet_for, PageKind};

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
    fn place(&self, path: &str) -> String {
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
    fn origin(&self) -> &str {
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
    fn address(&self, home: &ProxyAddress, path: &str) -> String {
        let path = match &self.names {
            Some(names) => names.to_neutral(path).into_owned(),
            None => path.to_owned(),
        };
        format!("{}{}{path}", home.origin(), self.prefix)
    }
}

/// A text as a literal of JavaScript in ASCII, so that a page's charset does not matter. It is
/// valid inside a script tag: `</script>` and `<!--` cannot appear in it.
fn literal(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    let mut ascii = String::with_capacity(quoted.len());
    for character in quoted.chars() {
        if character == '<' || !character.is_ascii() {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            ascii.push(character);
        }
    }
    ascii
}

/// The hand-over from analytics.js to posthog-js (posthog-ingestion 7).
struct HandOver<'a> {
    /// The expression for analytics.js.
    analytics: &'a str,
    /// The expression for its anonymous id; analytics.js has started when it is asked.
    anonymous_id: &'a str,
    /// The function that is called when posthog-js has started.
    loaded: &'a str,
}

/// posthog-js's options, one a line, `indent` in front.
fn options(
    page: &Page,
    posthog: &PostHogPart,
    hand_over: Option<HandOver<'_>>,
    types: Types,
    indent: &str,
) -> String {
    let mut lines = vec![
        format!(
            "api_host: {},",
            literal(&format!("{}{}", page.home.origin(), posthog.prefix))
        ),
        format!("ui_host: {},", literal(&posthog.ui_host)),
    ];
    if matches!(page.home, ProxyAddress::OtherHost(_)) {
        // A list blocks every beacon to another registrable domain, and no fetch (adblock 3).
        lines.push("disable_beacon: true,".to_owned());
    }
    if let Some(HandOver {
        analytics,
        anonymous_id,
        loaded,
    }) = hand_over
    {
        let uuid = if types == Types::TypeScript {
            "uuid: string"
        } else {
            "uuid"
        };
        lines.push(format!("segment: {analytics},"));
        // posthog-js takes Segment's id over only with the first event, by a reset; a new visitor's
        // first flags and replay would belong to another person.
        lines.push(format!(
            "get_device_id: function ({uuid}) {{ return {anonymous_id} || uuid }},"
        ));
        // Segment's page calls become pageviews; posthog-js's own would count them twice.
        lines.push("capture_pageview: false,".to_owned());
        lines.push(format!("loaded: {loaded},"));
    }
    if let Some(names) = &posthog.names {
        lines.push(rewrite_request_path(posthog, names, types));
    }
    let mut text = String::from("{\n");
    for line in lines {
        text.push_str(&format!("{indent}  {line}\n"));
    }
    text.push_str(indent);
    text.push('}');
    text
}

/// Which language a module is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Types {
    None,
    TypeScript,
}

/// The function that posthog-js from 1.416.0 asks about every address; [`PathNames::restore`] is
/// its inverse.
fn rewrite_request_path(posthog: &PostHogPart, names: &PathNames, types: Types) -> String {
    let table = names
        .table()
        .map(|(word, name)| format!("{}:{}", literal(word), literal(name)))
        .chain([format!(
            "{}:{}",
            literal(&posthog.api_key),
            literal(names.key_name())
        )])
        .collect::<Vec<_>>()
        .join(",");
    let (url, text, record) = match types {
        Types::None => ("", "", ""),
        Types::TypeScript => (": URL", ": string", ": Record<string, string>"),
    };
    format!(
        "rewriteRequestPath: function (url{url}) {{ \
         var base = {base}, names{record} = {{{table}}}; \
         if (url.pathname.indexOf(base) === 0) {{ \
         url.pathname = base + url.pathname.slice(base.length).replace(/[^\\/]+?(?=(\\.js)?(\\/|$))/g, \
         function (part{text}) {{ return names.hasOwnProperty(part) ? names[part] : part }}); \
         url.search = url.search.split(\"={key}\").join(\"={key_name}\") \
         }} return url }},",
        base = literal(&format!("{}/", posthog.prefix)),
        key = posthog.api_key,
        key_name = names.key_name(),
    )
}

#[cfg(test)]
mod tests;
