//! The enriched mode never says less than the reference, whatever a message holds; and capture
//! takes every event of either.

use chrono::DateTime;
use proptest::prelude::*;

use super::enriched::is_superset;
use super::*;
use crate::demo::capture::{Capacity, Capture};
use crate::demo::http::{Handler, Request};
use crate::rewrite::enrich::ids::{number_as_text, usable};
use crate::rewrite::rules::PERSON_EVENTS;
use crate::rewrite::usable::is_nothing;

const RECEIVED_AT: &str = "2026-11-23T12:00:01.500Z";

/// Values that no field expects.
fn odd() -> impl Strategy<Value = Json> {
    let plain = prop::sample::select(vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1.5e300),
        json!(18_446_744_073_709_551_615_u64),
        json!(""),
        json!(" "),
        json!("\u{0}"),
        json!("\"quoted\\"),
        json!("日本😀"),
        json!("x".repeat(700)),
        json!("https://shop.example.test:8443/a%20b?utm_source=s&gclid=g&utm_source=t#h"),
        json!("https://www.google.com/search?q=rain+coat"),
        json!("Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15"),
        json!("2026-11-23T12:00:00Z"),
        json!([]),
        json!({}),
        json!([1, {"a": null}]),
        json!({"a": {"b": [null]}, "name": 1}),
    ]);
    prop_oneof![8 => plain, 1 => any::<String>().prop_map(Json::from)]
}

/// Ids of people and groups.
fn id() -> impl Strategy<Value = Json> {
    let usual = prop::sample::select(vec!["u-1", "a-1", "b2", "42x", "user@example.test"]);
    let odd_text = prop::sample::select(vec![
        " padded ",
        "undefined",
        "NULL",
        "null",
        "[object Object]",
        "'guest'",
        "a\u{0}b",
    ]);
    prop_oneof![
        6 => usual.prop_map(Json::from),
        1 => odd_text.prop_map(Json::from),
        1 => (1_i64..1 << 60).prop_map(Json::from),
        1 => odd(),
    ]
}

/// An object of some of these keys, with values of any kind.
fn object(keys: &'static [&'static str]) -> impl Strategy<Value = Json> {
    let entry = (prop::sample::select(keys), odd());
    prop::collection::vec(entry, 0..8).prop_map(|entries| {
        let entries = entries
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value));
        Json::Object(entries.collect())
    })
}

const PROPERTIES: &[&str] = &[
    "",
    "a",
    "url",
    "path",
    "referrer",
    "title",
    "name",
    "browser",
    "utm_name",
    "utm_source",
    "utm_campaign",
    "viewport_width",
    "$current_url",
    "$pathname",
    "$host",
    "$browser",
    "$browser_version",
    "$os",
    "$os_version",
    "$device_type",
    "$device_id",
    "$ip",
    "$referrer",
    "$referring_domain",
    "$session_id",
    "$set",
    "$set_once",
    "$groups",
    "$anon_distinct_id",
    "$is_identified",
    "$geoip_disable",
    "$process_person_profile",
    "$lib",
    "$lib_version",
    "$raw_user_agent",
    "$insert_id",
    "token",
    "distinct_id",
    "segment_ip",
    "segment_page",
    "segment_library_name",
    "gclid",
    "$screen_name",
    "$timezone",
];
const CONTEXT: &[&str] = &[
    "ip",
    "groupId",
    "locale",
    "timezone",
    "userAgent",
    "direct",
    "sessionId",
    "windowId",
    "traits",
    "page.url",
    "os.name",
    "active",
    "location",
    "library_name",
    "original_timestamp",
    "campaign",
    "page",
];
const PAGE: &[&str] = &["url", "path", "referrer", "title", "search"];
const CAMPAIGN: &[&str] = &["name", "campaign", "source", "medium", "id", "utm_x"];
const DEVICE: &[&str] = &["id", "type", "model", "manufacturer", "name"];
const SYSTEM: &[&str] = &["name", "version"];
const SCREEN: &[&str] = &["width", "height", "density", "innerWidth", "innerHeight"];
const APP: &[&str] = &["name", "version", "build", "namespace"];
const NETWORK: &[&str] = &["wifi", "cellular", "bluetooth", "carrier"];
const HINTS: &[&str] = &["brands", "mobile", "platform", "platformVersion", "model"];
const TRAITS: &[&str] = &["email", "name", "groupType", "$group_type", "address"];

