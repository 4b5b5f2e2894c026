//! Checks that every message arrived once, with the expected content.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use hedgerow::posthog::{ApiKey, Batch, Envelope, ProjectId};
use hedgerow::rewrite::{Arrival, Bounds, Mapping, Pulled, Recipient, Rewriter, Timestamp};
use hedgerow::segment::{Call, Kind};
use serde_json::Value;
use sha1::{Digest, Sha1};

use crate::work::{self, Pages, Size, Template};

/// The project key of all mapping subjects.
pub const API_KEY: &str = "phc_bench";

/// The expected content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// The body, byte for byte.
    Bytes,
    /// The events of PostHog's own Segment destination.
    Reference,
    /// The same events with everything that the default mode adds.
    Enriched,
}

/// The result of the check.
#[derive(Debug, Default)]
pub struct Verdict {
    pub events: usize,
    /// Requests that the stand-in accepted.
    pub requests: usize,
    /// The first hundred mistakes, one line each.
    pub mistakes: Vec<String>,
}

impl Verdict {
    fn mistake(&mut self, mistake: String) {
        if self.mistakes.len() < 100 {
            self.mistakes.push(mistake);
        }
    }
}

/// Checks all bodies that arrived for these requests.
pub fn look(carries: Carries, template: &Template, sent: &[u64], arrived: &[Vec<u8>]) -> Verdict {
    let mut verdict = Verdict {
        requests: arrived.len(),
        ..Verdict::default()
    };
    match carries {
        Carries::Bytes => bytes(&mut verdict, template, sent, arrived),
        Carries::Reference | Carries::Enriched => {
            events(&mut verdict, carries, template, sent, arrived);
        }
    }
    verdict
}

fn bytes(verdict: &mut Verdict, template: &Template, sent: &[u64], arrived: &[Vec<u8>]) {
    let mut times: HashMap<u64, usize> = sent.iter().map(|first| (*first, 0)).collect();
    let mut expected = template.bytes().to_vec();
    for body in arrived {
        let Some(first) = template.first_of(body) else {
            verdict.mistake("a body without an id in its place".to_owned());
            continue;
        };
        template.fill(&mut expected, first, 0);
        if *body != expected {
            verdict.mistake(format!("event {first}: not the body that was sent"));
        }
        match times.get_mut(&first) {
            Some(times) => *times += 1,
            None => verdict.mistake(format!("event {first}: never sent")),
        }
        verdict.events += template.size.events();
    }
    for (first, times) in times {
        if times != 1 {
            verdict.mistake(format!("event {first}: arrived {times} times"));
        }
    }
}

fn events(
    verdict: &mut Verdict,
    carries: Carries,
    template: &Template,
    sent: &[u64],
    arrived: &[Vec<u8>],
) {
    let expected = expected_event(carries, template);
    let mut times: HashMap<String, (u64, usize)> = HashMap::new();
    for first in sent {
        for number in *first..*first + template.size.events() as u64 {
            times.insert(uuid(&work::message_id(number)), (number, 0));
        }
    }
    for body in arrived {
        for mut event in batch_of(verdict, body) {
            verdict.events += 1;
            let uuid = event["uuid"].as_str().unwrap_or_default().to_owned();
            let Some((number, times)) = times.get_mut(&uuid) else {
                verdict.mistake(format!("{uuid}: never sent"));
                continue;
            };
            *times += 1;
            let known = prepare(&mut event, *number, template.pages());
            if let Err(mistake) = known {
                verdict.mistake(format!("event {number}: {mistake}"));
            } else if event != expected {
                verdict.mistake(format!("event {number}: {event}\nexpected: {expected}"));
            }
        }
    }
    for (number, times) in times.into_values() {
        if times != 1 {
            verdict.mistake(format!("event {number}: arrived {times} times"));
        }
    }
}

/// The events of one body.
pub fn batch_of(verdict: &mut Verdict, body: &[u8]) -> Vec<Value> {
    match serde_json::from_slice::<Value>(body) {
        Ok(mut value) if value["api_key"] == API_KEY && value["batch"].is_array() => {
            match value["batch"].take() {
                Value::Array(events) => events,
                _ => Vec::new(),
            }
        }
        Ok(_) => {
            verdict.mistake("a body that is no batch".to_owned());
            Vec::new()
        }
        Err(error) => {
            verdict.mistake(format!("a body that is no JSON: {error}"));
            Vec::new()
        }
    }
}

