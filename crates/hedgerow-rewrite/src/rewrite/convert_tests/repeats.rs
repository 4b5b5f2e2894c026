//! Tests of a message that is delivered twice, as browsers and SDKs do (segment-tracking 1.8 and 2.4).

use super::*;
use crate::rewrite::mapping::{EventUuidForm, Repeats};

fn recording(name: &str) -> (Call, String) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/recordings");
    let text = std::fs::read_to_string(format!("{folder}/{name}.json")).unwrap();
    let file: Json = serde_json::from_str(&text).unwrap();
    let tail = file["path"].as_str().unwrap().rsplit('/').next().unwrap();
    let call = match Kind::of_path(tail) {
        Some(kind) => Call::One(kind),
        None => Call::Batch,
    };
    (call, file["body"].as_str().unwrap().to_owned())
}

/// Returns the body as a retry sends it: with a later `sentAt` and, if it has `_metadata`, a retry count.
fn tried_again(body: &str) -> String {
    let sent_at = body.rfind(r#""sentAt""#).unwrap();
    let quote = sent_at + body[sent_at..].find(':').unwrap();
    let from = quote + body[quote..].find('"').unwrap();
    let to = from + 1 + body[from + 1..].find('"').unwrap() + 1;
    let later = format!(
        r#"{}"2026-11-23T21:09:59.001Z"{}"#,
        &body[..from],
        &body[to..]
    );
    later.replace(r#""_metadata":{"#, r#""_metadata":{"retryCount":7,"#)
}

fn rewriter(mapping: Mapping) -> Arc<Rewriter> {
    Arc::new(Rewriter::new(mapping, Bounds::default()).remembering())
}

/// Delivers a body that takes `transit` milliseconds to arrive.
fn deliver(
    rewriter: &Arc<Rewriter>,
    (call, body): &(Call, String),
    transit: i64,
    posthog: PostHogAnswer,
) -> TestOutcome {
    let sent_at = body.rfind(r#""sentAt""#).unwrap();
    let text = body[sent_at + 8..].split('"').nth(1).unwrap();
    let sent_at = Timestamp::parse_rfc3339(text).unwrap();
    let arrival = Arrival {
        received_at: Some(Timestamp::from_millis(sent_at.millis() + transit)),
        ..arrival(*call, None)
    };
    rewrite_through(rewriter, arrival, &[body.as_bytes()], posthog).unwrap()
}

/// A name, and two bodies that deliver the same message.
type MessagePair = (&'static str, (Call, String), (Call, String));

/// Returns both deliveries of the messages that real clients deliver twice.
fn pairs() -> Vec<MessagePair> {
    let (_, track) = recording("web-std-unload-keepalive-track");
    let again = |name| {
        let (call, body) = recording(name);
        (name, (call, body.clone()), (call, tried_again(&body)))
    };
    let (head, tail) = track
        .split_once(r#","sentAt":"2026-11-23T21:02:45.670Z""#)
        .unwrap();
    let item = format!("{head}{tail}");
    let batch = format!(r#"{{"batch":[{item}],"sentAt":"2026-11-23T21:02:47.478Z"}}"#);
    vec![
        (
            "sent on unload and from the store of the next page",
            recording("web-std-unload-keepalive-track"),
            recording("web-std-unload-persisted-resend"),
        ),
        (
            "sent when the tab was hidden and by the timer",
            recording("web-batch-hidden-tab-first"),
            recording("web-batch-hidden-tab-duplicate"),
        ),
        (
            "sent alone and in a batch",
            (Call::One(Kind::Track), track),
            (Call::Batch, batch),
        ),
        again("web-std-retry-02-attempt2"),
        again("web-batch-retry-attempt2"),
        again("python-04-retry-attempt2"),
    ]
}

#[test]
fn a_repeated_message_keeps_its_id_name_person_and_time() {
    let mut wrong = Vec::new();
    for event_uuid in [EventUuidForm::V5, EventUuidForm::V7] {
        for (name, first, second) in pairs() {
            let mapping = Mapping {
                event_uuid,
                ..Mapping::default()
            };
            let rewriter = rewriter(mapping);
            let one = deliver(&rewriter, &first, 13, PostHogAnswer::No);
            let two = deliver(&rewriter, &second, 641, PostHogAnswer::No);
            assert!(!one.events.is_empty(), "{name}");
            assert_eq!(one.events.len(), two.events.len(), "{name}");
            for (one, two) in one.events.iter().zip(&two.events) {
                let known_by = |event: &Json| {
                    let parts = ["/uuid", "/event", "/timestamp", "/properties/distinct_id"];
                    parts.map(|part| event.pointer(part).unwrap().clone())
                };
                if known_by(one) != known_by(two) {
                    wrong.push(format!("{name}:\n  {one}\n  {two}"));
                }
            }
        }
    }
    for wrong in &wrong {
        eprintln!("{wrong}");
    }
    assert!(wrong.is_empty(), "{} differ", wrong.len());
}

#[test]
fn the_first_try_has_the_corrected_time_to_the_microsecond() {
    let mapping = Mapping::default();
    for (name, first, _) in pairs() {
        let pure = Arc::new(Rewriter::new(mapping.clone(), Bounds::default()));
        let pure = deliver(&pure, &first, 13, PostHogAnswer::No);
        let remembering = deliver(&rewriter(mapping.clone()), &first, 13, PostHogAnswer::No);
        assert_eq!(pure.events, remembering.events, "{name}");
    }
}

#[test]
fn messages_that_only_share_an_id_keep_their_own_times() {
    let rewriter = rewriter(Mapping::default());
    let time = |event: &str, user: &str, timestamp: &str, sent_at: &str| {
        let body = format!(
            r#"{{"messageId":"same","event":"{event}","userId":"{user}","timestamp":"{timestamp}","sentAt":"{sent_at}"}}"#
        );
        let body = (Call::One(Kind::Track), body);
        deliver(&rewriter, &body, 0, PostHogAnswer::No).events[0]["timestamp"].clone()
    };
    let noon = "2026-11-23T12:00:00.000Z";
    assert_eq!(time("A", "u", noon, "2026-11-23T12:00:01Z"), noon);
    for (event, user, timestamp) in [
        ("B", "u", noon),
        ("A", "v", noon),
        ("A", "u", "2026-11-23T12:00:07.000Z"),
    ] {
        let sent_at = "2026-11-23T12:00:09Z";
        assert_eq!(time(event, user, timestamp, sent_at), timestamp);
    }
}

#[test]
fn a_repeat_is_suppressed_once_posthog_has_accepted_it_and_never_before() {
    for (name, first, second) in pairs() {
        let mapping = Mapping {
            repeats: Repeats::Suppress,
            ..Mapping::default()
        };
        let rewriter = rewriter(mapping);
        let messages = deliver(&rewriter, &first, 13, PostHogAnswer::No)
            .events
            .len();
        // PostHog has not accepted the first delivery, so the retry is sent.
        let retried = deliver(&rewriter, &second, 641, PostHogAnswer::Yes);
        assert_eq!(retried.events.len(), messages, "{name}");
        let repeated = deliver(&rewriter, &second, 700, PostHogAnswer::Yes);
        assert_eq!(repeated.events, Vec::<Json>::new(), "{name}");
        let left: Vec<String> = (0..messages).map(|at| format!("{at} repeat")).collect();
        assert_eq!(repeated.reports, left, "{name}");
    }
}

#[test]
fn only_the_same_message_is_a_repeat() {
    let mapping = Mapping {
        repeats: Repeats::Suppress,
        ..Mapping::default()
    };
    let rewriter = rewriter(mapping);
    let (call, body) = recording("web-std-unload-keepalive-track");
    let one = (call, body.clone());
    let sent = |body: &(Call, String)| deliver(&rewriter, body, 5, PostHogAnswer::Yes).events.len();
    assert_eq!(sent(&one), 1);
    assert_eq!(sent(&one), 0);
    for (from, to) in [
        (r#""href":"/next""#, r#""href":"/other""#),
        ("Link Clicked", "Link Seen"),
        ("\"userId\":null", "\"userId\":\"u\""),
        ("ajs-next-1795467765587", "ajs-next-1795467765588"),
    ] {
        let other = body.replace(from, to);
        assert_ne!(other, body);
        assert_eq!(sent(&(call, other)), 1, "{to}");
    }
    // The same message for another project is not a repeat.
    let mut elsewhere = rewriter
        .begin(Arrival {
            received_at: Timestamp::parse_rfc3339("2026-11-23T21:02:48Z"),
            ..arrival(call, None)
        })
        .address_to(Arc::default());
    elsewhere.push(body.as_bytes()).unwrap();
    elsewhere.end();
    let mut batch = Batch::open(&Envelope::new(&ApiKey::new("phc_other").unwrap()));
    elsewhere.pull(&mut batch, usize::MAX, &mut ()).unwrap();
    assert_eq!(batch.events(), 1);
}
