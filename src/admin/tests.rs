use chrono::DateTime;
use serde_json::Value;

use super::*;

fn state() -> ProxyState {
    ProxyState {
        events: 7,
        refused: [("missing_event", 2)].into(),
        notices: [("unreadable_time", 3)].into(),
        projects: vec![ProjectState {
            waiting: 5,
            waiting_bytes: 900,
            trouble: Some(DeliveryFailure {
                since: 1_795_166_100,
                failed: 4,
            }),
            last_error: Some(LastError {
                at: 1_795_166_120,
                says: "is in trouble (503)".to_owned(),
            }),
            ..ProjectState::new(
                "a \"shop\"",
                PostHogCondition::Away,
                BatchAnswers {
                    accepted: 3,
                    ..BatchAnswers::default()
                },
            )
        }],
        spool: Some(SpoolState {
            writable: true,
            appended: 5,
            ..SpoolState::default()
        }),
        ..ProxyState::default()
    }
}

fn admin_with(view: LiveView) -> Admin {
    let clock: UtcClock = Arc::new(|| DateTime::from_timestamp(1_795_166_130, 0).unwrap());
    let recording = live::Recording::WhileWatched;
    let live = Live::new(Arc::clone(&clock), live::Visibility::Shown, recording);
    Admin::new(state, Arc::new(live), view, clock)
}

