//! Rejected requests and events are visible: counted, logged and shown.

use std::sync::Arc;

use hedgerow::admin::Admin;
use hedgerow::demo::capture::InjectedFault;
use hedgerow::demo::http::{Handler, Request};
use http::{Method, StatusCode};
use serde_json::Value;

use super::support::client::{post, Client};
use super::support::proxy::{PostHog, Proxy};
use super::support::recorder::{response, Act, Recorder, OK};
use super::support::{eventually, log, track};

fn asked(admin: &Arc<Admin>, target: &str) -> String {
    let mut request = Request::new(Method::GET, target);
    request
        .headers
        .insert("host", "127.0.0.1".parse().expect("a host"));
    String::from_utf8(admin.handle(&request).body.to_vec()).expect("text")
}

fn live(admin: &Arc<Admin>) -> Vec<Value> {
    let news: Value = serde_json::from_str(&asked(admin, "/live?after=0")).expect("JSON");
    let rows = news["entries"].as_array().expect("a list").iter();
    let detail = |row: &Value| asked(admin, &format!("/live/message?number={}", row["number"]));
    rows.map(|row| serde_json::from_str(&detail(row)).expect("JSON"))
        .collect()
}

fn yaml(host: &str, name: &str, more: &str) -> String {
    format!(
        "admin: 127.0.0.1:0\n\
         projects: {{{name}: {{host: \"{host}\", api_key: phc_test}}}}\n\
         routes: [{{path: /{name}/, segment: {{project: {name}, write_keys: [wk_right_1234]}}}}]\n\
         {more}"
    )
}

/// The case's name, its request, and the reported values: status, call, code, last characters of
/// the key.
type Row = (
    &'static str,
    Vec<u8>,
    u16,
    &'static str,
    &'static str,
    &'static str,
);

