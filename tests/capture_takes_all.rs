//! The stand-in for PostHog's capture accepts every batch that the rewriting creates from any
//! messages, in both modes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "../crates/hedgerow-rewrite/src/rewrite/convert_tests/messages.rs"]
mod messages;

use std::sync::Arc;

use chrono::DateTime;
use hedgerow::demo::capture::{Capture, StoreCapacity};
use hedgerow::demo::http::{Handler, Request};
use hedgerow::posthog::{ApiKey, Batch, Envelope, ProjectId};
use hedgerow::rewrite::{Arrival, Bounds, Mapping, Pulled, Recipient, Rewriter, Timestamp};
use hedgerow::segment::{self, Call};
use proptest::prelude::*;
use serde_json::Value as Json;

const RECEIVED_AT: &str = "2026-11-23T12:00:01.500Z";

/// The batch that a message becomes, and the number of its events.
fn rewritten(mapping: Mapping, message: &Json) -> (Vec<u8>, usize) {
    let rewriter = Arc::new(Rewriter::new(mapping, Bounds::default()));
    let mut rewrite = rewriter
        .begin(Arrival {
            received_at: Timestamp::parse_rfc3339(RECEIVED_AT),
            client_ip: Some("203.0.113.7".parse().unwrap()),
            ..Arrival::new(Call::Batch)
        })
        .address_to(Arc::new(Recipient {
            project: ProjectId::of(&ApiKey::new("phc_test").unwrap()),
            ..Recipient::default()
        }));
    rewrite.push(message.to_string().as_bytes()).unwrap();
    rewrite.end();
    let mut batch = Batch::open(&Envelope::new(&ApiKey::new("phc_test").unwrap()));
    let pulled = rewrite.pull(&mut batch, usize::MAX, &mut ()).unwrap();
    assert_eq!(pulled, Pulled::Done);
    let events = batch.events();
    (batch.close(), events)
}

/// Capture's answer, unless it accepts the whole batch.
fn refusal(batch: Vec<u8>, events: usize) -> Option<String> {
    let now = DateTime::parse_from_rfc3339(RECEIVED_AT).unwrap().to_utc();
    let capture = Capture::new(Arc::new(move || now), StoreCapacity::UNBOUNDED);
    let mut request = Request::new(http::Method::POST, "/batch/");
    request.body = batch.into();
    let answer = capture.handle(&request);
    let said = String::from_utf8_lossy(&answer.body).into_owned();
    let taken = answer.status == 200 && capture.stored() == events as u64;
    (!taken).then_some(said)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn capture_takes_every_event_of_any_message(message in messages::message()) {
        for mapping in [Mapping::reference(), Mapping::default()] {
            let (batch, events) = rewritten(mapping, &message);
            if events > 0 {
                prop_assert_eq!(refusal(batch, events), None, "{}", &message);
            }
        }
    }
}
