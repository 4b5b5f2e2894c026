//! `docs/fields.md` describes every field of a Segment message correctly: the test compares its
//! table with the rewriting of a message with the field and one without.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use hedgerow::posthog::{ApiKey, Batch, Envelope, ProjectId};
use hedgerow::rewrite::{
    Arrival, Bounds, Explanations, Mapping, MessageOutcome, Recipient, Rewriter, Timestamp, Watch,
};
use hedgerow::segment::{Call, Kind};
use serde_json::{json, Value};

/// Where a field stands.
enum Place {
    /// Below these keys of the message.
    Message(&'static str),
    /// In a cookie of this name.
    Cookie(&'static str),
    /// The client's address.
    Address,
    /// The `User-Agent` header of a pixel's request.
    UserAgent,
}
use Place::{Address, Cookie, Message, UserAgent};

/// One field: its name in the table, and a value for it.
type Field = (&'static str, Place, Value);

const AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like \
                     Gecko) Chrome/152.0.0.0 Safari/537.36";
const PHONE: &str = "Mozilla/5.0 (Linux; Android 16; Pixel 9) AppleWebKit/537.36 (KHTML, like \
                     Gecko) Chrome/152.0.0.0 Mobile Safari/537.36";
const APP: &str =
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, \
                   like Gecko) Mobile/15E148 Instagram 312.0.1.19.124 (iPhone15,2; iOS 18_7)";
const NOW: &str = "2026-11-23T12:00:00.000Z";
const WINDOW: &str = "019ab081-7d01-7abc-8def-000000000002";
const SESSION: &str = "019ab081-7d00-7abc-8def-000000000001";

fn own(path: &'static str, value: Value) -> Field {
    (path, Message(path), value)
}

/// The fields by section, without those that appear only in the context's `segment_*` copy.
fn sections() -> Vec<(&'static str, Vec<Field>)> {
    vec![
        (
            "Who, what and when",
            vec![
                own("messageId", json!("m-2")),
                own("userId", json!("u-1")),
                own("anonymousId", json!("a-2")),
                own("timestamp", json!("2026-11-23T11:00:00.000Z")),
                own("originalTimestamp", json!("2026-11-23T11:00:00.000Z")),
                own("sentAt", json!("2026-11-23T11:59:59.000Z")),
                own("receivedAt", json!(NOW)),
                own("event", json!("Order Completed")),
                own("name", json!("Checkout")),
                own("category", json!("Shop")),
                own("groupId", json!("g-1")),
                own("previousId", json!("u-0")),
                own("traits", json!({"email": "a@example.test"})),
                own("channel", json!("web")),
                own("version", json!(2)),
                own("projectId", json!("p")),
                own("writeKey", json!("k")),
                own("_metadata", json!({"bundled": []})),
            ],
        ),
        (
            "`properties`",
            vec![
                (
                    "properties.* (any other)",
                    Message("properties.total"),
                    json!(9.5),
                ),
                own(
                    "properties.url",
                    json!("https://shop.example.test/p?utm_source=mail"),
                ),
                own("properties.path", json!("/p")),
                own("properties.referrer", json!("https://blog.example.test/")),
                own("properties.title", json!("Shop")),
                own("properties.browser", json!("Chrome")),
                own("properties.utm_name", json!("spring")),
                own("properties.viewport_width", json!(1200)),
                own("properties.viewport_height", json!(800)),
                own("properties.$groups", json!({"company": "g"})),
                own("properties.$set", json!({"plan": "pro"})),
                own("properties.$set_once", json!({"first": 1})),
                own("properties.$anon_distinct_id", json!("a-9")),
                own("properties.$screen_name", json!("Home")),
                own("properties.$process_person_profile", json!(false)),
                own("properties.distinct_id", json!("x")),
                own("properties.$lib", json!("web")),
            ],
        ),
        (
            "Page, referrer and campaign",
            vec![
                own(
                    "context.page.url",
                    json!("https://shop.example.test:8443/cart"),
                ),
                (
                    "context.page.url with a query",
                    Message("context.page.url"),
                    json!(
                        "https://shop.example.test/?utm_source=mail&utm_campaign=spring&gclid=g1"
                    ),
                ),
                own("context.page.path", json!("/cart")),
                own("context.page.search", json!("?utm_medium=mail&fbclid=f1")),
                own(
                    "context.page.referrer",
                    json!("https://www.google.com/search?q=coat"),
                ),
                (
                    "context.page.referrer, empty",
                    Message("context.page.referrer"),
                    json!(""),
                ),
                own("context.page.title", json!("Cart")),
                own("context.campaign.name", json!("spring")),
                own("context.campaign.source", json!("mail")),
                own("context.campaign.medium", json!("news")),
                own("context.campaign.term", json!("coat")),
                own("context.campaign.content", json!("top")),
                (
                    "context.campaign.* (any other)",
                    Message("context.campaign.id"),
                    json!("7"),
                ),
                own("context.referrer.type", json!("dataxu")),
            ],
        ),
        (
            "Browser and device",
            vec![
                own("context.userAgent", json!(AGENT)),
                (
                    "context.userAgent of an app's own browser",
                    Message("context.userAgent"),
                    json!(APP),
                ),
                (
                    "context.userAgent of a phone",
                    Message("context.userAgent"),
                    json!(PHONE),
                ),
                own("context.locale", json!("en-GB")),
                own("context.timezone", json!("Europe/Amsterdam")),
                own("context.screen.width", json!(1440)),
                own("context.screen.height", json!(900)),
                own("context.screen.density", json!(2)),
                own("context.screen.innerWidth", json!(1400)),
                own("context.screen.innerHeight", json!(700)),
                own("context.os.name", json!("iOS")),
                own("context.os.version", json!("26.1")),
                own("context.device.id", json!("d-1")),
                own("context.device.type", json!("ios")),
                own("context.device.model", json!("iPhone17,1")),
                own("context.device.manufacturer", json!("Apple")),
                own("context.device.name", json!("Ann's phone")),
                own("context.device.advertisingId", json!("ad-1")),
                own("context.app.name", json!("Shop")),
                own("context.app.version", json!("2.1")),
                own("context.app.build", json!("44")),
                own("context.app.namespace", json!("com.example.shop")),
                own("context.network.wifi", json!(true)),
                own("context.network.cellular", json!(false)),
                own("context.network.bluetooth", json!(false)),
                own("context.network.carrier", json!("T")),
            ],
        ),
        (
            "The rest of the context",
            vec![
                own("context.ip", json!("198.51.100.7")),
                own("context.groupId", json!("g-1")),
                own("context.traits", json!({"email": "a@example.test"})),
                own("context.library.version", json!("next-1.84.3")),
                own("context.sessionId", json!(1_763_899_000_000_i64)),
                (
                    "context.windowId beside a sessionId",
                    Message("context"),
                    json!({
                        "library": {"name": "analytics.js"},
                        "sessionId": SESSION,
                        "windowId": WINDOW,
                    }),
                ),
                own("context.location.city", json!("Utrecht")),
                (
                    "context.* (any other)",
                    Message("context.instanceId"),
                    json!("i-1"),
                ),
                (
                    "integrations.Actions Amplitude.session_id",
                    Message("integrations.Actions Amplitude.session_id"),
                    json!(1_763_899_000_000_i64),
                ),
            ],
        ),
        (
            "The request",
            vec![
                ("the client's address", Address, json!("203.0.113.7")),
                ("`User-Agent` of a pixel", UserAgent, json!(AGENT)),
                (
                    "the cookie `ph_<project key>_posthog`",
                    Cookie("ph_phc_test_posthog"),
                    json!(format!(
                        "{{\"$sesid\":[1763898900000,\"{SESSION}\",1763898900000]}}"
                    )),
                ),
                (
                    "the cookie `_fbc`",
                    Cookie("_fbc"),
                    json!("fb.1.1763892000000.IwAR0"),
                ),
                (
                    "the cookie `_fbp`",
                    Cookie("_fbp"),
                    json!("fb.1.1763892000000.1234567890"),
                ),
                (
                    "the cookie `ajs_group_id`",
                    Cookie("ajs_group_id"),
                    json!("g-1"),
                ),
            ],
        ),
    ]
}

/// A browser's message with as little as possible.
fn bare(kind: Kind) -> Value {
    let mut message = json!({
        "messageId": "m-1",
        "anonymousId": "a-1",
        "context": {"library": {"name": "analytics.js"}},
    });
    if kind == Kind::Track {
        message["event"] = json!("Nothing");
    }
    message
}

/// An event's properties, and where each comes from.
#[derive(Default)]
struct DocumentedEvent {
    values: BTreeMap<String, Value>,
    origins: Value,
}

/// The origin of each property.
#[derive(Default)]
struct Origins(Value);

impl Watch for Origins {
    fn message(&mut self, _: usize, _: &[u8], _: MessageOutcome<'_>) {}

    fn explained(&mut self, _: usize, explanation: &[u8]) {
        self.0 = serde_json::from_slice(explanation).unwrap();
    }
}

fn said(mapping: &Mapping, kind: Kind, field: Option<&Field>) -> DocumentedEvent {
    let mut message = bare(kind);
    let mut arrival = Arrival {
        // The minimal message has no time, so the clock's value is not compared.
        received_at: Timestamp::parse_rfc3339("2025-11-23T12:00:00.000Z"),
        explanations: Explanations::On,
        ..Arrival::new(Call::One(kind))
    };
    match field {
        None => {}
        Some((_, Message(path), value)) => {
            let (parts, last) = path.rsplit_once('.').unwrap_or(("", path));
            let mut at = &mut message;
            for part in parts.split('.').filter(|part| !part.is_empty()) {
                at = &mut at[part];
            }
            at[last] = value.clone();
            if *last == *"sentAt" {
                message["timestamp"] = json!("2026-11-23T11:00:00.000Z");
            }
        }
        Some((_, Cookie(name), value)) => {
            let value = value.as_str().unwrap();
            let all = percent_encoding::NON_ALPHANUMERIC;
            let value = percent_encoding::utf8_percent_encode(value, all);
            arrival.cookies = Some(format!("{name}={value}"));
        }
        Some((_, Address, value)) => {
            arrival.client_ip = Some(value.as_str().unwrap().parse().unwrap());
        }
        Some((_, UserAgent, value)) => arrival.user_agent = value.as_str().map(str::to_owned),
    }
    let rewriter = Arc::new(Rewriter::new(mapping.clone(), Bounds::default()));
    let mut rewrite = rewriter.begin(arrival).address_to(Arc::new(Recipient {
        project: ProjectId::of(&ApiKey::new("phc_test").unwrap()),
        ..Recipient::default()
    }));
    rewrite.push(message.to_string().as_bytes()).unwrap();
    rewrite.end();
    let mut batch = Batch::open(&Envelope::new(&ApiKey::new("phc_test").unwrap()));
    let mut origins = Origins::default();
    rewrite.pull(&mut batch, usize::MAX, &mut origins).unwrap();
    let sent: Value = serde_json::from_slice(&batch.close()).unwrap();
    let Some(event) = sent["batch"].get(0) else {
        return DocumentedEvent::default();
    };
    let mut values = BTreeMap::new();
    for (key, value) in event.as_object().unwrap() {
        if key != "properties" {
            values.insert(format!("`{key}`"), value.clone());
        }
    }
    for (key, value) in event["properties"].as_object().unwrap() {
        values.insert(format!("`properties.{key}`"), value.clone());
    }
    DocumentedEvent {
        values,
        origins: origins.0,
    }
}

/// The properties that a field adds or changes.
fn difference(with: &DocumentedEvent, without: &DocumentedEvent) -> BTreeSet<String> {
    let changed = with
        .values
        .iter()
        .filter(|(key, value)| without.values.get(*key) != Some(value));
    let gone = without
        .values
        .keys()
        .filter(|key| !with.values.contains_key(*key));
    let changed = changed.map(|(key, _)| key.clone());
    changed.chain(gone.map(|key| format!("no {key}"))).collect()
}

/// The table's text about a field for one kind of call.
type Cells = (String, String);

fn cells(field: &Field, kind: Kind) -> Cells {
    let [reference, enriched] = [Mapping::reference(), Mapping::default()].map(|mapping| {
        let with = said(&mapping, kind, Some(field));
        let without = said(&mapping, kind, None);
        (difference(&with, &without), with)
    });
    let short = |key: &str| key.replace("`properties.", "`");
    let first: Vec<String> = reference.0.iter().map(|key| short(key)).collect();
    // By origin; the table does not name the field itself as an origin.
    let mut added: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for key in enriched.0.difference(&reference.0) {
        let name = key.trim_matches('`').strip_prefix("properties.");
        let origin = name.and_then(|name| enriched.1.origins[name].as_str());
        let origin = origin
            .filter(|origin| *origin != field.0)
            .unwrap_or_default();
        added.entry(origin.to_owned()).or_default().push(short(key));
    }
    let mut added: Vec<String> = added
        .into_iter()
        .map(|(origin, keys)| match origin.as_str() {
            "" => keys.join(", "),
            origin => format!("{} ({origin})", keys.join(", ")),
        })
        .collect();
    let gone = reference.0.difference(&enriched.0);
    added.extend(gone.map(|key| format!("takes out {}", short(key))));
    (first.join(", "), added.join("; "))
}

fn table() -> String {
    let mut text = String::new();
    for (title, fields) in sections() {
        write!(
            text,
            "\n### {title}\n\n| Segment | Calls | `mode: reference` | `mode: enriched` adds |\n|---|---|---|---|\n"
        )
        .unwrap();
        for field in &fields {
            let mut rows: Vec<(Cells, Vec<&str>)> = Vec::new();
            for kind in Kind::ALL.iter().copied() {
                let cells = cells(field, kind);
                match rows.iter_mut().find(|(known, _)| *known == cells) {
                    Some((_, kinds)) => kinds.push(kind.name()),
                    None => rows.push((cells, vec![kind.name()])),
                }
            }
            let several = rows.len() > 1;
            for ((first, added), kinds) in rows {
                if several && first.is_empty() && added.is_empty() {
                    continue;
                }
                let kinds = match kinds.len() {
                    all if all == Kind::ALL.len() => "all".to_owned(),
                    _ => kinds.join(", "),
                };
                let name = match field.0.contains(['`', '(', ' ']) {
                    true => field.0.to_owned(),
                    false => format!("`{}`", field.0),
                };
                let or_nothing = |cell: String| match cell.as_str() {
                    "" => "–".to_owned(),
                    _ => cell,
                };
                let (first, added) = (or_nothing(first), or_nothing(added));
                writeln!(text, "| {name} | {kinds} | {first} | {added} |").unwrap();
            }
        }
    }
    text
}

#[test]
fn the_table_of_fields_matches_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/fields.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once("<!-- the table -->\n").unwrap();
    let (written, after) = rest.split_once("\n<!-- end of the table -->").unwrap();
    let real = table();
    if std::env::var_os("HEDGEROW_WRITE_DOCS").is_some() {
        let table = real.trim_end();
        let page = format!("{before}<!-- the table -->\n{table}\n<!-- end of the table -->{after}");
        std::fs::write(path, page).unwrap();
        return;
    }
    for line in real.lines().filter(|line| !written.contains(line)) {
        eprintln!("missing: {line}");
    }
    assert!(
        written.trim() == real.trim(),
        "the table in docs/fields.md is not what the code does; \
         HEDGEROW_WRITE_DOCS=1 cargo test --test fields writes it"
    );
}