/// An `Authorization` header with this key.
fn basic(key: &str) -> String {
    use base64::Engine;
    let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{key}:"));
    format!("Authorization: Basic {credentials}\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rejected_request_is_counted_shown_and_logged_with_its_route_and_call() {
    log::keep();
    let posthog = PostHog::start().await;
    let proxy = Proxy::start(&yaml(&posthog.url(), "seen", "limits: {body: 4kB}\n")).await;
    let admin = proxy.hedgerow.admin().expect("it is on");
    live(&admin);
    let message = track("1", 200);
    let keyed = |key: &str| message.replacen('{', &format!("{{\"writeKey\":\"{key}\","), 1);
    let right = basic("wk_right_1234");
    let get = |path: &str, method: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: shop.example.com\r\n\r\n").into_bytes()
    };
    let large = "x".repeat(5000);
    let pixel = "/seen/v1/pixel/track?data=eyJldmVudCI6IkEiLCJ1c2VySWQiOiJ1IiwKIndyaXRlS2V5Ijoid2tfd3JvbmdfcGl4ZWwifQ==";
    let rows: [Row; 14] = [
        (
            "wrong key in the header",
            post("/seen/v1/t", &basic("wk_wrong_abcd"), message.as_bytes()),
            401,
            "track",
            "unknown_write_key",
            "…abcd",
        ),
        (
            "wrong key in the body",
            post("/seen/v1/b", "", keyed("wk_wrong_efgh").as_bytes()),
            401,
            "batch",
            "unknown_write_key",
            "…efgh",
        ),
        (
            "no key",
            post("/seen/v1/i", "", message.as_bytes()),
            401,
            "identify",
            "unknown_write_key",
            "",
        ),
        (
            "a pixel's wrong key",
            get(pixel, "GET"),
            200,
            "pixel",
            "unknown_write_key",
            "…ixel",
        ),
        (
            "a pixel that cannot be read",
            get("/seen/v1/pixel/track?data=%25", "GET"),
            200,
            "pixel",
            "not_delivered",
            "",
        ),
        (
            "no call",
            post("/seen/v1/nothing", &right, message.as_bytes()),
            404,
            "unknown",
            "unknown_path",
            "",
        ),
        (
            "no method",
            get("/seen/v1/t", "DELETE"),
            405,
            "unknown",
            "method_not_allowed",
            "",
        ),
        (
            "too large",
            post("/seen/v1/p", &right, large.as_bytes()),
            413,
            "page",
            "too_large",
            "",
        ),
        (
            "no JSON",
            post("/seen/v1/t", &right, b"hello"),
            400,
            "track",
            "invalid_json",
            "",
        ),
        (
            "empty",
            post("/seen/v1/s", &right, b""),
            400,
            "screen",
            "empty_body",
            "",
        ),
        (
            "unknown coding",
            post(
                "/seen/v1/g",
                &format!("{right}Content-Encoding: br\r\n"),
                b"x",
            ),
            400,
            "group",
            "unknown_encoding",
            "",
        ),
        (
            "damaged gzip",
            post(
                "/seen/v1/a",
                &format!("{right}Content-Encoding: gzip\r\n"),
                b"xxxx",
            ),
            400,
            "alias",
            "damaged_gzip",
            "",
        ),
        (
            "no route",
            get("/other", "GET"),
            404,
            "none",
            "no_route",
            "",
        ),
        (
            "a dot segment",
            get("/seen/../etc", "GET"),
            400,
            "none",
            "dot_segment",
            "",
        ),
    ];
    let mut wrong = Vec::new();
    for (what, request, status, call, code, key) in &rows {
        let mut client = Client::connect(proxy.address).await;
        let answer = client.exchange(request).await;
        if answer.status != *status {
            wrong.push(format!("{what}: {answer:?}"));
        }
        let route = if *call == "none" { "none" } else { "/seen/" };
        let line = format!(
            "hedgerow_requests_total{{route=\"{route}\",call=\"{call}\",status=\"{status}\",\
             code=\"{code}\"}} 1\n"
        );
        let metrics = asked(&admin, "/metrics");
        if !metrics.contains(&line) {
            wrong.push(format!("{what}: no {line} in {metrics}"));
        }
        let shown = live(&admin).pop().expect("a row");
        let came: Value =
            serde_json::from_str(shown["came"].as_str().expect("text")).expect("JSON");
        let is_told = shown["fate"] == "rejected"
            && shown["outcome"] == "dropped_here"
            && shown["left"] == format!("{status} {code}")
            && came["route"] == route
            && came["call"] == *call
            && came["write_key"].as_str().unwrap_or_default() == *key;
        if !is_told {
            wrong.push(format!("{what}: {shown}"));
        }
        if route != "none" {
            let said = log::lines(&format!(
                "route /seen/: {call} was refused: {status} {code}"
            ));
            if said.len() != 1 || (!key.is_empty() && !said[0].contains(key)) {
                wrong.push(format!("{what}: {said:?}"));
            }
        }
    }
    for secret in ["wk_wrong", "wk_right", "d3Jvbm"] {
        let said = log::lines(secret);
        let shown = live(&admin);
        let shown = shown.iter().filter(|row| row.to_string().contains(secret));
        if !said.is_empty() || shown.count() > 0 {
            wrong.push(format!("{secret} is told: {said:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let said = log::lines("a pixel's message was lost: its query is missing");
    assert_eq!(said.len(), 1, "{said:?}");
    // The counters include successful requests, and do not count a preflight as a rejection.
    let mut client = Client::connect(proxy.address).await;
    for _ in 0..2 {
        let answer = client
            .exchange(&post("/seen/v1/t", &right, message.as_bytes()))
            .await;
        assert_eq!(answer.status, 200);
    }
    let answer = client.exchange(&get("/seen/v1/t", "OPTIONS")).await;
    assert_eq!(answer.status, 204);
    let metrics = asked(&admin, "/metrics");
    for line in [
        "{route=\"/seen/\",call=\"track\",status=\"200\",code=\"ok\"} 2\n",
        "{route=\"/seen/\",call=\"preflight\",status=\"204\",code=\"ok\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_shown_with_its_final_place() {
    let is_bad = |body: &[u8]| body.windows(5).any(|window| window == b"\"Bad\"");
    let posthog = Recorder::that(move |request| match is_bad(&request.body) {
        true => Act::Answer(response("400 Bad Request", "", "invalid event")),
        false => Act::Answer(OK.to_vec()),
    })
    .await;
    let proxy = Proxy::start(&yaml(&posthog.url(), "ends", "")).await;
    let admin = proxy.hedgerow.admin().expect("it is on");
    live(&admin);
    let item = |event: &str| {
        format!(r#"{{"type":"track","event":"{event}","userId":"u","messageId":"{event}"}}"#)
    };
    let body = format!(
        "{{\"batch\":[{},{},{}]}}",
        item("Good"),
        item("Bad"),
        "{\"type\":\"track\",\"event\":\"Unkeyed\"}"
    );
    let mut client = Client::connect(proxy.address).await;
    let right = basic("wk_right_1234");
    let sent = post("/ends/v1/b", &right, body.as_bytes());
    assert_eq!(client.exchange(&sent).await.status, 200);
    let mut rows = live(&admin);
    rows.sort_by_key(|row| row["number"].as_u64());
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row["fate"].as_str(), row["outcome"].as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (Some("event"), Some("delivered")),
            (Some("refused"), Some("refused_by_posthog")),
            (Some("refused"), Some("dropped_here")),
        ],
        "{rows:#?}"
    );
    assert_eq!(rows[1]["answer"], "400: invalid event");
    assert!(rows[1]["came"]
        .as_str()
        .expect("text")
        .contains("messageId"));
    // One refused batch alone may have another cause, so the client gets the error.
    let alone = post("/ends/v1/t", &right, item("Bad").as_bytes());
    assert_eq!(client.exchange(&alone).await.status, 503);
    assert_eq!(live(&admin).last().expect("a row")["outcome"], "sent_again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_event_is_shown_in_the_spool_until_posthog_accepts_or_rejects_it() {
    log::keep();
    let folder = tempfile::tempdir().expect("a folder");
    let posthog = PostHog::start().await;
    let spool = folder.path().join("spool");
    let more = format!("delivery: {{spool: {{path: {spool:?}}}}}\n");
    let proxy = Proxy::start(&yaml(&posthog.url(), "kept", &more)).await;
    let admin = proxy.hedgerow.admin().expect("it is on");
    live(&admin);
    posthog
        .capture
        .set_fault(InjectedFault::Status(StatusCode::SERVICE_UNAVAILABLE, None));
    let mut client = Client::connect(proxy.address).await;
    let right = basic("wk_right_1234");
    for id in ["1", "2", "3", "4"] {
        let sent = post("/kept/v1/t", &right, track(id, 300).as_bytes());
        assert_eq!(client.exchange(&sent).await.status, 200);
    }
    let outcomes = |wanted: &str| {
        let rows = live(&admin);
        rows.iter().filter(|row| row["outcome"] == wanted).count()
    };
    assert_eq!(outcomes("in_spool"), 4);
    posthog.capture.set_fault(InjectedFault::None);
    eventually("all are delivered", || {
        (outcomes("delivered") == 4).then_some(())
    })
    .await;
    let well = eventually("it is said", || {
        let lines = log::lines("project kept: PostHog accepts events again, after");
        (!lines.is_empty()).then_some(lines)
    })
    .await;
    assert!(
        well.len() == 1 && well[0].starts_with("INFO") && well[0].contains("batches in that time"),
        "{well:?}"
    );
    let empty = eventually("its end is said", || {
        let lines = log::lines("project kept: the spool is empty again: 4 events");
        (!lines.is_empty()).then_some(lines)
    })
    .await;
    assert_eq!(empty.len(), 1, "{empty:?}");
    // Many dead letters cause few lines.
    posthog
        .capture
        .set_fault(InjectedFault::Status(StatusCode::BAD_REQUEST, None));
    for id in 10..20 {
        let sent = post("/kept/v1/t", &right, track(&id.to_string(), 300).as_bytes());
        assert_eq!(client.exchange(&sent).await.status, 200);
    }
    let refused = eventually("some are dead letters", || {
        Some(outcomes("refused_by_posthog")).filter(|refused| *refused >= 2)
    })
    .await;
    let said = log::lines("project kept: PostHog refuses an event for good");
    println!("{refused} dead letters, {} lines", said.len());
    assert!(said.len() <= 2 && said[0].contains("400"), "{said:?}");
    // The log reports their number even if no other line follows.
    let told = eventually("the others are told", || {
        let lines = log::lines("about kept (dead_lettered) were left out");
        (!lines.is_empty()).then_some(lines)
    })
    .await;
    assert_eq!(told.len(), 1, "{told:?}");
}
