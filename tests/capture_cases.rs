//! The stand-in for PostHog answers as PostHog's capture does.
//!
//! The cases follow capture's rules (posthog-ingestion 8). They are our own; PostHog itself was not
//! asked.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::engine::general_purpose::STANDARD;
use base64::Engine as _;
use chrono::DateTime;
use hedgerow::demo::capture::{Capture, StoreCapacity};
use hedgerow::demo::http::{Handler, Request};
use http::{HeaderName, HeaderValue, Method};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body_or_base64: String,
    encoding: String,
    expand: Option<Expand>,
    expect_status: u16,
    expect_body: Option<String>,
    profile: String,
    why: String,
}

#[derive(Deserialize)]
struct Expand {
    token: String,
    unit: String,
    count: usize,
}

impl Case {
    fn request(&self) -> Request {
        let method = Method::from_bytes(self.method.as_bytes()).unwrap();
        let mut request = Request::new(method, &self.path);
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request
                .headers
                .insert(name, HeaderValue::from_str(value).unwrap());
        }
        let mut body = match self.encoding.as_str() {
            "utf8" => self.body_or_base64.clone().into_bytes(),
            "base64" => STANDARD.decode(&self.body_or_base64).unwrap(),
            other => panic!("{}: unknown encoding {other}", self.name),
        };
        if let Some(expand) = &self.expand {
            let text = String::from_utf8(body).unwrap();
            assert!(text.contains(&expand.token), "{}", self.name);
            let padding = expand.unit.repeat(expand.count);
            body = text.replace(&expand.token, &padding).into_bytes();
        }
        request.body = body.into();
        request
    }
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("data/posthog-capture-cases.json")).unwrap()
}

fn capture() -> Capture {
    let now = DateTime::parse_from_rfc3339("2026-11-20T09:15:32.000Z").unwrap();
    let now = now.to_utc();
    Capture::new(Arc::new(move || now), StoreCapacity::UNBOUNDED)
}

/// Sends the cases of one profile to new stand-ins and returns their number.
fn run(profile: &str) -> usize {
    let mut ran = 0;
    let mut wrong = Vec::new();
    for case in cases().iter().filter(|case| case.profile == profile) {
        ran += 1;
        let capture = capture();
        let answer = capture.handle(&case.request());
        let body = String::from_utf8_lossy(&answer.body);
        let expected_body = case.expect_body.as_deref().unwrap_or_default();
        if answer.status.as_u16() != case.expect_status || !body.contains(expected_body) {
            wrong.push(format!(
                "{}: expected {} {expected_body:?}, got {} {body:?} ({})",
                case.name, case.expect_status, answer.status, case.why
            ));
        }
        let refused = !answer.status.is_success();
        if refused && capture.stored() > 0 {
            wrong.push(format!("{}: refused, yet stored", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    ran
}

#[test]
fn every_core_case_is_answered_as_capture_answers() {
    assert_eq!(run("core"), 81);
}

#[test]
fn every_derived_case_is_answered_as_capture_answers() {
    assert_eq!(run("derived"), 16);
}

#[test]
fn every_large_case_is_answered_as_capture_answers() {
    assert_eq!(run("large"), 2);
}

#[test]
fn every_v1_case_is_answered_as_capture_answers() {
    assert_eq!(run("v1"), 9);
}

#[test]
fn every_accepted_case_stores_its_events() {
    let mut wrong = Vec::new();
    for case in cases() {
        // Preflights have no event, capture drops performance events, and one v1 event has no name.
        let expected = match case.name.as_str() {
            _ if case.expect_status >= 300 => 0,
            "ok-options-preflight" | "ok-performance-event-only" => 0,
            "ok-array" | "ok-array-token-on-one-only" | "ok-batch" | "ok-v1-batch" => 2,
            _ => 1,
        };
        let capture = capture();
        capture.handle(&case.request());
        let stored = capture.stored();
        if stored != expected {
            wrong.push(format!("{}: {stored} instead of {expected}", case.name));
        }
        for event in capture.events() {
            let raw: serde_json::Value = serde_json::from_str(&event.raw).unwrap();
            let name = raw.get("event").and_then(serde_json::Value::as_str);
            if name.unwrap_or("$identify") != event.event {
                wrong.push(format!("{}: text and event differ", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
