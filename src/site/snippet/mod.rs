//! What goes on a page: the tag for plain HTML, and the modules for npm and Next.js.
//!
//! Everything here is our own text. It names no vendor's host, except PostHog's app, which links
//! and the toolbar open and which is never asked for by itself.

mod csp;
mod html;
mod modules;

use super::layout::Layout;
use super::path_names::PathNames;

pub use csp::content_security_policy;
pub use html::{script, tag};
pub use modules::{next_js, npm};

/// What a page needs to know about its installation.
#[derive(Debug, Clone)]
pub struct Page {
    /// The proxy as the page sees it.
    pub home: Home,
    /// Segment's library, if the page uses it.
    pub analytics: Option<AnalyticsPart>,
    /// posthog-js, if the page uses it.
    pub posthog: Option<PostHogPart>,
}

/// Where the proxy is, seen from the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// On the page's own host.
    SameHost,
    /// On another one: scheme, host and port, such as `https://t.shop.example`.
    OtherHost(String),
}

impl Home {
    /// What stands in front of a path: nothing on the page's own host.
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
}

/// posthog-js on a page.
#[derive(Debug, Clone)]
pub struct PostHogPart {
    /// The route's prefix without the slash at its end.
    pub prefix: String,
    /// The project's key; a page shows it to everybody.
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
    fn address(&self, home: &Home, path: &str) -> String {
        let path = match &self.names {
            Some(names) => names.disguise(path).into_owned(),
            None => path.to_owned(),
        };
        format!("{}{}{path}", home.origin(), self.prefix)
    }
}

/// A text as a literal of JavaScript that may also stand inside a script tag: `</script>` and
/// `<!--` cannot appear in it.
fn literal(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('<', "\\u003c")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// posthog-js's options, one a line, `indent` in front.
///
/// `segment` is the expression that stands for analytics.js; `loaded` the one that is called when
/// posthog-js has started.
fn options(
    page: &Page,
    posthog: &PostHogPart,
    segment: Option<&str>,
    loaded: Option<&str>,
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
    if matches!(page.home, Home::OtherHost(_)) {
        // A list blocks every beacon to another registrable domain, and no fetch (adblock 3).
        lines.push("disable_beacon: true,".to_owned());
    }
    if let Some(segment) = segment {
        lines.push(format!("segment: {segment},"));
        // Segment's page calls become pageviews; posthog-js's own would count them twice.
        lines.push("capture_pageview: false,".to_owned());
    }
    if let Some(loaded) = loaded {
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
