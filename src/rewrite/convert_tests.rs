//! The reference vectors, the repairs, and the flow of bodies.

use std::collections::HashSet;
use std::sync::Arc;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{json, Map, Value as Json};

use super::super::json::Value;
use super::super::normalise::{Settled, Time};
use super::super::{Bounds, Fate, Flow, Mapping, Omission, Pulled, Watch};
use super::*;
use crate::posthog::{ApiKey, Batch, Envelope};
use crate::segment::{Call, Kind};

/// Parses JSON and refuses a key that is given twice, at any level.
fn strict(text: &[u8]) -> Result<Json, String> {
    struct Strict;
    impl<'de> de::DeserializeSeed<'de> for Strict {
        type Value = Json;
        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
            deserializer.deserialize_any(self)
        }
    }
    impl<'de> Visitor<'de> for Strict {
        type Value = Json;
        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("JSON")
        }
        fn visit_unit<E>(self) -> Result<Json, E> {
            Ok(Json::Null)
        }
        fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
            Ok(value.into())
        }
        fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
            Ok(value.into())
        }
        fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
            Ok(value.into())
        }
        fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
            Ok(value.into())
        }
        fn visit_str<E>(self, value: &str) -> Result<Json, E> {
            Ok(value.into())
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = seq.next_element_seed(Strict)? {
                items.push(item);
            }
            Ok(Json::Array(items))
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
            let mut entries = Map::new();
            while let Some(key) = map.next_key::<String>()? {
                let value = map.next_value_seed(Strict)?;
                if entries.insert(key.clone(), value).is_some() {
                    return Err(de::Error::custom(format!("key {key:?} stands there twice")));
                }
            }
            Ok(Json::Object(entries))
        }
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = de::DeserializeSeed::deserialize(Strict, &mut deserializer);
    let value = value.map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(value)
}

/// Equal as the vectors' README says: numbers by value, keys in any order.
fn same(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Number(a), Json::Number(b)) => a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        _ => left == right,
    }
}

/// The text of a key's value in a JSON file.
fn source_of(file: &str, key: &str) -> String {
    let mut part = Part::default();
    part.scan_text(file.trim().as_bytes(), &mut Scratch::default())
        .unwrap();
    let value = part.get(file.trim().as_bytes(), key).unwrap();
    String::from_utf8(value.of(file.trim().as_bytes()).to_vec()).unwrap()
}

struct Vector {
    name: String,
    message: String,
    expected: Option<Json>,
}

fn vectors() -> Vec<Vector> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/reference");
    let mut vectors: Vec<Vector> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let mut file: Json = serde_json::from_str(&text).unwrap();
            let raw = file["segment_raw"].as_str().map(str::to_owned);
            let mut expected = Some(file["posthog"].take()).filter(|event| !event.is_null());
            if let Some(Json::Object(event)) = &mut expected {
                // The key stands in the envelope here.
                event.remove("api_key");
            }
            Vector {
                name: file["name"].as_str().unwrap().to_owned(),
                // As it stands in the file: a parsed map would lose the order of its keys.
                message: raw.unwrap_or_else(|| source_of(&text, "segment")),
                expected,
            }
        })
        .collect();
    vectors.sort_by(|a, b| a.name.cmp(&b.name));
    vectors
}

/// The map step alone, of a message as Segment's servers would hand it over.
fn mapped(text: &str) -> Vec<u8> {
    let mut message = Message::default();
    let mut scratch = Scratch::default();
    message.scan(text.as_bytes(), &mut scratch).unwrap();
    let source = Source {
        text: text.as_bytes(),
        message: &message,
        context_text: text.as_bytes(),
        context: &message.context,
    };
    let named = message.kind.unwrap().of(text.as_bytes());
    let settled = Settled {
        kind: Kind::from_name(
            named
                .trim_ascii()
                .strip_prefix(b"\"")
                .unwrap()
                .strip_suffix(b"\"")
                .unwrap(),
        )
        .unwrap(),
        message_id: super::super::message_id::given(message.message_id, text.as_bytes()).unwrap(),
        time: message.timestamp.map_or(Time::Unknown, Time::AsWritten),
        unusable_time: None::<Value>,
        user_id: message.user_id,
        anonymous_id: message.anonymous_id,
        ip: None,
        user_agent: None,
    };
    let plan = Plan::reference(source, &settled);
    let mut out = Vec::new();
    write_event(
        &mut out,
        &plan,
        &settled,
        source,
        EventUuid::v5(&settled.message_id),
    );
    out
}