fn context() -> impl Strategy<Value = Json> {
    let library = prop::sample::select(vec![
        json!({"name": "analytics.js", "version": "next-1.84.3"}),
        json!({"name": "analytics-node", "version": 3}),
        json!({"name": "analytics-kotlin"}),
        json!({"name": null}),
        json!("analytics.js"),
    ]);
    let inner = (
        object(PAGE),
        object(CAMPAIGN),
        object(DEVICE),
        object(SYSTEM),
        object(SCREEN),
        object(APP),
        object(NETWORK),
        object(HINTS),
    );
    let names = [
        "page",
        "campaign",
        "device",
        "os",
        "screen",
        "app",
        "network",
        "userAgentData",
    ];
    (object(CONTEXT), library, inner, any::<u16>()).prop_map(
        move |(first, library, inner, which)| {
            let (page, campaign, device, os, screen, app, network, hints) = inner;
            let inner = [page, campaign, device, os, screen, app, network, hints];
            let mut context = first.as_object().cloned().unwrap_or_default();
            for (bit, (name, value)) in names.into_iter().zip(inner).enumerate() {
                if which & 1 << bit != 0 {
                    context.insert(name.to_owned(), value);
                }
            }
            if which & 1 << 8 != 0 {
                context.insert("library".to_owned(), library);
            }
            Json::Object(context)
        },
    )
}

/// A message of any of the six calls, with any of its fields missing or odd.
fn message() -> impl Strategy<Value = Json> {
    let kinds = vec!["track", "page", "screen", "identify", "group", "alias"];
    let part = |usual: BoxedStrategy<Json>| prop_oneof![9 => usual, 1 => odd()].boxed();
    let fields = (
        prop::sample::select(kinds),
        prop::option::of(id()),
        prop::option::of(id()),
        prop::option::weighted(0.3, id()),
        prop::option::weighted(0.4, id()),
        prop::option::weighted(0.9, part(object(PROPERTIES).boxed())),
        prop::option::weighted(0.6, part(object(TRAITS).boxed())),
        prop::option::weighted(0.9, part(context().boxed())),
    );
    let named = (
        prop::option::weighted(0.8, part(Just(json!("Order Completed")).boxed())),
        prop::option::weighted(0.3, odd()),
        prop::option::weighted(0.3, odd()),
        prop::option::weighted(0.8, part(Just(json!("2026-11-23T11:59:58.123Z")).boxed())),
        prop::option::weighted(0.5, part(Just(json!("2026-11-23T12:00:00.000Z")).boxed())),
    );
    (fields, named).prop_map(|(fields, named)| {
        let (kind, user, anonymous, previous, group, properties, traits, context) = fields;
        let (event, name, category, timestamp, sent_at) = named;
        let mut message = json!({"type": kind, "messageId": "m-1"});
        for (key, value) in [
            ("userId", user),
            ("anonymousId", anonymous),
            ("previousId", previous),
            ("groupId", group),
            ("properties", properties),
            ("traits", traits),
            ("context", context),
            ("event", event),
            ("name", name),
            ("category", category),
            ("timestamp", timestamp),
            ("sentAt", sent_at),
        ] {
            if let Some(value) = value {
                message[key] = value;
            }
        }
        message
    })
}

/// Whether the enriched mode takes an id otherwise than the reference does: one that stands for
/// nobody, has space around it, is too long, is a number that JavaScript prints otherwise, or is
/// neither text nor a number (mapping 5.4).
fn is_odd_id(id: &Json) -> bool {
    match id {
        Json::String(text) => usable(text).as_deref() != Some(text),
        Json::Number(number) => {
            let written = number.to_string();
            number_as_text(&written) != written || usable(&written).is_none()
        }
        Json::Null => false,
        _ => true,
    }
}

/// Whether a group's key leaves otherwise than the reference has it: PostHog makes texts of numbers
/// itself, but for those with more digits than a double holds.
fn is_odd_group(id: &Json) -> bool {
    let many_digits = id.is_number() && id.to_string().len() > 15;
    is_odd_id(id) || many_digits
}

/// Whether a value is a text that says something.
fn says_something(value: &Json) -> bool {
    value.as_str().is_some_and(|text| !is_nothing(text))
}

