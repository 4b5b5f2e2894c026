//! What visitors do, and what arrives of it.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::{json, Value};
use tokio::process::Command;
use tokio::sync::Mutex;

use super::house::{House, Key, Tag, Where, PATIENCE};
use super::installed::{all_here, clients, Needed, Version};

/// One browser at a time: several of them on a small machine only wait for each other.
static TURN: Mutex<()> = Mutex::const_new(());

/// What Chromium itself asks for when it starts, in vain here: no page does.
const BROWSERS_OWN: [&str; 2] = ["//update.googleapis.com/", "//accounts.google.com/"];

#[derive(Debug, Deserialize)]
struct Report {
    requests: Vec<Sent>,
    asked: Vec<String>,
    errors: Vec<String>,
    before: Ids,
    after: Ids,
    flag: Option<bool>,
    cached: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Sent {
    #[serde(rename = "type")]
    kind: Option<String>,
    method: String,
    url: String,
    status: Option<u16>,
    headers: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Ids {
    anonymous: Option<String>,
    user: Option<String>,
    distinct: Option<String>,
    device: Option<String>,
    session: Option<String>,
}

fn is_here(test: &str, version: Version) -> bool {
    let needed = [
        Needed::Node,
        Needed::Playwright,
        Needed::Chromium,
        Needed::PostHogJs,
        Needed::AnalyticsJs(version),
    ];
    all_here(test, &needed)
}

async fn visit(house: &House, scenario: &str) -> Report {
    let url = format!("http://shop.test:{}/", house.address.port());
    let argument = json!({
        "chromium": Needed::Chromium.path(),
        "url": url,
        "map": "MAP shop.test 127.0.0.1, MAP t.shop.test 127.0.0.1, MAP other.test 127.0.0.1, \
            MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "posthog": true,
        "analytics": true,
        "scenario": scenario,
    });
    let running = Command::new(Needed::Node.path())
        .arg("first_party.mjs")
        .arg(argument.to_string())
        .current_dir(clients())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE * 3, running).await;
    let output = output.expect("the browser ends").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Everything that must hold of a visit with both libraries.
fn check(house: &House, report: &Report, place: Where) {
    let mut wrong = Vec::new();
    let port = house.address.port();
    let own = match place {
        Where::SameHost => format!("http://shop.test:{port}/"),
        Where::Subdomain => format!("http://t.shop.test:{port}/"),
        Where::OtherSite => format!("http://other.test:{port}/"),
    };
    let page = format!("http://shop.test:{port}/");
    let ours = |url: &str| url.starts_with(&own) || url.starts_with(&page);
    for sent in &report.requests {
        let inside = ["data:", "about:", "blob:"];
        if !ours(&sent.url) && !inside.iter().any(|start| sent.url.starts_with(start)) {
            wrong.push(format!("to another host: {} {}", sent.method, sent.url));
        }
        let below = |url: &str| url.strip_prefix(&own).is_some_and(|path| path.len() > 6);
        if below(&sent.url) && sent.status.is_some_and(|status| status >= 400) {
            wrong.push(format!("{:?}: {}", sent.status, sent.url));
        }
        for (name, value) in &sent.headers {
            let text = format!("{name}: {value}").to_lowercase();
            for word in ["segment", "posthog", "pingora", "hedgerow"] {
                if text.contains(word) {
                    wrong.push(format!("an answer says {text}: {}", sent.url));
                }
            }
        }
    }
    // The browser's own log, which knows of requests that no page made.
    let browsers_own = |url: &str| BROWSERS_OWN.iter().any(|host| url.contains(host));
    let foreign = report.asked.iter().filter(|url| !ours(url));
    for url in foreign.filter(|url| !browsers_own(url)) {
        wrong.push(format!("in the browser's log: {url}"));
    }
    for error in &report.errors {
        wrong.push(format!("console: {error}"));
    }
    let Report { before, after, .. } = report;
    if before.anonymous.is_none() || before.anonymous != before.distinct {
        wrong.push(format!("anonymous ids differ: {before:?}"));
    }
    if before.anonymous != before.device {
        wrong.push(format!("the device id differs: {before:?}"));
    }
    if after.user.as_deref() != Some("u1") || after.user != after.distinct {
        wrong.push(format!("user ids differ: {after:?}"));
    }
    if report.flag != Some(true) {
        wrong.push(format!("the flag is {:?}", report.flag));
    }
    let events = house.stand_in.capture.events();
    let names: BTreeSet<&str> = events.iter().map(|event| event.event.as_str()).collect();
    for name in [
        "$pageview",
        "Bought",
        "$identify",
        "$groupidentify",
        "direct",
        "$autocapture",
    ] {
        if !names.contains(name) {
            wrong.push(format!("no {name} among {names:?}"));
        }
    }
    let pageviews = events.iter().filter(|event| event.event == "$pageview");
    if pageviews.count() != 1 {
        wrong.push("not exactly one $pageview".to_owned());
    }
    for event in &events {
        let anonymous = before.anonymous.as_deref();
        let id = Some(event.distinct_id.as_str());
        if id != anonymous && id != Some("u1") {
            wrong.push(format!("{}: a third id, {id:?}", event.event));
        }
        let session = event.properties.get("$session_id").and_then(Value::as_str);
        if session.is_some() && session != before.session.as_deref() {
            wrong.push(format!("{}: another session, {session:?}", event.event));
        }
    }
    let recordings = house.stand_in.recordings.lock().unwrap();
    let pieces = recordings.iter().filter(|piece| {
        let session = piece["properties"]["$session_id"].as_str();
        session.is_some() && session == before.session.as_deref()
    });
    if pieces.count() == 0 {
        wrong.push(format!(
            "no recording of the session; {} pieces",
            recordings.len()
        ));
    }
    for (path, headers) in house.stand_in.seen.lock().unwrap().iter() {
        for name in ["cookie", "authorization", "x-forwarded-host"] {
            if headers.contains_key(name) {
                wrong.push(format!("{path} came with {name}"));
            }
        }
        if path != "/batch/" && headers["x-forwarded-for"] != "127.0.0.1" {
            wrong.push(format!("{path}: {:?}", headers["x-forwarded-for"]));
        }
    }
    let refusals = house.stand_in.capture.refusals();
    if !refusals.is_empty() {
        wrong.push(format!("{refusals:?}"));
    }
    if house.log().contains(super::house::API_KEY) {
        wrong.push("the log holds the project's key".to_owned());
    }
    for line in &wrong {
        eprintln!("{place:?}: {line}");
    }
    assert!(wrong.is_empty(), "{} mistakes, see above", wrong.len());
    eprintln!(
        "{place:?}: {} requests, {} in the browser's own log, {} events, {} pieces of recordings",
        report.requests.len(),
        report.asked.len(),
        events.len(),
        recordings.len()
    );
}

async fn whole(test: &str, place: Where, key: Key, tag: Tag, version: Version) {
    if !is_here(test, version) {
        return;
    }
    let _turn = TURN.lock().await;
    let house = House::open(place, key, tag, version).await;
    let report = visit(&house, "stay").await;
    check(&house, &report, place);
    let preflights = report
        .requests
        .iter()
        .filter(|sent| sent.method == "OPTIONS");
    let expected = place != Where::SameHost && key == Key::Sent;
    assert_eq!(preflights.count() > 0, expected, "{:?}", report.requests);
    if place == Where::SameHost && tag == Tag::InThePage {
        write_addresses(&house, &report);
    }
}

/// What the tests against blockers' lists take: every address that the libraries asked for.
fn write_addresses(house: &House, report: &Report) {
    let port = house.address.port();
    let page = format!("http://shop.test:{port}/");
    let below = report.requests.iter().filter_map(|sent| {
        let path = sent.url.strip_prefix(&page)?;
        (!path.is_empty() && path != "plain").then(|| json!({"kind": sent.kind, "path": path}))
    });
    let list: Vec<Value> = below.collect();
    assert!(list.len() > 5, "{list:?}");
    let all = super::installations::of(&house.yaml, &list);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let file = folder.join("first-party-addresses.json");
    std::fs::write(file, serde_json::to_vec(&all).unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_libraries_work_on_the_pages_own_host() {
    let version = Version::Newest;
    let test = "both_libraries_work_on_the_pages_own_host";
    whole(test, Where::SameHost, Key::Sent, Tag::InThePage, version).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_snippet_is_put_into_a_sites_own_pages() {
    let version = Version::Newest;
    let test = "the_snippet_is_put_into_a_sites_own_pages";
    whole(test, Where::SameHost, Key::Sent, Tag::Injected, version).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_libraries_work_from_a_subdomain_with_a_preflight() {
    let version = Version::Newest;
    let test = "both_libraries_work_from_a_subdomain_with_a_preflight";
    whole(test, Where::Subdomain, Key::Sent, Tag::InThePage, version).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_libraries_work_from_a_subdomain_without_a_preflight() {
    let version = Version::Newest;
    let test = "both_libraries_work_from_a_subdomain_without_a_preflight";
    whole(
        test,
        Where::Subdomain,
        Key::LeftOut,
        Tag::InThePage,
        version,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_libraries_work_from_another_site() {
    let version = Version::Newest;
    let test = "both_libraries_work_from_another_site";
    whole(test, Where::OtherSite, Key::Sent, Tag::InThePage, version).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_libraries_work_from_another_site_without_a_preflight() {
    let version = Version::V1_83;
    let test = "both_libraries_work_from_another_site_without_a_preflight";
    whole(
        test,
        Where::OtherSite,
        Key::LeftOut,
        Tag::InThePage,
        version,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_calls_of_a_page_that_is_left_arrive() {
    let version = Version::Newest;
    if !is_here("the_last_calls_of_a_page_that_is_left_arrive", version) {
        return;
    }
    let _turn = TURN.lock().await;
    let house = House::open(Where::SameHost, Key::Sent, Tag::InThePage, version).await;
    let report = visit(&house, "leave").await;
    assert_eq!(report.errors, [""; 0]);
    let events = house.stand_in.capture.events();
    for name in ["Left", "left directly"] {
        let count = events.iter().filter(|event| event.event == name).count();
        assert_eq!(count, 1, "{name}: {events:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_from_the_back_forward_cache_goes_on_sending() {
    let version = Version::Newest;
    if !is_here(
        "a_page_from_the_back_forward_cache_goes_on_sending",
        version,
    ) {
        return;
    }
    let _turn = TURN.lock().await;
    let house = House::open(Where::SameHost, Key::Sent, Tag::InThePage, version).await;
    let report = visit(&house, "back").await;
    assert_eq!(report.errors, [""; 0]);
    let events = house.stand_in.capture.events();
    let count = |name| events.iter().filter(|event| event.event == name).count();
    assert_eq!(count("Came back"), 1, "{events:?}");
    assert_eq!(report.cached, Some(true), "the page was made anew");
}
