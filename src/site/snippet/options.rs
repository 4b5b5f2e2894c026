//! posthog-js's options.

use super::super::path_names::PathNames;
use super::literal::literal;
use super::page::{Page, PostHogPart, ProxyAddress};

/// The hand-over from analytics.js to posthog-js (posthog-ingestion 7).
pub(super) struct HandOver<'a> {
    /// The expression for analytics.js.
    pub(super) analytics: &'a str,
    /// The expression for its anonymous id. It is evaluated after analytics.js has started.
    pub(super) anonymous_id: &'a str,
    /// The function that is called when posthog-js has started.
    pub(super) loaded: &'a str,
}

/// Returns posthog-js's options, one per line, with `indent` before each line but the first.
pub(super) fn options(
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
        // A filter list blocks every beacon to another registrable domain, but no fetch (adblock 3).
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
        // posthog-js takes over Segment's id only with the first event, by a reset. Without this
        // option a new visitor's first flags and replay would belong to another person.
        lines.push(format!(
            "get_device_id: function ({uuid}) {{ return {anonymous_id} || uuid }},"
        ));
        // Segment's page calls become pageviews. With those of posthog-js each would count twice.
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

/// The types in the generated code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Types {
    None,
    TypeScript,
}

/// Returns the function that posthog-js from 1.416.0 calls for every address. [`PathNames::to_real`] is
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
