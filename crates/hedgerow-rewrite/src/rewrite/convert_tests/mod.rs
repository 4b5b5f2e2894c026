//! The helpers that the tests of the rewriter share: a strict parser, and the conversion of a whole body.

use std::sync::Arc;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{json, Map, Value as Json};

use super::super::event_plan::EventPlan;
use super::super::write::{write_event, WriteInputs};
use super::super::{
    AnnouncedLength, Arrival, Bounds, Explanations, Flow, Mapping, MessageOutcome, Mode, Notice,
    Omission, Pulled, Recipient, Rewriter, Timestamp, Watch,
};
use super::*;
use crate::posthog::{ApiKey, Batch, Envelope, ProjectId};
use crate::segment::{Call, Kind};

mod bodies;
mod clock;
mod context_cache;
mod enriched;
mod expected_keys;
mod flow;
mod found;
mod held;
mod identities;
mod messages;
mod outline;
mod privacy;
mod profiles;
mod repairs;
mod repeats;
mod reuse;
mod rules;
mod scrub;
mod single_calls;
mod spare_memory;
mod superset;
mod vectors;
mod web;
mod who;

/// Parses JSON and refuses a repeated key at any level.
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

/// Whether two values are equal by the rules of the vectors' README: numbers by value, keys in any order.
fn same(reports: &Json, right: &Json) -> bool {
    match (reports, right) {
        (Json::Number(a), Json::Number(b)) => a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        _ => reports == right,
    }
}

#[derive(Default)]
struct SeenKeys(Vec<String>);

impl Watch for SeenKeys {
    fn message(&mut self, index: usize, _: &[u8], outcome: MessageOutcome<'_>) {
        match outcome {
            MessageOutcome::Event(_) => {}
            MessageOutcome::LeftOut(omission) => {
                self.0.push(format!("{index} {}", omission.code()))
            }
            MessageOutcome::Refused(fault) => self.0.push(format!("{index} {}", fault.code())),
        }
    }

    fn notice(&mut self, notice: Notice<'_>) {
        self.0.push(format!("notice {}", notice.code()));
    }
}

struct TestOutcome {
    events: Vec<Json>,
    reports: Vec<String>,
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
) -> Result<TestOutcome, RewriteError> {
    rewrite_as(Rewriter::new(Mapping::reference(), bounds), arrival, chunks)
}

fn rewrite_as(
    rewriter: Rewriter,
    arrival: Arrival,
    chunks: &[&[u8]],
) -> Result<TestOutcome, RewriteError> {
    rewrite_through(&Arc::new(rewriter), arrival, chunks, PostHogAnswer::No)
}

/// Whether PostHog accepts the events.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PostHogAnswer {
    Yes,
    No,
}

fn rewrite_through(
    rewriter: &Arc<Rewriter>,
    arrival: Arrival,
    chunks: &[&[u8]],
    posthog: PostHogAnswer,
) -> Result<TestOutcome, RewriteError> {
    let mut rewrite = rewriter.begin(arrival).address_to(Arc::new(Recipient {
        project: ProjectId::of(&ApiKey::new("phc_test").unwrap()),
        ..Recipient::default()
    }));
    let envelope = Envelope::new(&ApiKey::new("phc_test").unwrap());
    let mut batch = Batch::open(&envelope).outlined();
    let mut seen = SeenKeys::default();
    for chunk in chunks {
        if rewrite.push(chunk)? == Flow::Open {
            while rewrite.pull(&mut batch, usize::MAX, &mut seen)? != Pulled::Starved {}
        }
    }
    rewrite.end();
    let last = loop {
        match rewrite.pull(&mut batch, usize::MAX, &mut seen)? {
            Pulled::Paused => {}
            last => break last,
        }
    };
    assert_eq!(last, Pulled::Done);
    if posthog == PostHogAnswer::Yes {
        rewrite.confirm();
    }
    let outline = batch.take_outline().unwrap();
    let text = batch.close();
    let value =
        strict(&text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&text)));
    let wrong = outline::differences(&outline, &text, &value);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(TestOutcome {
        events: value["batch"].as_array().unwrap().clone(),
        reports: seen.0,
    })
}

fn rewrite(
    call: Call,
    received_at: Option<&str>,
    body: &[u8],
) -> Result<TestOutcome, RewriteError> {
    rewrite_with(Bounds::default(), arrival(call, received_at), &[body])
}

fn one(body: &str) -> Json {
    let outcome = rewrite(Call::Batch, Some("2026-11-23T12:00:00Z"), body.as_bytes()).unwrap();
    assert_eq!(outcome.reports, Vec::<String>::new(), "{body}");
    outcome.events.into_iter().next().unwrap()
}
