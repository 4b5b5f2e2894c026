use super::*;
use crate::handler::{Handler, Request};
use chrono::DateTime;
use http::{Method, StatusCode};
use std::sync::Arc;

fn capture(capacity: StoreCapacity) -> Capture {
    let now = DateTime::parse_from_rfc3339("2026-11-20T09:15:32.000Z").unwrap();
    let now = now.to_utc();
    Capture::new(Arc::new(move || now), capacity)
}

fn post(path: &str, body: impl Into<bytes::Bytes>) -> Request {
    let mut request = Request::new(Method::POST, path);
    request.body = body.into();
    request
}

fn batch(events: &str) -> Request {
    post(
        "/batch/",
        format!(r#"{{"api_key":"phc_a","batch":[{events}]}}"#),
    )
}

fn status(capture: &Capture, request: &Request) -> u16 {
    capture.handle(request).status.as_u16()
}

#[test]
fn an_event_is_kept_as_it_was_sent_and_as_capture_reads_it() {
    let capture = capture(StoreCapacity::default());
    let text = r#"{ "event":"a", "distinct_id":7, "timestamp":"2026-11-20T09:15:30Z", "$set":{"x":1}, "properties":{"n":1.50,"big":12345678901234567890123} }"#;
    let mut request = batch(text);
    request
        .headers
        .insert("x-forwarded-for", "203.0.113.7".parse().unwrap());
    request.peer = Some(([127, 0, 0, 1], 5).into());
    assert_eq!(status(&capture, &request), 200);
    let events = capture.events();
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!(event.raw, text);
    assert_eq!((event.token.as_str(), event.event.as_str()), ("phc_a", "a"));
    assert_eq!(event.distinct_id, "7");
    assert_eq!(event.uuid_origin, UuidOrigin::Capture);
    assert_eq!(event.uuid.get_version_num(), 7);
    assert_eq!(
        event.timestamp_sent.as_deref(),
        Some("2026-11-20T09:15:30Z")
    );
    assert_eq!(event.timestamp.timestamp(), 1_795_166_130);
    assert_eq!(event.properties["n"], 1.5);
    assert_eq!(event.set.as_ref().unwrap()["x"], 1);
    assert_eq!(event.request.path, "/batch/");
    assert_eq!(event.request.headers["x-forwarded-for"], "203.0.113.7");
    assert_eq!(event.request.peer, request.peer);
    assert_eq!(event.request.body_bytes, request.body.len());
}

#[test]
fn one_bad_event_keeps_the_whole_batch_out() {
    let capture = capture(StoreCapacity::default());
    let good = r#"{"event":"a","distinct_id":"b"}"#;
    for bad in [
        r#"{"event":"a"}"#,
        r#"{"event":"","distinct_id":"b"}"#,
        r#"{"event":"a","distinct_id":"b","uuid":"x"}"#,
        r#"{"event":"a","distinct_id":"b","timestamp":1}"#,
        r#"{"event":"a","distinct_id":"b","properties":null}"#,
    ] {
        assert_eq!(
            status(&capture, &batch(&format!("{good},{bad}"))),
            400,
            "{bad}"
        );
    }
    assert_eq!((capture.stored(), capture.accepted()), (0, 0));
    assert_eq!((capture.requests(), capture.refusals().len()), (5, 5));
    assert_eq!(status(&capture, &batch(good)), 200);
    assert_eq!((capture.stored(), capture.accepted()), (1, 1));
}

#[test]
fn only_the_newest_events_are_kept_within_the_bounds() {
    let event = r#"{"event":"a","distinct_id":"b"}"#;
    for capacity in [
        StoreCapacity {
            events: 3,
            bytes: usize::MAX,
        },
        StoreCapacity {
            events: usize::MAX,
            bytes: 3 * event.len() + 1,
        },
    ] {
        let capture = capture(capacity);
        for _ in 0..5 {
            assert_eq!(status(&capture, &batch(event)), 200);
        }
        let numbers = |events: Vec<Arc<StoredEvent>>| -> Vec<u64> {
            events.iter().map(|event| event.number).collect()
        };
        assert_eq!(capture.stored(), 5);
        assert_eq!(numbers(capture.events()), [2, 3, 4], "{capacity:?}");
        assert_eq!(numbers(capture.since(4)), [4]);
        assert_eq!(numbers(capture.since(9)), [0u64; 0]);
    }
}

#[test]
fn faults_are_made_for_as_long_as_asked() {
    let capture = capture(StoreCapacity::default());
    let request = batch(r#"{"event":"a","distinct_id":"b"}"#);
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;

    capture.set_fault_for(InjectedFault::Status(unavailable, Some(3)), 2);
    for _ in 0..2 {
        let answer = capture.handle(&request);
        assert_eq!(answer.status, unavailable);
        assert_eq!(answer.headers["retry-after"], "3");
    }
    assert_eq!(status(&capture, &request), 200);
    assert_eq!(capture.stored(), 1);

    capture.set_fault_for(InjectedFault::StoredThen(unavailable, None), 1);
    assert_eq!(status(&capture, &request), 503);
    assert_eq!(capture.stored(), 2);

    capture.set_fault(InjectedFault::Poison("a".into()));
    assert_eq!(status(&capture, &request), 400);
    assert_eq!(
        status(&capture, &batch(r#"{"event":"c","distinct_id":"b"}"#)),
        200
    );
    capture.set_fault(InjectedFault::None);
    assert_eq!(status(&capture, &request), 200);
    assert_eq!(capture.stored(), 4);
}

#[test]
fn the_size_of_an_event_is_measured_as_the_queue_does() {
    let capture = capture(StoreCapacity::default());
    let event = |padding: &str, count: usize| {
        let padding = padding.repeat(count);
        batch(&format!(
            r#"{{"event":"a","distinct_id":"b","properties":{{"x":"{padding}"}}}}"#
        ))
    };
    // A quote inside a value needs two bytes in the event and four in the queue.
    for (padding, count, expected) in [
        ("a", 990_000, 200),
        ("a", 1_000_000, 413),
        ("\\\"", 245_000, 200),
        ("\\\"", 250_000, 413),
    ] {
        let request = event(padding, count);
        assert_eq!(status(&capture, &request), expected, "{padding} {count}");
    }
}

#[test]
fn a_preflight_mirrors_what_it_is_asked_and_counts_as_no_request() {
    let capture = capture(StoreCapacity::default());
    let mut request = Request::new(Method::OPTIONS, "/e/");
    for (name, value) in [
        ("origin", "https://shop.example.com"),
        ("access-control-request-headers", "content-type"),
    ] {
        request.headers.insert(name, value.parse().unwrap());
    }
    let answer = capture.handle(&request);
    assert_eq!(answer.status, 200);
    for (name, expected) in [
        ("access-control-allow-origin", "https://shop.example.com"),
        ("access-control-allow-headers", "content-type"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET,POST,OPTIONS"),
    ] {
        assert_eq!(answer.headers[name], expected);
    }
    assert_eq!(capture.requests(), 0);
}