/// Removes the values that differ between events, after checking them.
fn prepare(event: &mut Value, number: u64, pages: Pages) -> Result<(), String> {
    let person = work::person(number);
    if event["properties"]["distinct_id"] != person {
        return Err(format!(
            "of the wrong person, {}",
            event["properties"]["distinct_id"]
        ));
    }
    let time = event["timestamp"].as_str().unwrap_or_default();
    let time = chrono::DateTime::parse_from_rfc3339(time).map_err(|error| error.to_string())?;
    let age = chrono::Utc::now().signed_duration_since(time);
    if age.num_seconds().abs() > 600 {
        return Err(format!("at the wrong time, {time}"));
    }
    let fields = event.as_object_mut().ok_or("no object")?;
    fields.remove("uuid");
    fields.remove("timestamp");
    let mut text = event.to_string().replace(&person, PERSON);
    if pages == Pages::Another {
        // The page of another event stays, and so differs from what is expected.
        text = text
            .replace(&work::page_path(number), PATH)
            .replace(&work::page_title(number), TITLE);
    }
    *event = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    Ok(())
}

const PERSON: &str = "PERSON";
const PATH: &str = "PATH";
const TITLE: &str = "TITLE";

/// The event that this crate's rewriting makes of the template's message. The crate's tests compare
/// that with the recorded answers of PostHog's destination.
fn expected_event(carries: Carries, template: &Template) -> Value {
    let mut body = template.bytes().to_vec();
    template.fill(&mut body, 0, 0);
    let call = match template.size {
        Size::One => Call::One(Kind::Track),
        Size::Twenty | Size::ThreeHundred => Call::Batch,
    };
    let mut event = rewritten(carries, call, &body).remove(0);
    prepare(&mut event, 0, template.pages()).unwrap();
    event
}

/// This crate's result for a body that arrives now from this machine.
pub fn rewritten(carries: Carries, call: Call, body: &[u8]) -> Vec<Value> {
    let mapping = match carries {
        Carries::Bytes | Carries::Reference => Mapping::reference(),
        Carries::Enriched => Mapping::default(),
    };
    let api_key = ApiKey::new(API_KEY).unwrap();
    let rewriter = Arc::new(Rewriter::new(mapping, Bounds::default()));
    let now = chrono::Utc::now().timestamp_millis();
    let mut rewrite = rewriter
        .begin(Arrival {
            received_at: Some(Timestamp::from_millis(now)),
            client_ip: Some(std::net::Ipv4Addr::LOCALHOST.into()),
            ..Arrival::new(call)
        })
        .address_to(Arc::new(Recipient {
            project: ProjectId::of(&api_key),
            ..Recipient::default()
        }));
    rewrite.push(body).unwrap();
    rewrite.end();
    let mut batch = Batch::open(&Envelope::new(&api_key));
    let pulled = loop {
        match rewrite.pull(&mut batch, usize::MAX, &mut ()).unwrap() {
            Pulled::Paused => {}
            pulled => break pulled,
        }
    };
    assert_eq!(pulled, Pulled::Done);
    let mut verdict = Verdict::default();
    let events = batch_of(&mut verdict, &batch.close());
    assert!(verdict.mistakes.is_empty(), "{verdict:?}");
    events
}

/// UUID v5 of a message id, as PostHog's own destination makes it.
pub fn uuid(message_id: &str) -> String {
    const NAMESPACE: u128 = 0x671b_c869_c8ec_5bcb_9bb5_8d78_8bd2_0513;
    let mut hash = Sha1::new();
    hash.update(NAMESPACE.to_be_bytes());
    hash.update(message_id.as_bytes());
    let mut digest: [u8; 20] = hash.finalize().into();
    digest[6] = digest[6] & 0x0f | 0x50;
    digest[8] = digest[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (place, byte) in digest[..16].iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        write!(text, "{byte:02x}").unwrap();
    }
    text
}
