//! Generates messages of any kind, with any of their fields missing or odd. They are for the tests of
//! this crate, and for `tests/capture_takes_all.rs`, which sends the resulting events to the stand-in
//! for PostHog.

use crate::segment::Kind;
use proptest::prelude::*;
use serde_json::{json, Value as Json};

/// Generates values that no field expects.
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

/// Generates ids of people and groups.
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

/// Generates an object with some of these keys and values of any kind.
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

/// Generates a message of any of the six calls, with any of its fields missing or odd.
pub(crate) fn message() -> impl Strategy<Value = Json> {
    let kinds = Kind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>();
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
