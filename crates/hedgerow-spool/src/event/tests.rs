//! Tests of spooled events, whether they are read from their text or taken from the rewriting.

use std::sync::Arc;

use hedgerow_rewrite::posthog::BatchOutline;
use hedgerow_rewrite::{ApiKey, Arrival, Batch, Bounds, Call, Envelope, Mapping, Rewriter};

use super::*;

fn event(text: &str) -> SpooledEvent {
    SpooledEvent::new(Bytes::copy_from_slice(text.as_bytes()), time_of(1_000)).unwrap()
}

#[test]
fn a_batch_gives_back_its_events_byte_for_byte() {
    let body = Bytes::from_static(
        br#"{"api_key":"phc_a","batch":[{"uuid":"a","timestamp":"2026-11-23T10:00:00Z","n":1.50e1},{"uuid":"b","timestamp":"2026-11-23T10:00:00Z","s":"\u00e9]}"}]}"#,
    );
    let events = SpooledEvent::of_batch(&body, time_of(0)).unwrap();
    let texts: Vec<&[u8]> = events.iter().map(|event| event.body().as_ref()).collect();
    assert_eq!(
        texts,
        [
            br#"{"uuid":"a","timestamp":"2026-11-23T10:00:00Z","n":1.50e1}"#.as_slice(),
            br#"{"uuid":"b","timestamp":"2026-11-23T10:00:00Z","s":"\u00e9]}"}"#.as_slice()
        ]
    );
}

