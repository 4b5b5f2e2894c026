use std::sync::atomic::AtomicI64;

use chrono::DateTime;
use serde_json::Value;

use super::*;
use crate::rewrite::Fault;

fn state() -> State {
    State {
        events: 7,
        refused: [("missing_event", 2)].into(),
        notices: [("unreadable_time", 3)].into(),
        projects: vec![ProjectState {
            name: "a \"shop\"".to_owned(),
            posthog: Condition::Away,
            answers: Answers {
                accepted: 3,
                ..Answers::default()
            },
            waiting: 5,
            waiting_bytes: 900,
            oldest: None,
            dead_letters: 0,
            upstream: UpstreamState::default(),
            stalled: None,
        }],
        spool: Some(SpoolState {
            appended: 5,
            ..SpoolState::default()
        }),
        ..State::default()
    }
}

fn admin(came: Came) -> (Admin, Arc<AtomicI64>) {
    let now = Arc::new(AtomicI64::new(1_795_166_130));
    let clock = Arc::clone(&now);
    let clock: Clock =
        Arc::new(move || DateTime::from_timestamp(clock.load(Ordering::Relaxed), 0).unwrap());
    (Admin::new(state, came, clock), now)
}

fn get(admin: &Admin, target: &str, host: &'static str) -> Response {
    let mut request = Request::new(Method::GET, target);
    request
        .headers
        .insert(header::HOST, HeaderValue::from_static(host));
    admin.handle(&request)
}

fn body(answer: &Response) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

fn entries(admin: &Admin) -> Vec<Value> {
    let answer = get(admin, "/live?after=0", "127.0.0.1:9090");
    let news: Value = serde_json::from_str(&body(&answer)).unwrap();
    news["entries"].as_array().unwrap().clone()
}

#[test]
fn metrics_are_in_prometheus_form_with_escaped_labels() {
    let (admin, _) = admin(Came::Shown);
    let answer = get(&admin, "/metrics", "metrics.internal");
    assert_eq!(answer.status, StatusCode::OK);
    let text = body(&answer);
    for line in [
        "hedgerow_messages_total{outcome=\"converted\",reason=\"ok\"} 7",
        "hedgerow_messages_total{outcome=\"refused\",reason=\"missing_event\"} 2",
        "hedgerow_notices_total{code=\"unreadable_time\"} 3",
        "hedgerow_batches_total{project=\"a \\\"shop\\\"\",outcome=\"accepted\"} 3",
        "hedgerow_posthog_up{project=\"a \\\"shop\\\"\"} 0",
        "hedgerow_spool_waiting_events{project=\"a \\\"shop\\\"\"} 5",
        "hedgerow_spool_not_draining_since_timestamp_seconds{project=\"a \\\"shop\\\"\"} 0",
        "hedgerow_spool_events_total{outcome=\"stored\"} 5",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    // Each metric is declared once, before its samples.
    let mut declared = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            declared.push(rest.split(' ').next().unwrap());
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            assert_eq!(declared.last(), Some(&name), "{line}");
        }
    }
    let mut once = declared.clone();
    once.dedup();
    assert_eq!(declared, once);
}

#[test]
fn health_says_what_waits_and_what_is_away() {
    let (admin, _) = admin(Came::Shown);
    let answer: Value = serde_json::from_str(&body(&get(&admin, "/health", "x"))).unwrap();
    assert_eq!(answer["status"], "ok");
    assert_eq!(answer["waiting"], 5);
    assert_eq!(answer["posthog"]["a \"shop\""], "away");
}

#[test]
fn a_spool_that_cannot_be_drained_is_in_health_and_metrics() {
    let stalled = || {
        let mut state = state();
        state.projects[0].stalled = Some(Stalled {
            since: 1_795_166_000,
            reason: "no consumer".to_owned(),
        });
        state
    };
    let clock: Clock = Arc::new(|| DateTime::from_timestamp(1_795_166_130, 0).unwrap());
    let admin = Admin::new(stalled, Came::Shown, clock);
    let health = get(&admin, "/health", "x");
    assert_eq!(health.status, StatusCode::OK);
    let health: Value = serde_json::from_str(&body(&health)).unwrap();
    assert_eq!(health["status"], "not_draining");
    let said = &health["not_draining"]["a \"shop\""];
    assert_eq!(said["since"], 1_795_166_000);
    assert_eq!(said["reason"], "no consumer");
    let metrics = body(&get(&admin, "/metrics", "x"));
    let line = "hedgerow_spool_not_draining_since_timestamp_seconds{project=\"a \\\"shop\\\"\"} 1795166000";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
}

#[test]
fn events_are_recorded_only_while_somebody_watches_and_refusals_always() {
    let (admin, now) = admin(Came::Shown);
    admin.message(b"{}", Fate::Event(b"{\"event\":\"unseen\"}"));
    admin.message(b"{}", Fate::Refused(Fault::MissingDistinctId));
    assert_eq!(entries(&admin).len(), 1, "and now it is watched");
    admin.message(b"{\"n\":1}", Fate::Event(b"{\"event\":\"seen\"}"));
    now.fetch_add(WATCHED + 1, Ordering::Relaxed);
    admin.message(b"{}", Fate::Event(b"{\"event\":\"unseen\"}"));
    let entries = entries(&admin);
    assert_eq!(entries.len(), 2, "{entries:?}");
    assert_eq!(entries[1]["fate"], "event");
    assert!(entries[1]["came"].as_str().unwrap().contains("\"n\": 1"));
}

#[test]
fn with_privacy_configured_nobody_sees_what_came() {
    let (admin, _) = admin(Came::Hidden);
    admin.message(
        b"{\"email\":\"a@b.c\"}",
        Fate::Refused(Fault::MissingDistinctId),
    );
    let entries = entries(&admin);
    assert!(!entries[0]["came"].as_str().unwrap().contains("a@b.c"));
    assert_eq!(entries[0]["fate"], "refused");
}

#[test]
fn the_live_view_answers_to_addresses_and_not_to_names_that_lead_here() {
    let (admin, _) = admin(Came::Shown);
    for (host, expected) in [
        ("127.0.0.1:9090", StatusCode::OK),
        ("127.0.0.1", StatusCode::OK),
        ("[::1]:9090", StatusCode::OK),
        ("[::1]", StatusCode::OK),
        ("localhost:9090", StatusCode::OK),
        ("attacker.example", StatusCode::MISDIRECTED_REQUEST),
        (
            "localhost.attacker.example:9090",
            StatusCode::MISDIRECTED_REQUEST,
        ),
    ] {
        for path in ["/", "/live?after=0"] {
            assert_eq!(get(&admin, path, host).status, expected, "{path} of {host}");
        }
        assert_eq!(get(&admin, "/health", host).status, StatusCode::OK);
    }
    let nameless = admin.handle(&Request::new(Method::GET, "/"));
    assert_eq!(nameless.status, StatusCode::MISDIRECTED_REQUEST);
    let posted = admin.handle(&Request::new(Method::POST, "/metrics"));
    assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(get(&admin, "/other", "[::1]").status, StatusCode::NOT_FOUND);
}
