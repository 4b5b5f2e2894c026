//! Tests of the reference vectors, with the map step alone and with the whole conversion.

use std::collections::HashSet;

use super::super::super::enrich::cache::UserAgents;
use super::super::super::group_types::NotedGroups;
use super::super::super::identity::Id;
use super::super::super::json::{Scratch, Value};
use super::super::super::message::MessagePart;
use super::super::super::message_id::{self, EventUuid};
use super::super::super::normalise::{FutureCheck, HappenedAt, SentAt, Settled};
use super::super::super::time::KnownDate;
use super::super::super::write::{ContextCache, ContextId, WriteScratch};
use super::*;

/// Returns the text of a key's value in a JSON file.
fn source_of(file: &str, key: &str) -> String {
    let mut part = MessagePart::default();
    part.scan_text(file.trim().as_bytes(), &mut Scratch::default())
        .unwrap();
    let value = part.get(file.trim().as_bytes(), key).unwrap();
    String::from_utf8(value.of(file.trim().as_bytes()).to_vec()).unwrap()
}

pub(super) struct Vector {
    pub(super) name: String,
    pub(super) message: String,
    pub(super) expected: Option<Json>,
}

pub(super) fn vectors() -> Vec<Vector> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/reference");
    let mut vectors: Vec<Vector> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let mut file: Json = serde_json::from_str(&text).unwrap();
            let raw = file["segment_raw"].as_str().map(str::to_owned);
            let mut expected = Some(file["posthog"].take()).filter(|event| !event.is_null());
            if let Some(Json::Object(event)) = &mut expected {
                // In Hedgerow's output, the project key is in the envelope.
                event.remove("api_key");
            }
            Vector {
                name: file["name"].as_str().unwrap().to_owned(),
                // The text is copied from the file: a parsed map would lose the order of its keys.
                message: raw.unwrap_or_else(|| source_of(&text, "segment")),
                expected,
            }
        })
        .collect();
    vectors.sort_by(|a, b| a.name.cmp(&b.name));
    vectors
}

/// Runs only the map step on a message, in the form in which Segment's servers would pass it on.
fn mapped(text: &str) -> Vec<u8> {
    let mut message = Message::default();
    let mut scratch = Scratch::default();
    message.scan(text.as_bytes(), &mut scratch).unwrap();
    let source = MessageSource {
        text: text.as_bytes(),
        message: &message,
        context_text: message.context.text(text).as_bytes(),
        context: &message.context,
        utf8: text,
        context_utf8: message.context.text(text),
    };
    let named = message.kind().unwrap().of(text.as_bytes());
    let message_id = message_id::given(message.message_id(), text, Mode::Reference).unwrap();
    let settled = Settled {
        kind: Kind::of_type(serde_json::from_slice(named).unwrap()).unwrap(),
        uuid: EventUuid::v5(&message_id),
        message_id,
        time: message
            .timestamp()
            .map_or(HappenedAt::Unknown, HappenedAt::AsWritten),
        unusable_time: None::<Value>,
        sent_at: SentAt::default(),
        future: FutureCheck::Taken,
        user_id: Id::as_written(message.user_id(), text.as_bytes()),
        anonymous_id: Id::as_written(message.anonymous_id(), text.as_bytes()),
        previous_id: Id::as_written(message.previous_id(), text.as_bytes()),
        group_id: Id::as_written(message.group_id(), text.as_bytes()),
        session: None,
        window: None,
        ip: None,
        user_agent: None,
    };
    let plan = EventPlan::reference(&source, &settled);
    let (mut out, mut context_cache) = (Vec::new(), ContextCache::default());
    let inputs = WriteInputs {
        mapping: &Mapping::reference(),
        user_agents: &UserAgents::default(),
        recipient: &Recipient::default(),
        group_cookie: None,
        meta_ids: None,
        group_types: None,
    };
    let scratch = WriteScratch {
        part: &mut MessagePart::default(),
        scan_scratch: &mut Scratch::default(),
        noted_groups: &mut NotedGroups::default(),
        context_cache: (ContextId::Absent, &mut context_cache),
    };
    let written = write_event(
        (&mut out, scratch, &KnownDate::default()),
        &inputs,
        &plan,
        &settled,
        &source,
        None,
    );
    assert_eq!(out.len(), written.parts.length as usize);
    out
}

#[test]
fn the_map_step_is_posthogs_own_destination_on_every_vector() {
    let vectors = vectors();
    assert!(vectors.len() >= 114, "some are missing");
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

/// Lists the vectors whose reference output capture would refuse or misread, and what happens to them.
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
            if outcome.reports != [format!("0 {fault}")] {
                wrong.push(format!("{name}: {:?}", outcome.reports));
            }
            continue;
        }
        match outcome.events.first() {
            None => wrong.push(format!("{name}: {:?}", outcome.reports)),
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
