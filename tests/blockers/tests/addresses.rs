//! Brave's engine with EasyList, EasyPrivacy, uBlock's and AdGuard's lists blocks none of the
//! addresses that the real libraries request, in 200 installations.
//!
//! `make blockers` downloads the lists and generates the addresses. Without them this test prints
//! that it was skipped; with `HEDGEROW_BLOCKERS=required` it fails.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use adblock::lists::{FilterSet, ParseOptions};
use adblock::request::Request;
use adblock::Engine;
use serde_json::Value;

const PAGE: &str = "https://www.example-shop.com/";

/// Rules from newer lists than the packages contain (adblock 4).
const NEWER: &str = "/analytics.js/v1/*
/posthog-recorder.js
/dead-clicks-autocapture.js
/rrweb.js
://posthog.$script,domain=~posthog.com
$ping,third-party
||segment.com^$third-party
||segment.io^$third-party
/ingest/*^ip=
/ingress/*^ip=
/hog/*^ip=
/s/e/*^ip=$xhr,1p
/s/i/*/e/*^ip=$xhr,1p
/s/flags/*^ip=$xhr,1p
/s/array/phc_*/config$script,xhr,1p
/e/*^ip=*^compression=
/e/*^ip=*^beacon=
/posthog/ingest/*
/ingest/*ip=*&ver=
||i.posthog.com^
/hog/e/
/relay-gp-ph/
/array/phc_";

fn missing(what: &str) {
    let required = std::env::var("HEDGEROW_BLOCKERS").is_ok_and(|value| value == "required");
    assert!(!required, "missing: {what}");
    writeln!(
        std::io::stderr(),
        "\n*** SKIPPED, nothing was tried against blockers: missing {what}; `make blockers` \
         fetches it ***"
    )
    .expect("standard error can be written");
}

fn lists() -> Option<Vec<(String, String)>> {
    let folder = std::env::var_os("HEDGEROW_BLOCKER_LISTS").map(PathBuf::from)?;
    let mut lists: Vec<(String, String)> = std::fs::read_dir(folder)
        .ok()?
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
        .map(|path| {
            let name = path.file_name().expect("it has a name");
            let text = std::fs::read_to_string(&path).expect("it is text");
            (name.to_string_lossy().into_owned(), text)
        })
        .collect();
    lists.sort();
    Some(lists)
}

/// One engine for each blocker with its lists, and one with every list. A list's exceptions apply
/// to the other lists too, so the engine with all of them proves nothing about each blocker.
fn engines(lists: &[(String, String)]) -> Vec<(&'static str, Engine)> {
    let of_adguard = |name: &str| name.starts_with("adguard");
    vec![
        (
            "EasyList's and uBlock's",
            engine(lists, |name| !of_adguard(name)),
        ),
        ("AdGuard's", engine(lists, of_adguard)),
        ("all lists", engine(lists, |_| true)),
    ]
}

fn engine(lists: &[(String, String)], takes: impl Fn(&str) -> bool) -> Engine {
    let mut set = FilterSet::new(true);
    for (_, text) in lists.iter().filter(|(name, _)| takes(name)) {
        set.add_filter_list(text.clone(), ParseOptions::default());
    }
    set.add_filter_list(NEWER.to_owned(), ParseOptions::default());
    Engine::new_with_filter_set(set)
}

/// The rule that blocks this address, if there is one.
fn blocked(engine: &Engine, url: &str, kind: &str) -> Option<String> {
    let method = if kind == "script" { "get" } else { "post" };
    let request = Request::new(url, PAGE, kind, method).expect("an address");
    let result = engine.check_network_request(&request);
    let rule = || match &result.filter {
        Some(filter) => format!("{filter:?}"),
        None => "a rule without its text".to_owned(),
    };
    result.should_block().then(rule)
}

/// An engine that blocks nothing proves nothing, nor does one that blocks everything.
fn controls(name: &str, engine: &Engine) {
    for (url, kind) in [
        (
            "https://cdn.segment.com/analytics.js/v1/KEY/analytics.min.js",
            "script",
        ),
        ("https://api.segment.io/v1/t", "xhr"),
        ("https://api.segment.io/v1/t", "ping"),
        ("https://us-assets.i.posthog.com/static/array.js", "script"),
        ("https://us.i.posthog.com/i/v0/e/", "xhr"),
        (
            "https://www.example-shop.com/analytics.js/v1/K/analytics.min.js",
            "script",
        ),
        (
            "https://www.example-shop.com/static/posthog-recorder.js",
            "script",
        ),
        ("https://www.example-shop.com/posthog/ingest/e/", "xhr"),
    ] {
        let rule = blocked(engine, url, kind);
        assert!(rule.is_some(), "{name}: the control {url} as {kind} passes");
    }
    for url in [
        "https://www.example-shop.com/",
        "https://www.example-shop.com/cart.js",
    ] {
        assert_eq!(
            blocked(engine, url, "script"),
            None,
            "{name}: the control {url}"
        );
    }
}

/// The lists themselves block the vendors, without the rules that this test adds.
fn lists_alone(lists: &[(String, String)]) {
    for (list, url, kind) in [
        (
            "easyprivacy",
            "https://cdn.segment.com/analytics.js/v1/KEY/analytics.min.js",
            "script",
        ),
        ("easyprivacy", "https://api.segment.io/v1/t", "xhr"),
        (
            "privacy.min",
            "https://www.example-shop.com/ingest/e/?ip=1",
            "xhr",
        ),
        ("adguard-3", "https://us.i.posthog.com/e/", "xhr"),
        (
            "adguard-3",
            "https://www.example-shop.com/posthog/ingest/e/",
            "xhr",
        ),
    ] {
        let mut set = FilterSet::new(true);
        for (_, text) in lists.iter().filter(|(name, _)| name.starts_with(list)) {
            set.add_filter_list(text.clone(), ParseOptions::default());
        }
        let engine = Engine::new_with_filter_set(set);
        let rule = blocked(&engine, url, kind);
        assert!(rule.is_some(), "{list} knows nothing of {url} as {kind}");
    }
}

#[test]
fn no_address_of_two_hundred_installations_is_blocked() {
    let Some(lists) = lists().filter(|lists| !lists.is_empty()) else {
        return missing("lists (HEDGEROW_BLOCKER_LISTS names their folder)");
    };
    for part in ["easylist", "easyprivacy", "privacy.min", "adguard-3"] {
        if !lists.iter().any(|(name, _)| name.starts_with(part)) {
            return missing(part);
        }
    }
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/first-party-addresses.json");
    let Ok(text) = std::fs::read_to_string(&file) else {
        return missing("the addresses of a real run");
    };
    lists_alone(&lists);
    let engines = engines(&lists);
    for (name, engine) in &engines {
        controls(name, engine);
    }

    let installations: Vec<Vec<Value>> = serde_json::from_str(&text).expect("JSON");
    assert_eq!(installations.len(), 200);
    let mut tried = 0;
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for list in &installations {
        assert!(list.len() >= 10, "only {} addresses", list.len());
        for sent in list {
            let path = sent["path"].as_str().expect("a path");
            let url = format!("{PAGE}{path}");
            let kinds: &[&str] = match sent["kind"].as_str() {
                Some("Script") => &["script"],
                _ => &["xhr", "ping", "other"],
            };
            for kind in kinds {
                tried += 1;
                for (name, engine) in &engines {
                    if let Some(rule) = blocked(engine, &url, kind) {
                        found.insert(format!("{name}: {kind} {url}"), rule);
                    }
                }
            }
        }
    }
    for (address, rule) in &found {
        eprintln!("{address}: {rule}");
    }
    assert!(found.is_empty(), "{} of {tried} are blocked", found.len());
    let names: Vec<&str> = lists.iter().map(|(name, _)| name.as_str()).collect();
    eprintln!(
        "{tried} requests of {} installations, 0 blocked, with {}",
        installations.len(),
        names.join(", ")
    );
}

#[test]
fn the_rules_that_the_demo_shows_are_in_easyprivacy() {
    let Some(lists) = lists() else {
        return missing("lists (HEDGEROW_BLOCKER_LISTS names their folder)");
    };
    let easyprivacy = lists
        .iter()
        .find(|(name, _)| name.starts_with("easyprivacy"));
    let Some((_, easyprivacy)) = easyprivacy else {
        return missing("easyprivacy");
    };
    let script = include_str!("../../../src/demo/assets/blocker.js");
    let (_, rules) = script
        .split_once("const RULES = [")
        .expect("they are there");
    let (rules, _) = rules.split_once(']').expect("they end");
    let rules: Vec<&str> = rules.split('\'').skip(1).step_by(2).collect();
    assert_eq!(rules.len(), 3, "{rules:?}");
    for rule in rules {
        assert!(easyprivacy.lines().any(|line| line == rule), "{rule}");
    }
}
