//! The events that must be at the stand-in after a client has ended: one for each call, and no
//! others.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use hedgerow::demo::capture::{StoredEvent, UuidOrigin};
use http::{header, Method};
use serde_json::{json, Value};

use super::setup::{Setup, API_KEY, WRITE_KEY};

/// An expected event.
pub struct Expected {
    pub event: &'static str,
    pub distinct_id: &'static str,
    /// Properties that it must have with exactly these values; it may have others.
    pub properties: Value,
}

pub fn expected(event: &'static str, distinct_id: &'static str, properties: Value) -> Expected {
    Expected {
        event,
        distinct_id,
        properties,
    }
}

/// The library that sent it.
pub enum Library {
    /// It runs in a visitor's browser or app, so the event gets the client's address.
    Browser { version: &'static str },
    /// It runs on a server, whose address would move every user there.
    Server {
        name: &'static str,
        version: &'static str,
    },
    /// It runs on a server and does not name itself.
    Unnamed,
}

/// Whether an event may arrive more than once.
#[derive(PartialEq, Eq)]
pub enum Copies {
    None,
    /// Yes, with the same id: PostHog removes the duplicates.
    SameUuid,
}

/// The calls of the server clients in `tests/clients`.
pub fn six_calls_of_a_server() -> Vec<Expected> {
    let user = "user-7";
    vec![
        expected(
            "$identify",
            user,
            json!({"$set": {"email": "ada@example.test", "plan": "pro"}}),
        ),
        expected(
            "Order Completed",
            user,
            json!({"order_id": "o-1", "total": 24.5, "note": "Grüße ☃"}),
        ),
        expected("$pageview", user, json!({"section": "api"})),
        expected(
            "$screen",
            user,
            json!({"$screen_name": "Basket", "items": 3}),
        ),
        expected(
            "$groupidentify",
            user,
            json!({
                "$group_type": "segment_group",
                "$group_key": "acme",
                "$group_set": {"name": "Acme", "seats": 12},
            }),
        ),
        expected("$create_alias", user, json!({"alias": "visitor-7"})),
    ]
}

/// Checks everything that arrived; fails with all mismatches.
pub fn check(
    setup: &Setup,
    expected: &[Expected],
    library: &Library,
    copies: &Copies,
    begun: DateTime<Utc>,
) {
    let events = setup.capture.events();
    let mut wrong = Vec::new();
    let mut by_uuid: BTreeMap<_, Vec<&Arc<StoredEvent>>> = BTreeMap::new();
    for event in &events {
        envelope(setup, event, &mut wrong);
        contents(event, library, begun, &mut wrong);
        by_uuid.entry(event.uuid).or_default().push(event);
    }
    for (uuid, group) in &by_uuid {
        let one = group[0];
        if group.len() > 1 && *copies == Copies::None {
            wrong.push(format!("{uuid} {:?} came {} times", one.event, group.len()));
        }
        for copy in group {
            // PostHog treats two events as one if these are equal, and the times are on the same
            // day.
            if (&copy.event, &copy.distinct_id) != (&one.event, &one.distinct_id) {
                wrong.push(format!("{uuid} is both {} and {}", one.raw, copy.raw));
            }
            if (copy.timestamp - one.timestamp).abs() > TimeDelta::seconds(1) {
                wrong.push(format!(
                    "{uuid} has the times of {} and {}",
                    one.raw, copy.raw
                ));
            }
        }
    }
    let mut left: Vec<&Arc<StoredEvent>> = by_uuid.values().map(|group| group[0]).collect();
    for one in expected {
        match left.iter().position(|event| fits(event, one)) {
            Some(at) => drop(left.remove(at)),
            None => wrong.push(format!(
                "did not come: {} of {} with {}",
                one.event, one.distinct_id, one.properties
            )),
        }
    }
    wrong.extend(
        left.iter()
            .map(|event| format!("not expected: {}", event.raw)),
    );
    for refused in setup.capture.refusals() {
        wrong.push(format!("refused by the stand-in: {refused:?}"));
    }
    let log = setup.log();
    for secret in [WRITE_KEY, API_KEY, "ada@example.test", "visitor-7"] {
        if log.contains(secret) {
            wrong.push(format!("the log holds {secret}"));
        }
    }
    if wrong.is_empty() {
        return;
    }
    for event in &events {
        eprintln!("came: {}", event.raw);
    }
    for line in &wrong {
        eprintln!("wrong: {line}");
    }
    eprintln!("hedgerow's log:\n{log}");
    panic!("{} things are wrong", wrong.len());
}

fn fits(event: &StoredEvent, expected: &Expected) -> bool {
    let properties = expected.properties.as_object().expect("an object");
    event.event == expected.event
        && event.distinct_id == expected.distinct_id
        && properties
            .iter()
            .all(|(name, value)| event.properties.get(name) == Some(value))
}

/// The request with this event.
fn envelope(setup: &Setup, event: &StoredEvent, wrong: &mut Vec<String>) {
    let request = &event.request;
    let header = |name| {
        request
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let host = setup.posthog.to_string();
    for (what, holds) in [
        ("another method", request.method == Method::POST),
        ("another path", request.path == "/batch/"),
        ("a query", request.query.is_none()),
        ("another host", header(header::HOST) == Some(host.as_str())),
        (
            "another content type",
            header(header::CONTENT_TYPE) == Some("application/json"),
        ),
        ("another token", event.token == API_KEY),
        (
            "an id made by capture",
            event.uuid_origin == UuidOrigin::Sender,
        ),
        ("sent_at", request.sent_at.is_none()),
    ] {
        if !holds {
            wrong.push(format!("{:?} came with {what}: {request:?}", event.event));
        }
    }
    let forwarded: Vec<_> = request.headers.get_all("x-forwarded-for").iter().collect();
    if forwarded != ["127.0.0.1"] {
        wrong.push(format!("{:?} came from {forwarded:?}", event.event));
    }
    for name in [
        "cookie",
        "authorization",
        "origin",
        "referer",
        "x-retry-count",
    ] {
        if header(header::HeaderName::from_static(name)).is_some() {
            wrong.push(format!("{:?} came with the client's {name}", event.event));
        }
    }
}

/// What all events of a library have in common.
fn contents(event: &StoredEvent, library: &Library, begun: DateTime<Utc>, wrong: &mut Vec<String>) {
    let slack = TimeDelta::seconds(5);
    if event.timestamp < begun - slack || event.timestamp > Utc::now() + slack {
        wrong.push(format!("not of this time: {}", event.raw));
    }
    let text = |pointer: &str| {
        let (first, rest) = pointer.split_once('/').unwrap_or((pointer, ""));
        let value = event.properties.get(first)?;
        match rest {
            "" => value.as_str(),
            rest => value.get(rest)?.as_str(),
        }
    };
    let named = (
        text("segment_library/name"),
        text("segment_library/version"),
    );
    let next;
    let (named_so, ip) = match library {
        Library::Browser { version } => {
            next = format!("next-{version}");
            (
                named == (Some("analytics.js"), Some(next.as_str())),
                Some("127.0.0.1"),
            )
        }
        Library::Server { name, version } => (named == (Some(*name), Some(*version)), None),
        Library::Unnamed => (named == (None, None), None),
    };
    if !named_so {
        wrong.push(format!("of another library: {named:?}: {}", event.raw));
    }
    if text("$ip") != ip || text("segment_ip") != ip {
        wrong.push(format!("not with the address {ip:?}: {}", event.raw));
    }
    if text("$lib") != Some("Segment") {
        wrong.push(format!("not marked as Segment's: {}", event.raw));
    }
    for gone in ["writeKey", "_metadata", "messageId", "sentAt"] {
        if event.properties.contains_key(gone) || event.raw.contains(WRITE_KEY) {
            wrong.push(format!("still with {gone} or the write key: {}", event.raw));
        }
    }
}