#[test]
fn the_map_step_is_posthogs_own_destination_on_every_vector() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 114);
    let mut wrong = Vec::new();
    for vector in &vectors {
        let Some(expected) = &vector.expected else {
            continue;
        };
        let out = mapped(&vector.message);
        match strict(&out) {
            Ok(event) if same(&event, expected) => {}
            Ok(event) => wrong.push(format!(
                "{}:\n  got  {event}\n  want {expected}",
                vector.name
            )),
            Err(error) => wrong.push(format!("{}: {error}", vector.name)),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[derive(Default)]
struct Seen(Vec<String>);

impl Watch for Seen {
    fn message(&mut self, index: usize, _: &[u8], fate: Fate<'_>) {
        match fate {
            Fate::Event(_) => {}
            Fate::LeftOut(omission) => self.0.push(format!("{index} {}", omission.code())),
            Fate::Refused(fault) => self.0.push(format!("{index} {}", fault.code())),
        }
    }
}

struct Outcome {
    events: Vec<Json>,
    left: Vec<String>,
}

fn arrival(call: Call, received_at: Option<&str>) -> Arrival {
    Arrival {
        received_at: received_at.map(|text| Timestamp::parse_rfc3339(text).unwrap()),
        client_ip: Some("203.0.113.7".parse().unwrap()),
        ..Arrival::new(call)
    }
}

fn rewrite_with(
    bounds: Bounds,
    arrival: Arrival,
    chunks: &[&[u8]],
) -> Result<Outcome, RewriteError> {
    let rewriter = Arc::new(Rewriter::new(Mapping::default(), bounds));
    let mut rewrite = rewriter.begin(arrival);
    let envelope = Envelope::new(&ApiKey::new("phc_test").unwrap());
    let mut batch = Batch::open(&envelope);
    let mut seen = Seen::default();
    for chunk in chunks {
        if rewrite.push(chunk)? == Flow::Open {
            while rewrite.pull(&mut batch, usize::MAX, &mut seen)? != Pulled::Starved {}
        }
    }
    rewrite.end();
    assert_eq!(
        rewrite.pull(&mut batch, usize::MAX, &mut seen)?,
        Pulled::Done
    );
    let text = batch.close();
    let value =
        strict(&text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&text)));
    Ok(Outcome {
        events: value["batch"].as_array().unwrap().clone(),
        left: seen.0,
    })
}

fn rewrite(call: Call, received_at: Option<&str>, body: &[u8]) -> Result<Outcome, RewriteError> {
    rewrite_with(Bounds::default(), arrival(call, received_at), &[body])
}

fn one(body: &str) -> Json {
    let outcome = rewrite(Call::Batch, Some("2026-11-23T12:00:00Z"), body.as_bytes()).unwrap();
    assert_eq!(outcome.left, Vec::<String>::new(), "{body}");
    outcome.events.into_iter().next().unwrap()
}