fn admin() -> Admin {
    admin_with(LiveView::Open)
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

#[test]
fn metrics_are_in_prometheus_form_with_escaped_labels() {
    let admin = admin();
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
fn health_shows_waiting_events_and_failures() {
    let admin = admin();
    let answer: Value = serde_json::from_str(&body(&get(&admin, "/health", "x"))).unwrap();
    assert_eq!(answer["status"], "ok");
    assert_eq!(answer["waiting"], 5);
    assert_eq!(answer["posthog"]["a \"shop\""], "away");
    let mut admin = admin;
    admin.state = Box::new(|| {
        let mut state = state();
        state.spool = Some(SpoolState {
            trouble: Some("no space".to_owned()),
            ..SpoolState::default()
        });
        state
    });
    let answer: Value = serde_json::from_str(&body(&get(&admin, "/health", "x"))).unwrap();
    assert_eq!(answer["status"], "spool_not_writable");
    assert_eq!(answer["spool_trouble"], "no space");
}

#[test]
fn a_spool_that_cannot_be_drained_is_in_health_and_metrics() {
    let stalled = || {
        let mut state = state();
        state.projects[0].stalled = Some(StalledSpool {
            since: 1_795_166_000,
            reason: "no consumer".to_owned(),
        });
        state
    };
    let mut admin = admin();
    admin.state = Box::new(stalled);
    let health = get(&admin, "/health", "x");
    assert_eq!(health.status, StatusCode::OK);
    let health: Value = serde_json::from_str(&body(&health)).unwrap();
    assert_eq!(health["status"], "not_draining");
    let answer = &health["not_draining"]["a \"shop\""];
    assert_eq!(answer["since"], 1_795_166_000);
    assert_eq!(answer["reason"], "no consumer");
    let metrics = body(&get(&admin, "/metrics", "x"));
    let line = "hedgerow_spool_not_draining_since_timestamp_seconds{project=\"a \\\"shop\\\"\"} 1795166000";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
}

#[test]
fn the_live_view_answers_to_addresses_and_not_to_names_that_lead_here() {
    let admin = admin();
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
        for path in ["/", "/live?after=0", "/live/state"] {
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

fn with(admin: &Admin, target: &str, name: &'static str, value: &str) -> Response {
    let mut request = Request::new(Method::GET, target);
    let host = HeaderValue::from_static("hedgerow.internal");
    request.headers.insert(header::HOST, host);
    request.headers.insert(name, value.parse().unwrap());
    admin.handle(&request)
}

fn give(admin: &Admin, form: &'static str) -> Response {
    let mut request = Request::new(Method::POST, "/session");
    request.body = bytes::Bytes::from_static(form.as_bytes());
    admin.handle(&request)
}

#[test]
fn with_a_token_the_live_view_opens_only_to_those_who_know_it() {
    let token = AccessToken::new("0123456789abcdef+/").unwrap();
    assert_eq!(format!("{token:?}"), "Token(…)");
    let admin = admin_with(LiveView::Token(token));
    for path in ["/", "/live", "/live/message?number=1", "/live/state"] {
        for (name, value) in [
            ("x-none", ""),
            ("authorization", "Bearer 0123456789abcdef"),
            ("authorization", "Basic 0123456789abcdef+/"),
            ("cookie", "hedgerow_live=0123456789abcdef+/"),
        ] {
            let answer = with(&admin, path, name, value);
            assert_eq!(
                answer.status,
                StatusCode::UNAUTHORIZED,
                "{path} {name}: {value}"
            );
        }
        let bearer = with(&admin, path, "authorization", "Bearer 0123456789abcdef+/");
        assert_ne!(bearer.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let form = body(&get(&admin, "/", "hedgerow.internal"));
    assert!(
        form.contains("action=\"/session\"") && !form.contains("0123456789"),
        "{form}"
    );
    for wrong in [
        "",
        "token=",
        "token=0123456789abcdef",
        "other=0123456789abcdef%2B%2F",
    ] {
        let answer = give(&admin, wrong);
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{wrong}");
        assert!(answer.headers.get(header::SET_COOKIE).is_none());
    }
    let answer = give(&admin, "token=0123456789abcdef%2B%2F");
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
    let pass = cookie.split(';').next().unwrap();
    let cookies = format!("other=1; {pass}");
    assert_eq!(with(&admin, "/", "cookie", &cookies).status, StatusCode::OK);
    // Pages without data about visitors need no token.
    for path in ["/health", "/metrics", "/healthz", "/live.css", "/live.js"] {
        assert_eq!(get(&admin, path, "x").status, StatusCode::OK, "{path}");
    }
}

#[test]
fn a_live_view_that_is_off_shows_and_records_nothing() {
    let admin = admin_with(LiveView::Off);
    assert!(admin.live().is_none());
    for path in ["/", "/live", "/live/message?number=1", "/live/state"] {
        let answer = get(&admin, path, "127.0.0.1");
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert!(body(&get(&admin, "/", "127.0.0.1")).contains("token"));
    assert_eq!(give(&admin, "token=").status, StatusCode::NOT_FOUND);
    assert_eq!(get(&admin, "/metrics", "x").status, StatusCode::OK);
}

#[test]
fn the_strip_shows_each_projects_posthog_and_spool() {
    let admin = admin();
    let strip: Value = serde_json::from_str(&body(&get(&admin, "/live/state", "[::1]"))).unwrap();
    let project = &strip["projects"][0];
    assert_eq!(project["posthog"], "away");
    assert_eq!(project["failing_since"], 1_795_166_100);
    assert_eq!(project["last_error"]["says"], "is in trouble (503)");
    assert_eq!(
        (&project["waiting"], &project["waiting_for"]),
        (&5.into(), &0.into())
    );
    assert_eq!(strip["refused_lately"][0]["code"], "missing_event");
    assert!(admin.begins_sampling() && !admin.begins_sampling());
}

#[test]
fn the_page_asks_for_nothing_from_elsewhere() {
    let admin = admin();
    let mut paths = vec!["/".to_owned()];
    let mut read = 0;
    while let Some(path) = paths.get(read) {
        assert!(path.starts_with('/') && !path.starts_with("//"), "{path}");
        let answer = get(&admin, path, "localhost");
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        let text = body(&answer);
        // Links to pages such as metrics and health are on the same address and are followed too.
        for mark in ["src=\"", "href=\"", "from '", "import('", "url("] {
            for found in text.split(mark).skip(1) {
                let end = found.find(['"', '\'', ')']).unwrap();
                let one = found[..end].to_owned();
                if !paths.contains(&one) && !one.starts_with(['#']) && !one.starts_with("data:") {
                    paths.push(one);
                }
            }
        }
        read += 1;
    }
    assert!(paths.len() > 10, "{paths:?}");
}

#[test]
fn the_configuration_at_work_is_shown_without_its_secrets_to_who_may_see_the_live_view() {
    let text = "projects: {shop: {host: us, api_key: phc_secret}}\n";
    let outline = Arc::new(crate::config::outline_of(text).unwrap());
    let with_outline = |view| {
        let outline = Arc::clone(&outline);
        let mut admin = admin_with(view);
        admin.state = Box::new(move || ProxyState {
            config: ConfigState {
                generation: 3,
                outline: Some(Arc::clone(&outline)),
                last_refusal: Some(ConfigRefusal {
                    at: 1_795_166_100,
                    says: "hedgerow.yaml:1:1: no".to_owned(),
                }),
                ..ConfigState::default()
            },
            ..state()
        });
        admin
    };
    let admin = with_outline(LiveView::Open);
    let answer = get(&admin, "/config", "127.0.0.1");
    assert!(!body(&answer).contains("phc_secret"));
    let answer: Value = serde_json::from_str(&body(&answer)).unwrap();
    assert_eq!(answer["generation"], 3);
    let values = answer["values"].as_array().unwrap();
    let key = json!({"path": "projects.shop.api_key", "value": "(hidden)"});
    assert!(values.contains(&key), "{answer}");
    let salted = body(&get(&admin, "/config?salt=0123456789abcdef", "127.0.0.1"));
    assert!(!salted.contains("phc_secret") && salted.contains("\"digest\":\""));
    let short = get(&admin, "/config?salt=1", "127.0.0.1");
    assert_eq!(short.status, StatusCode::BAD_REQUEST);
    // The strip of the live view shows it too.
    let strip: Value =
        serde_json::from_str(&body(&get(&admin, "/live/state", "127.0.0.1"))).unwrap();
    assert_eq!(strip["config"]["generation"], 3);
    assert_eq!(strip["config"]["refused"]["says"], "hedgerow.yaml:1:1: no");
    assert_eq!(strip["config"]["refused"]["at"], 1_795_166_100);
    // The page is refused for another host name, without the token, and if the live view is off.
    let named = get(&admin, "/config", "rebound.example");
    assert_eq!(named.status, StatusCode::MISDIRECTED_REQUEST);
    let token = LiveView::Token(AccessToken::new("0123456789abcdef+/").unwrap());
    for (view, status) in [(token, 401), (LiveView::Off, 404)] {
        let answer = get(&with_outline(view), "/config", "127.0.0.1");
        assert_eq!(answer.status, status);
    }
}