/// What the enriched mode is allowed to take away from the reference's event; each of these is in
/// docs/fields.md.
pub(super) fn allow_exceptions(message: &Json, event: &mut Json) {
    if !says_something(&message["messageId"]) {
        event.as_object_mut().unwrap().remove("uuid");
    }
    let name = event["event"].as_str().unwrap_or_default().to_owned();
    let Some(properties) = event["properties"].as_object_mut() else {
        return;
    };
    let takes_properties = !matches!(message["type"].as_str(), Some("group" | "alias"));
    let callers = |key: &str| message["properties"].get(key).filter(|_| takes_properties);
    let context = &message["context"];
    // PostHog drops what changes persons and carries this (posthog-ingestion 4.4).
    if PERSON_EVENTS.contains(&&*name)
        && properties.get("$process_person_profile") == Some(&json!(false))
    {
        properties.remove("$process_person_profile");
    }
    // A previousId that is none is as if it were missing.
    if message["type"] == "alias" && !usable_id(&message["previousId"]) {
        properties.remove("alias");
    }
    // What is no object sets nothing, and an empty one does not hide the context's traits.
    for key in ["$set", "$group_set"] {
        let own = callers(key).is_some() && message["type"] != "identify";
        let set = properties.get(key).and_then(Json::as_object);
        if !own && set.is_none_or(serde_json::Map::is_empty) {
            properties.remove(key);
        }
    }
    // Only an address hides another one.
    if callers("$ip").is_some_and(|ip| !says_something(ip)) || !says_something(&context["ip"]) {
        properties.remove("$ip");
        if callers("segment_ip").is_none() {
            properties.remove("segment_ip");
        }
    }
    // Nor does a system that is none hide that of the user agent.
    for key in ["$os", "$pathname", "$device_type"] {
        if callers(key).is_none() && properties.get(key).is_some_and(|v| !says_something(v)) {
            properties.remove(key);
        }
    }
    // Nor does a campaign's value that is none hide that of the URL.
    properties.retain(|key, value| {
        let is_missing = value.is_null() || value.is_string() && !says_something(value);
        !key.starts_with("utm_") || callers(key).is_some() || !is_missing
    });
    // Ids have one form, by whatever name they go.
    if properties
        .get("$anon_distinct_id")
        .is_some_and(|id| !id.is_string() || is_odd_id(id))
    {
        properties.remove("$anon_distinct_id");
    }
    if message["groupId"].is_null() || is_odd_group(&message["groupId"]) {
        properties.remove("$group_key");
    }
    if is_odd_group(&context["groupId"]) {
        properties.remove("$groups");
    }
    let groups = properties.get_mut("$groups").and_then(Json::as_object_mut);
    if let Some(groups) = groups {
        groups.retain(|_, id| !(id.is_string() || id.is_number()) || !is_odd_group(id));
        // The caller's group wins over the context's of the same type (mapping 5.5).
        let group_type = Mapping::default().group_type;
        if callers("$groups").is_some_and(|groups| groups.get(&group_type).is_some()) {
            groups.remove(&group_type);
        }
    }
}

fn usable_id(id: &Json) -> bool {
    !id.is_null() && !is_odd_id(id)
}

fn mapped(mapping: Mapping, message: &Json) -> Outcome {
    let rewriter = Rewriter::new(mapping, Bounds::default());
    let body = message.to_string();
    let arrival = arrival(Call::Batch, Some(RECEIVED_AT));
    rewrite_as(rewriter, arrival, &[body.as_bytes()]).unwrap()
}

fn refused_by_capture(events: &[Json]) -> Option<String> {
    let now = DateTime::parse_from_rfc3339(RECEIVED_AT).unwrap().to_utc();
    let capture = Capture::new(Arc::new(move || now), Capacity::UNBOUNDED);
    let mut request = Request::new(http::Method::POST, "/batch/");
    let body = json!({"api_key": "phc_test", "batch": events});
    request.body = body.to_string().into();
    let answer = capture.handle(&request);
    let said = String::from_utf8_lossy(&answer.body).into_owned();
    let taken = answer.status == 200 && capture.stored() == events.len() as u64;
    (!taken).then_some(said)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_the_reference_says_of_any_message_is_lost(message in message()) {
        let mut less = mapped(Mapping::reference(), &message);
        let more = mapped(Mapping::default(), &message);
        for outcome in [&less, &more] {
            if !outcome.events.is_empty() {
                prop_assert_eq!(refused_by_capture(&outcome.events), None, "{}", &message);
            }
        }
        let odd = ["userId", "anonymousId", "previousId"].iter().any(|id| is_odd_id(&message[id]));
        if odd {
            // Whose event it is may differ, and with it what is merged. All else stays.
            for outcome in [&mut less] {
                for event in &mut outcome.events {
                    event["event"] = more.events.first().map_or(Json::Null, |more| more["event"].clone());
                    let properties = event["properties"].as_object_mut().unwrap();
                    properties.retain(|key, _| key != "distinct_id" && key != "$anon_distinct_id");
                }
            }
            if more.events.is_empty() || less.events.is_empty() {
                // A notice says of an event that leaves what was wrong with it.
                let kept = more.left.iter().filter(|left| !left.starts_with("notice"));
                prop_assert_eq!(kept.count() + more.events.len(), 1);
                return Ok(());
            }
        }
        prop_assert_eq!(less.events.len(), more.events.len(), "{} {:?} {:?}", &message, &less.left, &more.left);
        for (less, more) in less.events.iter_mut().zip(&more.events) {
            allow_exceptions(&message, less);
            prop_assert!(is_superset(more, less), "{}\n  less {}\n  more {}", &message, less, more);
        }
    }
}