/// Vectors whose reference output capture would refuse or misread, and what becomes of them.
#[test]
fn on_every_vector_the_whole_way_differs_from_the_reference_only_where_capture_forces_it() {
    let refused = HashSet::from([
        ("alias-no-ids", "missing_distinct_id"),
        ("identify-no-ids", "missing_distinct_id"),
        ("track-empty-both-ids", "missing_distinct_id"),
        ("track-empty-userid-no-anon", "missing_distinct_id"),
        ("track-no-ids", "missing_distinct_id"),
        ("track-no-ids-property-distinct-id", "missing_distinct_id"),
        ("track-null-ids", "missing_distinct_id"),
        ("track-event-empty", "missing_event"),
        ("track-event-missing", "missing_event"),
        ("track-event-null", "missing_event"),
    ]);
    let repaired = [
        "identify-numeric-userid",
        "page-event-null",
        "track-messageid-missing",
        "track-numeric-userid",
        "track-timestamp-number",
    ];
    let mut wrong = Vec::new();
    for vector in vectors() {
        let mut arrival = arrival(Call::Batch, None);
        arrival.client_ip = None;
        let outcome =
            rewrite_with(Bounds::default(), arrival, &[vector.message.as_bytes()]).unwrap();
        let name = vector.name.as_str();
        if let Some((_, fault)) = refused.iter().find(|(refused, _)| *refused == name) {
            if outcome.left != [format!("0 {fault}")] {
                wrong.push(format!("{name}: {:?}", outcome.left));
            }
            continue;
        }
        match outcome.events.first() {
            None => wrong.push(format!("{name}: {:?}", outcome.left)),
            Some(event) => {
                let equal = vector
                    .expected
                    .as_ref()
                    .is_some_and(|want| same(event, want));
                if equal == repaired.contains(&name) {
                    wrong.push(format!("{name}: {event}"));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn what_capture_would_refuse_is_repaired_as_the_documents_say() {
    let event =
        one(r#"{"type":"track","event":"A","userId":12345678901234567890123,"messageId":"m"}"#);
    assert_eq!(
        event["properties"]["distinct_id"],
        "12345678901234567890123"
    );
    let event =
        one(r#"{"type":"track","event":"A","userId":"  ","anonymousId":"a","messageId":"m"}"#);
    assert_eq!(event["properties"]["distinct_id"], "a");
    let event =
        one(r#"{"type":"identify","userId":"u","anonymousId":77,"traits":{},"messageId":"m"}"#);
    assert_eq!(event["properties"]["$anon_distinct_id"], "77");
    let event = one(r#"{"type":"identify","userId":"u","anonymousId":{},"messageId":"m"}"#);
    assert_eq!(event["properties"].get("$anon_distinct_id"), None);
    let event = one(r#"{"type":"alias","userId":"u","previousId":9,"messageId":"m"}"#);
    assert_eq!(event["properties"]["alias"], "9");
    let event = one(r#"{"type":"page","event":"","userId":"u","messageId":"m"}"#);
    assert_eq!(event["event"], "$pageview");
    let event = one(
        r#"{"type":"track","event":"A","userId":"u","messageId":"m","timestamp":1795166130250}"#,
    );
    assert_eq!(event["timestamp"], "2026-11-23T12:00:00.000Z");
    assert_eq!(
        event["properties"]["segment_original_timestamp"],
        1_795_166_130_250_i64
    );
    let event =
        one(r#"{"type":"track","event":"A","userId":"u","messageId":"m","timestamp":"soon"}"#);
    assert_eq!(event["timestamp"], "2026-11-23T12:00:00.000Z");
    assert_eq!(event["properties"]["segment_original_timestamp"], "soon");
    let event = one("{\"type\":\"track\",\"event\":\"A\",\"userId\":\"u\",\"messageId\":\"m\",\"properties\":{\"a\":NaN,\"b\":\"x\\ud83d\",\"a\":[-Infinity,1e999],\"c\":\"\u{1}\"}}");
    assert_eq!(event["properties"]["a"], json!([null, null]));
    assert_eq!(event["properties"]["b"], "x\u{fffd}");
    assert_eq!(event["properties"]["c"], "\u{1}");
}

#[test]
fn one_refused_message_never_takes_the_rest_with_it() {
    let deep = format!("{}{}", "[".repeat(124), "]".repeat(124));
    let fits = format!("{}{}", "[".repeat(123), "]".repeat(123));
    let items = [
        "1".to_owned(),
        "null".into(),
        "[{}]".into(),
        "{}".into(),
        r#"{"type":"delete","userId":"u"}"#.into(),
        r#"{"type":7,"userId":"u"}"#.into(),
        r#"{"type":"track","event":"A"}"#.into(),
        r#"{"type":"track","userId":"u"}"#.into(),
        r#"{"type":"track","event":["A"],"userId":"u"}"#.into(),
        r#"{"type":"alias","userId":"u","previousId":{}}"#.into(),
        r#"{"type":"alias","userId":"7","previousId":7}"#.into(),
        r#"{"type":"track","event":"A","userId":"u","properties":{"$cookieless_mode":"yes"}}"#
            .into(),
        format!(r#"{{"type":"track","event":"A","userId":"u","properties":{{"d":{deep}}}}}"#),
        format!(
            r#"{{"type":"track","event":"A","userId":"u","properties":{{"d":{}}}}}"#,
            "[".repeat(5000) + &"]".repeat(5000)
        ),
        format!(
            r#"{{"type":"track","event":"A","userId":"u","properties":{{"d":"{}"}}}}"#,
            "x".repeat(950_000)
        ),
        r#"{"type":"track","event":"A","userId":"u","integrations":{"All":false}}"#.into(),
        format!(r#"{{"type":"track","event":"Fits","userId":"u","properties":{{"d":{fits}}}}}"#),
        r#"{"type":"track","event":"Last","userId":"u"}"#.into(),
    ];
    let body = format!("{{\"batch\":[{}]}}", items.join(","));
    let outcome = rewrite(Call::Batch, None, body.as_bytes()).unwrap();
    assert_eq!(
        outcome.left,
        [
            "0 not_an_object",
            "1 not_an_object",
            "2 not_an_object",
            "3 missing_type",
            "4 unknown_type",
            "5 unknown_type",
            "6 missing_distinct_id",
            "7 missing_event",
            "8 event_not_text",
            "9 previous_id_not_text",
            "10 self_alias",
            "11 cookieless_not_boolean",
            "12 too_deep",
            "13 too_deep",
            "14 too_large",
            "15 integrations",
        ]
    );
    let names: Vec<&Json> = outcome.events.iter().map(|event| &event["event"]).collect();
    assert_eq!(names, ["Fits", "Last"]);
    assert_eq!(Omission::SelfAlias.code(), "self_alias");
}

#[test]
fn bodies_that_can_never_be_taken_are_told_apart() {
    for (body, expected) in [
        ("", RewriteError::Empty),
        (" \n", RewriteError::Empty),
        ("[]", RewriteError::NotAnObject),
        ("nope", RewriteError::NotAnObject),
        ("{\"batch\":{}}", RewriteError::BatchNotAnArray),
        ("{\"batch\":[1,]}", RewriteError::InvalidJson),
        ("{\"batch\":[{\"type\":}]}", RewriteError::InvalidJson),
        ("{\"batch\":[]", RewriteError::InvalidJson),
        ("{\"batch\":[]}x", RewriteError::InvalidJson),
        ("{\"batch\":[{}{}]}", RewriteError::InvalidJson),
        ("{\"type\":\"track\",}", RewriteError::InvalidJson),
        ("{\"type\":\"track\"", RewriteError::InvalidJson),
    ] {
        let got = rewrite(Call::Batch, None, body.as_bytes()).map(|outcome| outcome.events);
        assert_eq!(got, Err(expected), "{body}");
    }
    let single = rewrite(Call::One(Kind::Track), None, b"{} {}").map(|outcome| outcome.events);
    assert_eq!(single, Err(RewriteError::InvalidJson));
    assert!(rewrite(Call::Batch, None, b"{\"batch\":[]}")
        .unwrap()
        .events
        .is_empty());
}

const MIXED: &str = r#" {"writeKey" : "wk","sentAt":"2026-11-23T10:00:05.000Z","context":{"library":{"name":"analytics-go","version":"3"},"device":{"type":"phone","name":"A"}},
 "integrations":{"All":true}, "batch" : [ {"type":"track","event":"é \" \\ \u00e9","userId":"u1","messageId":"m1","timestamp":"2026-11-23T10:00:00Z","properties":{"a":[1,2,{"b":"]}"}],"url":"https://x/"}} ,
 {"type":"identify","userId":"u2","anonymousId":"a2","messageId":"m2","traits":{"n":NaN,"x":1,"x":2}},{"type":"track","event":"x"},
 {"type":"screen","name":"Main","anonymousId":"a","messageId":"m3","context":{"device":{"name":"B"}}} ] , "other":{"x":[1]} } "#;

#[test]
fn every_cut_and_every_window_gives_what_the_whole_body_gives() {
    let received = Some("2026-11-23T11:00:06.000Z");
    let whole = rewrite(Call::Batch, received, MIXED.as_bytes()).unwrap();
    assert_eq!(whole.events.len(), 3);
    assert_eq!(whole.left, ["2 missing_distinct_id"]);
    assert_eq!(whole.events[0]["timestamp"], "2026-11-23T11:00:01.000Z");
    assert_eq!(
        whole.events[2]["properties"]["segment_device"],
        json!({"type": "phone", "name": "B"})
    );
    for window in [1, 64, 400, 1 << 20] {
        let bounds = Bounds {
            window,
            ..Bounds::default()
        };
        for cut in 0..=MIXED.len() {
            let (a, b) = MIXED.as_bytes().split_at(cut);
            let outcome = rewrite_with(bounds, arrival(Call::Batch, received), &[a, b]).unwrap();
            assert_eq!(
                outcome.events, whole.events,
                "window {window}, cut at {cut}"
            );
            assert_eq!(outcome.left, whole.left, "window {window}, cut at {cut}");
        }
        let bytes: Vec<&[u8]> = MIXED.as_bytes().chunks(1).collect();
        let outcome = rewrite_with(bounds, arrival(Call::Batch, received), &bytes).unwrap();
        assert_eq!(
            outcome.events, whole.events,
            "window {window}, byte by byte"
        );
    }
}

#[test]
fn what_stands_behind_the_batch_counts_in_the_window_and_is_refused_past_it() {
    for late in [
        r#""context":{"library":{"name":"analytics-java"}}"#,
        r#""sentAt":"2026-11-23T10:00:05.000Z""#,
        r#""integrations":{"All":false}"#,
    ] {
        let body = format!(
            r#"{{"batch":[{{"type":"track","event":"A","userId":"u","messageId":"m","timestamp":"2026-11-23T10:00:00Z"}}],{late}}}"#
        );
        let received = Some("2026-11-23T10:00:06Z");
        let held = rewrite(Call::Batch, received, body.as_bytes()).unwrap();
        assert_eq!(held.events.len() + held.left.len(), 1, "{late}");
        let bounds = Bounds {
            window: 16,
            ..Bounds::default()
        };
        let streamed = rewrite_with(bounds, arrival(Call::Batch, received), &[body.as_bytes()]);
        assert_eq!(
            streamed.map(|outcome| outcome.events),
            Err(RewriteError::LateBatchKey)
        );
    }
}

#[test]
fn a_message_too_large_to_hold_is_skipped_in_a_stream_without_being_held() {
    let bounds = Bounds {
        window: 1000,
        event: 4000,
    };
    let rewriter = Arc::new(Rewriter::new(Mapping::default(), bounds));
    let mut rewrite = rewriter.begin(Arrival::new(Call::Batch));
    let envelope = Envelope::new(&ApiKey::new("phc_test").unwrap());
    let mut batch = Batch::open(&envelope);
    let mut seen = Seen::default();
    let big = format!(
        r#"{{"type":"track","userId":"u","event":"{}"}},"#,
        "y".repeat(100_000)
    );
    let body = format!(r#"{{"batch":[{big}{{"type":"track","event":"Small","userId":"u"}}]}}"#);
    let mut most = 0;
    for chunk in body.as_bytes().chunks(500) {
        if rewrite.push(chunk).unwrap() == Flow::Open {
            assert_eq!(
                rewrite.pull(&mut batch, usize::MAX, &mut seen),
                Ok(Pulled::Starved)
            );
        }
        most = most.max(rewrite.held());
    }
    rewrite.end();
    assert_eq!(
        rewrite.pull(&mut batch, usize::MAX, &mut seen),
        Ok(Pulled::Done)
    );
    assert_eq!(
        (batch.events(), seen.0),
        (1, vec!["0 too_large".to_owned()])
    );
    assert!(most < 20_000, "{most}");
}

#[test]
fn a_batch_level_context_cannot_be_multiplied_without_end() {
    let context = format!(r#"{{"x":"{}"}}"#, "c".repeat(60_000));
    let items = vec![r#"{"type":"track","event":"A","userId":"u"}"#; 10_000].join(",");
    let body = format!(r#"{{"context":{context},"batch":[{items}]}}"#);
    let rewriter = Arc::new(Rewriter::new(Mapping::default(), Bounds::default()));
    let mut rewrite = rewriter.begin(Arrival::new(Call::Batch));
    rewrite.push(body.as_bytes()).unwrap();
    rewrite.end();
    let envelope = Envelope::new(&ApiKey::new("phc_test").unwrap());
    let last = loop {
        let mut batch = Batch::open(&envelope);
        match rewrite.pull(&mut batch, 1 << 20, &mut ()) {
            Ok(Pulled::Full) => {}
            other => break other,
        }
    };
    assert_eq!(last, Err(RewriteError::TooLarge));
}

#[test]
fn write_keys_are_found_at_the_top_and_in_the_first_message() {
    for (call, body, expected) in [
        (
            Call::Batch,
            r#"{"batch":[{"writeKey":"in"}],"writeKey":"top"}"#,
            Some("top"),
        ),
        (
            Call::Batch,
            r#"{"batch":[{"writeKey":"in","type":"track"}]}"#,
            Some("in"),
        ),
        (Call::Batch, r#"{"batch":[{}],"writeKey":""}"#, None),
        (
            Call::Batch,
            r#"{"type":"track","writeKey":"bare"}"#,
            Some("bare"),
        ),
        (Call::One(Kind::Track), r#"{"writeKey":"one"}"#, Some("one")),
        (Call::One(Kind::Track), r#"{"writeKey":null}"#, None),
        (Call::Batch, r#"{"batch":[]}"#, None),
    ] {
        for window in [4, 1 << 20] {
            let bounds = Bounds {
                window,
                ..Bounds::default()
            };
            let rewriter = Arc::new(Rewriter::new(Mapping::default(), bounds));
            let mut rewrite = rewriter.begin(Arrival::new(call));
            rewrite.push(body.as_bytes()).unwrap();
            rewrite.end();
            let key = rewrite.write_key().unwrap();
            let late = window == 4 && expected == Some("top");
            let expected = if late { Some("in") } else { expected };
            assert_eq!(key.as_deref(), expected, "{body}, window {window}");
            let envelope = Envelope::new(&ApiKey::new("phc_test").unwrap());
            let mut batch = Batch::open(&envelope);
            assert_eq!(rewrite.pull(&mut batch, 1 << 20, &mut ()), Ok(Pulled::Done));
        }
    }
}

#[test]
fn the_clients_address_is_filled_in_for_devices_only() {
    let ip = |context: &str| {
        let event = one(&format!(
            r#"{{"type":"track","event":"A","userId":"u","messageId":"m","context":{context}}}"#
        ));
        (
            event["properties"]["$ip"].clone(),
            event["properties"]["segment_ip"].clone(),
        )
    };
    let both = |value: Json| (value.clone(), value);
    assert_eq!(
        ip(r#"{"library":{"name":"analytics.js"}}"#),
        both(json!("203.0.113.7"))
    );
    assert_eq!(
        ip(r#"{"library":{"name":"analytics-kotlin"},"ip":""}"#),
        both(json!("203.0.113.7"))
    );
    assert_eq!(
        ip(r#"{"library":{"name":"analytics.js"},"ip":"0.0.0.0"}"#),
        both(json!("0.0.0.0"))
    );
    assert_eq!(
        ip(r#"{"library":{"name":"analytics-node"}}"#),
        both(Json::Null)
    );
    assert_eq!(ip("{}"), both(Json::Null));
    assert_eq!(ip(r#"{"direct":true}"#), both(json!("203.0.113.7")));
}

#[test]
fn the_integrations_gate_is_segments() {
    for (integrations, passes) in [
        ("{}", true),
        ("null", true),
        (r#"{"All":false}"#, false),
        (r#"{"All":false,"PostHog":true}"#, true),
        (r#"{"All":false,"PostHog":{"x":1}}"#, true),
        (r#"{"PostHog":false}"#, false),
        (r#"{"All":true,"PostHog":false}"#, false),
        (r#"{"posthog":false}"#, true),
        (r#"{"Segment.io":false}"#, true),
    ] {
        let own =
            format!(r#"{{"type":"track","event":"A","userId":"u","integrations":{integrations}}}"#);
        let batch = format!(
            r#"{{"batch":[{{"type":"track","event":"A","userId":"u"}}],"integrations":{integrations}}}"#
        );
        for body in [own, batch] {
            let outcome = rewrite(Call::Batch, None, body.as_bytes()).unwrap();
            assert_eq!(outcome.events.len() == 1, passes, "{body}");
        }
        let body = r#"{"batch":[{"type":"track","event":"A","userId":"u","integrations":{"PostHog":true}}],"integrations":{"All":false}}"#;
        assert_eq!(
            rewrite(Call::Batch, None, body.as_bytes())
                .unwrap()
                .events
                .len(),
            1
        );
    }
}

#[test]
fn values_that_nobody_looks_into_keep_their_bytes() {
    let body = br#"{"type":"track","event":"A","userId":"u","messageId":"m","properties":{"n":1.50,"e":1E5,"big":123456789012345678901234567890,"s":"\u00e9\/"}}"#;
    let rewriter = Arc::new(Rewriter::new(Mapping::default(), Bounds::default()));
    let mut rewrite = rewriter.begin(Arrival::new(Call::Batch));
    rewrite.push(body).unwrap();
    rewrite.end();
    let mut batch = Batch::open(&Envelope::new(&ApiKey::new("phc_test").unwrap()));
    rewrite.pull(&mut batch, 1 << 20, &mut ()).unwrap();
    let text = String::from_utf8(batch.close()).unwrap();
    let kept = r#""n":1.50,"e":1E5,"big":123456789012345678901234567890,"s":"\u00e9\/""#;
    assert!(text.contains(kept), "{text}");
}

#[test]
fn values_that_are_no_objects_spread_as_in_javascript() {
    let event = one(
        r#"{"type":"track","event":"A","userId":"u","messageId":"m","properties":"hé😀","context":["x",{"y":1}]}"#,
    );
    let properties = &event["properties"];
    assert_eq!(properties["0"], "h");
    assert_eq!(properties["1"], "é");
    assert_eq!(properties["2"], "\u{fffd}");
    assert_eq!(properties["3"], "\u{fffd}");
    assert_eq!(properties["segment_1"], json!({"y": 1}));
    let event = one(
        r#"{"type":"track","event":"A","userId":"u","messageId":"m","properties":7,"context":{"campaign":["a"],"groupId":"g"}}"#,
    );
    assert_eq!(event["properties"]["utm_0"], "a");
    assert_eq!(event["properties"].get("segment_campaign"), None);
    assert_eq!(
        event["properties"]["$groups"],
        json!({"segment_group": "g"})
    );
}
