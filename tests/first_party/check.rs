//! The requirements for a whole visit with both libraries.

use std::collections::BTreeSet;

use serde_json::Value;

use super::setup::Setup;
use super::stand_in::StandIn;
use super::visitor::{Report, VisitorIds};

/// Requests that Chromium itself makes at its start. They fail here.
const BROWSERS_OWN: [&str; 2] = ["//update.googleapis.com/", "//accounts.google.com/"];

/// The events of a visit with `stay`, and posthog-js's own.
const EVENTS: [&str; 6] = [
    "$pageview",
    "Bought",
    "$identify",
    "$groupidentify",
    "direct",
    "$autocapture",
];

/// Waits until every event of such a visit has arrived.
pub async fn all_comes(setup: &Setup, stay: &VisitorIds) {
    setup
        .until("every event and a recording", |stand_in| {
            let events = stand_in.capture.events();
            let came = |name: &str| events.iter().any(|event| event.event == name);
            EVENTS.into_iter().all(came) && pieces(stand_in, stay) > 0
        })
        .await;
}

/// The number of pieces of the visit's recording that have arrived.
fn pieces(stand_in: &StandIn, stay: &VisitorIds) -> usize {
    let recordings = stand_in.recordings.lock().unwrap();
    let of_the_session = recordings.iter().filter(|piece| {
        let session = piece["properties"]["$session_id"].as_str();
        session.is_some() && session == stay.before.session.as_deref()
    });
    of_the_session.count()
}

/// Where a visit goes: how the page's addresses begin, and how those begin to which it sends.
#[derive(Debug)]
pub struct Addresses {
    pub page: String,
    pub own: String,
}

/// The requirements for a visit with both libraries.
pub fn check(setup: &Setup, stay: &VisitorIds, report: &Report, addresses: &Addresses) {
    let mut wrong = Vec::new();
    let Addresses { page, own } = addresses;
    let ours = |url: &str| url.starts_with(own) || url.starts_with(page);
    for sent in &report.requests {
        let inside = ["data:", "about:", "blob:"];
        if !ours(&sent.url) && !inside.iter().any(|start| sent.url.starts_with(start)) {
            wrong.push(format!("to another host: {} {}", sent.method, sent.url));
        }
        let below = |url: &str| url.strip_prefix(own).is_some_and(|path| path.len() > 6);
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
    // The browser's own log also has requests that no page made.
    let browsers_own = |url: &str| BROWSERS_OWN.iter().any(|host| url.contains(host));
    let foreign = report.asked.iter().filter(|url| !ours(url));
    for url in foreign.filter(|url| !browsers_own(url)) {
        wrong.push(format!("in the browser's log: {url}"));
    }
    for error in &report.errors {
        wrong.push(format!("console: {error}"));
    }
    let VisitorIds {
        before,
        after,
        flag,
    } = stay;
    if before.anonymous.is_none() || before.anonymous != before.distinct {
        wrong.push(format!("anonymous ids differ: {before:?}"));
    }
    if before.anonymous != before.device {
        wrong.push(format!("the device id differs: {before:?}"));
    }
    if after.user.as_deref() != Some("u1") || after.user != after.distinct {
        wrong.push(format!("user ids differ: {after:?}"));
    }
    if *flag != true {
        wrong.push(format!("the flag is {flag}"));
    }
    let events = setup.stand_in.capture.events();
    let names: BTreeSet<&str> = events.iter().map(|event| event.event.as_str()).collect();
    for name in EVENTS {
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
    let pieces = pieces(&setup.stand_in, stay);
    if pieces == 0 {
        wrong.push("no recording of the session".to_owned());
    }
    for (path, headers) in setup.stand_in.seen.lock().unwrap().iter() {
        for name in ["cookie", "authorization", "x-forwarded-host"] {
            if headers.contains_key(name) {
                wrong.push(format!("{path} came with {name}"));
            }
        }
        if path != "/batch/" && headers["x-forwarded-for"] != "127.0.0.1" {
            wrong.push(format!("{path}: {:?}", headers["x-forwarded-for"]));
        }
    }
    let refusals = setup.stand_in.capture.refusals();
    if !refusals.is_empty() {
        wrong.push(format!("{refusals:?}"));
    }
    if setup.log().contains(super::setup::API_KEY) {
        wrong.push("the log holds the project's key".to_owned());
    }
    for line in &wrong {
        eprintln!("{own} {line}");
    }
    assert!(wrong.is_empty(), "{} mistakes, see above", wrong.len());
    eprintln!(
        "{own} {} requests, {} in the browser's own log, {} events, {} pieces of recordings",
        report.requests.len(),
        report.asked.len(),
        events.len(),
        pieces
    );
}