#[test]
fn an_event_without_a_timestamp_gets_that_of_its_first_arrival() {
    let stamped = event(r#"{"uuid":"a","event":"x"}"#);
    assert_eq!(
        stamped.body().as_ref(),
        br#"{"timestamp":"1970-01-01T00:00:01.000Z","uuid":"a","event":"x"}"#
    );
    assert_eq!(
        event("{}").body().as_ref(),
        br#"{"timestamp":"1970-01-01T00:00:01.000Z"}"#
    );
    let own = r#"{"uuid":"a","timestamp":"2026-11-23T10:00:00Z"}"#;
    assert_eq!(event(own).body().as_ref(), own.as_bytes());
}

#[test]
fn a_null_time_is_replaced_by_the_first_arrival_and_does_not_appear_twice() {
    let arrival = UNIX_EPOCH + Duration::from_millis(1_795_467_600_000);
    let received = Received {
        at: arrival,
        from: Some([203, 0, 113, 7].into()),
    };
    for (text, expected) in [
        (
            r#"{"timestamp" : null,"event":"e","uuid":"a","properties":{"a":1}}"#,
            r#"{"timestamp" : "TIME","event":"e","uuid":"a","properties":{"$ip":"203.0.113.7","a":1}}"#,
        ),
        // The time is after the properties, so the address is written first.
        (
            r#"{"event":"e","uuid":"a","properties":{"$ip":null},"timestamp":null}"#,
            r#"{"event":"e","uuid":"a","properties":{"$ip":"203.0.113.7"},"timestamp":"TIME"}"#,
        ),
    ] {
        let taken = SpooledEvent::new(Bytes::from(text), received).unwrap();
        let expected = expected.replace("TIME", "2026-11-23T21:00:00.000Z");
        assert_eq!(String::from_utf8_lossy(taken.body()), expected);
        // An event that is read again from the spool keeps its deduplication key.
        let again = SpooledEvent::new(taken.body().clone(), arrival + Duration::from_secs(9));
        assert_eq!(again.unwrap().dedup_key(), taken.dedup_key());
    }
}

/// Returns the properties that an event with these properties, sent from this address, has in the spool.
fn from(address: &str, properties: &str) -> String {
    let text = format!("{{\"timestamp\":\"t\",\"properties\":{properties},\"uuid\":\"a\"}}");
    let arrived = Received {
        at: time_of(0),
        from: Some(address.parse().unwrap()),
    };
    let kept = SpooledEvent::new(Bytes::from(text), arrived).unwrap();
    let kept = String::from_utf8(kept.body().to_vec()).unwrap();
    let kept = kept.strip_prefix("{\"timestamp\":\"t\",\"properties\":");
    kept.unwrap()
        .strip_suffix(",\"uuid\":\"a\"}")
        .unwrap()
        .to_owned()
}

#[test]
fn an_event_gets_the_address_that_capture_would_have_taken_from_its_request() {
    let at = "203.0.113.7";
    for (properties, expected) in [
        ("{}", r#"{"$ip":"203.0.113.7"}"#),
        (" { } ", r#" {"$ip":"203.0.113.7" } "#),
        (r#"{"a":1.50}"#, r#"{"$ip":"203.0.113.7","a":1.50}"#),
        (r#"{"a":1,"$ip":null}"#, r#"{"a":1,"$ip":"203.0.113.7"}"#),
        (r#"{"$ip":"","b":2}"#, r#"{"$ip":"203.0.113.7","b":2}"#),
        (r#"{"$ip":0.0}"#, r#"{"$ip":"203.0.113.7"}"#),
        (r#"{"$ip":false}"#, r#"{"$ip":"203.0.113.7"}"#),
        (
            r#"{"$geoip_disable":false}"#,
            r#"{"$ip":"203.0.113.7","$geoip_disable":false}"#,
        ),
        // The sender has decided with its own address, `0.0.0.0` included, or with `$geoip_disable`.
        (r#"{"$ip":"1.2.3.4"}"#, r#"{"$ip":"1.2.3.4"}"#),
        (r#"{"$ip":"0.0.0.0"}"#, r#"{"$ip":"0.0.0.0"}"#),
        (r#"{"$geoip_disable":true}"#, r#"{"$geoip_disable":true}"#),
        (
            r#"{"$ip":null,"$geoip_disable":1}"#,
            r#"{"$ip":null,"$geoip_disable":1}"#,
        ),
        (r#""none""#, r#""none""#),
        // An `$ip` within another value is not the event's address.
        (
            r#"{"a":{"$ip":"1.2.3.4"}}"#,
            r#"{"$ip":"203.0.113.7","a":{"$ip":"1.2.3.4"}}"#,
        ),
    ] {
        assert_eq!(from(at, properties), expected, "{properties}");
    }
    assert_eq!(from("2001:db8::7", "{}"), r#"{"$ip":"2001:db8::7"}"#);
}

#[test]
fn time_and_address_are_stamped_at_once() {
    let arrived = Received {
        at: time_of(1_000),
        from: Some("203.0.113.7".parse().unwrap()),
    };
    let text = Bytes::from_static(br#" {"uuid":"a","properties":{"x":1}} "#);
    let kept = SpooledEvent::new(text, arrived).unwrap();
    assert_eq!(
        std::str::from_utf8(kept.body()).unwrap(),
        r#" {"timestamp":"1970-01-01T00:00:01.000Z","uuid":"a","properties":{"$ip":"203.0.113.7","x":1}} "#
    );
}

#[test]
fn events_collapse_exactly_when_posthog_would_collapse_them() {
    let base = r#"{"uuid":"a","event":"x","distinct_id":"p","timestamp":"2026-11-23T10:00:00Z","properties":{}}"#;
    let rows = [
        ("time of day", base.replace("10:00:00", "11:00:00"), true),
        (
            "distinct_id in properties",
            base.replace(r#""distinct_id":"p","#, "")
                .replace("{}", r#"{"distinct_id":"p"}"#),
            true,
        ),
        ("uuid", base.replace(r#""a""#, r#""b""#), false),
        ("name", base.replace(r#""x""#, r#""y""#), false),
        ("person", base.replace(r#""p""#, r#""q""#), false),
        ("day", base.replace("11-23", "11-24"), false),
    ];
    for (what, other, same) in rows {
        assert_eq!(
            event(base).dedup_key() == event(&other).dedup_key(),
            same,
            "{what}"
        );
    }
    let without = r#"{"event":"x","timestamp":"2026-11-23T10:00:00Z","n":1}"#;
    assert_ne!(
        event(without).dedup_key(),
        event(&without.replace("1}", "2}")).dedup_key()
    );
}

#[test]
fn a_text_that_is_not_an_event_is_refused() {
    for text in ["", "[]", "\"a\"", "{\"a\":1", "nul"] {
        assert!(
            SpooledEvent::new(Bytes::copy_from_slice(text.as_bytes()), time_of(0)).is_err(),
            "{text}"
        );
    }
    assert!(SpooledEvent::of_batch(&Bytes::from_static(b"{}"), time_of(0)).is_err());
}

/// Rewrites a body, and returns the batch and the positions of its events.
fn written(
    mapping: Mapping,
    body: &str,
    client_ip: Option<IpAddr>,
) -> (Bytes, Option<BatchOutline>) {
    let rewriter = Rewriter::new(mapping, Bounds::default());
    let mut rewrite = rewriter
        .begin(Arrival {
            client_ip,
            ..Arrival::new(Call::Batch)
        })
        .address_to(Arc::default());
    rewrite.push(body.as_bytes()).unwrap();
    rewrite.end();
    let envelope = Envelope::new(&ApiKey::new("phc_test").unwrap());
    let mut batch = Batch::open(&envelope).outlined();
    rewrite.pull(&mut batch, usize::MAX, &mut ()).unwrap();
    let outline = batch.take_outline();
    (batch.close().into(), outline)
}

const MESSAGES: &str = r#"{"batch":[
    {"type":"track","event":"Order \"1\"\n\u00e9","userId":"u-1","messageId":"m-1","timestamp":"2026-11-23T12:00:00Z"},
    {"type":"track","event":"No time","anonymousId":"a","messageId":"m-2","properties":{"x":1.50}},
    {"type":"page","userId":17,"messageId":"m-3","context":{"ip":"203.0.113.9","library":{"name":"analytics.js"}}},
    {"type":"track","event":"Own","userId":"u","messageId":"m-4","properties":{"$ip":""}},
    {"type":"track","event":"None","userId":"u","messageId":"m-5","properties":{"$geoip_disable":true}},
    {"type":"identify","userId":"u-1","traits":{"a":{"$ip":"1.2.3.4"}},"messageId":"m-6"},
    {"type":"alias","userId":"u-1","previousId":"u-0","messageId":"m-7"}]}"#;

#[test]
fn an_event_with_notes_of_the_rewriting_matches_a_parsed_one() {
    let address = "203.0.113.7".parse().unwrap();
    for mapping in [Mapping::reference(), Mapping::default()] {
        for client_ip in [None, Some(address)] {
            let (batch, outline) = written(mapping.clone(), MESSAGES, client_ip);
            assert_eq!(outline.as_ref().map(BatchOutline::len), Some(7));
            for from in [None, Some(address)] {
                let received = Received {
                    at: time_of(1_000),
                    from,
                };
                let noted = SpooledEvent::of_written(&batch, outline.as_ref(), received).unwrap();
                let parsed = SpooledEvent::of_batch(&batch, received).unwrap();
                for (noted, parsed) in noted.iter().zip(&parsed) {
                    assert_eq!(noted, parsed, "{from:?}");
                }
                assert_eq!(noted.len(), parsed.len());
            }
        }
    }
}

#[test]
fn a_note_of_another_batch_cuts_no_event() {
    let (batch, outline) = written(Mapping::default(), MESSAGES, None);
    let parsed = SpooledEvent::of_batch(&batch, time_of(0)).unwrap();
    let (_, other) = written(
        Mapping::default(),
        r#"{"batch":[{"type":"track","event":"Another one","userId":"u"}]}"#,
        None,
    );
    let mut shifted = batch.to_vec();
    shifted.splice(1..1, *b"\"a\":1,");
    for (batch, outline) in [(batch, other), (shifted.into(), outline)] {
        let events = SpooledEvent::of_written(&batch, outline.as_ref(), time_of(0)).unwrap();
        let bodies: Vec<&Bytes> = events.iter().map(SpooledEvent::body).collect();
        let expected: Vec<&Bytes> = parsed.iter().map(SpooledEvent::body).collect();
        assert_eq!(bodies, expected);
    }
}
