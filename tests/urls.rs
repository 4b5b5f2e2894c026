//! Hedgerow reads URLs and referrers as posthog-js does. The expected values come from
//! `scripts/urls`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use hedgerow::rewrite::enrich::privacy::mask_click_ids;
use hedgerow::rewrite::enrich::url::{referring_domain, search_keyword, Query, SearchEngine, Url};
use serde_json::{Map, Value};

fn properties(url: &str, referrer: &str) -> Map<String, Value> {
    let mut properties = Map::new();
    let mut put = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            properties.insert(name.to_owned(), value.into());
        }
    };
    let parsed = Url::parse(url);
    put("$host", parsed.as_ref().map(Url::host));
    put("$pathname", parsed.as_ref().map(Url::pathname));
    put("$referring_domain", referring_domain(referrer).as_deref());
    let engine = SearchEngine::of(referrer);
    put("$search_engine", engine.map(SearchEngine::name));
    let keyword = engine.and_then(|engine| search_keyword(engine, referrer));
    put("ph_keyword", keyword.as_deref());
    for parameter in Query::of(url).campaign() {
        put(parameter.name, Some(&parameter.value));
    }
    properties
}

#[test]
fn urls_and_referrers_are_read_as_posthog_js_reads_them() {
    let mut count = 0;
    let mut wrong = Vec::new();
    for line in include_str!("data/urls.jsonl").lines() {
        let (url, referrer, expected, masked): (String, String, Map<String, Value>, String) =
            serde_json::from_str(line).unwrap();
        let ours = properties(&url, &referrer);
        if ours != expected {
            wrong.push(format!(
                "{url} from {referrer}\n  posthog-js {expected:?}\n  Hedgerow   {ours:?}"
            ));
        }
        let ours = mask_click_ids(&url);
        if ours != masked {
            wrong.push(format!("{url}\n  posthog-js {masked}\n  Hedgerow   {ours}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 50, "{count} cases are too few");
}

/// How Node parses generated URLs: the stored results, or those in the file that `URLS` names.
fn generated() -> String {
    match std::env::var("URLS") {
        Ok(path) => std::fs::read_to_string(path).unwrap(),
        Err(_) => include_str!("data/urls_generated.jsonl").to_owned(),
    }
}

#[test]
fn whatever_is_written_for_a_url_is_read_as_the_url_standard_reads_it() {
    type Line = (String, Option<String>, Option<String>, Option<String>);
    let mut count = 0;
    let mut wrong = Vec::new();
    for line in generated().lines() {
        let (text, host, pathname, domain): Line = serde_json::from_str(line).unwrap();
        let parsed = Url::parse(&text);
        let ours = (
            parsed.as_ref().map(|url| url.host().to_owned()),
            parsed.as_ref().map(|url| url.pathname().to_owned()),
            referring_domain(&text).map(|domain| domain.into_owned()),
        );
        let theirs = (host, pathname, domain);
        if ours != theirs {
            wrong.push(format!(
                "{text:?}\n  Node     {theirs:?}\n  Hedgerow {ours:?}"
            ));
        }
        count += 1;
    }
    assert!(
        wrong.is_empty(),
        "{} of {count}\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(count >= 1500, "{count} cases are too few");
}

#[test]
fn a_value_that_is_not_a_page_url_adds_nothing() {
    for text in [
        "",
        "/path?x=1",
        "shop.example.test/p",
        "//shop.example.test/p",
        "ftp://shop.example.test/",
        "javascript:alert(1)",
        "about:blank",
        "https://",
        "https://?utm_source=a",
        "https://xn--a/",
        "https://1.2.3.4.5/",
        "https://shop.example.test:99999/",
        "https://shop.example.test:80a/",
        "https://a b/",
        "https://a%00/",
        "https://[::1/",
        "https://[::1]x/",
        "https://a[b]/",
        "https://\u{ad}/",
    ] {
        assert_eq!(Url::parse(text), None, "{text}");
    }
    for referrer in [
        "/path",
        "//host/x",
        "about:client",
        "no url",
        "https://a b/",
    ] {
        assert_eq!(referring_domain(referrer), None, "{referrer}");
    }
}
