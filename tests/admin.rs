//! The admin address of the real binary counts and shows what happens.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "outage/binary.rs"]
#[allow(dead_code)]
mod binary;
#[path = "admin/health.rs"]
mod health;
#[path = "admin/log.rs"]
mod log_of_the_process;
#[path = "admin/refusals.rs"]
mod refusals;
mod support;

use std::net::SocketAddr;

use binary::Binary;
use hedgerow::demo::capture::InjectedFault;
use http::StatusCode;
use support::address::unused_address;
use support::client::{post, Answer, Client};
use support::proxy::{yaml, PostHog, Proxy};
use support::track;

async fn get(address: SocketAddr, path: &str) -> Answer {
    let mut client = Client::connect(address).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    client.exchange(request.as_bytes()).await
}

/// The value of one line of the metrics.
async fn metric(address: SocketAddr, name: &str) -> u64 {
    let answer = get(address, "/metrics").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = String::from_utf8(answer.body).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in\n{text}"));
    line.trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_counted_shown_and_logged() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let admin = unused_address();
    let spool = format!("{{path: {:?}}}", folder.path().join("spool"));
    let text = yaml(&posthog.url()).replace("\"off\"", &spool);
    let mut binary = Binary::new(folder.path(), &format!("admin: \"{admin}\"\n{text}"), "").await;
    // Opens the live view.
    assert_eq!(get(admin, "/").await.status, 200);
    assert_eq!(get(admin, "/live?after=0").await.json()["latest"], 0);
    let mut client = Client::connect(binary.address).await;
    for id in ["1", "2"] {
        let answer = client
            .exchange(&post("/hr/v1/t", "", track(id, 300).as_bytes()))
            .await;
        assert_eq!(answer.status, 200);
    }
    let unkeyed = post("/hr/v1/t", "", b"{\"event\":\"Unkeyed\"}");
    assert_eq!(client.exchange(&unkeyed).await.status, 200);
    assert_eq!(
        metric(
            admin,
            "hedgerow_messages_total{outcome=\"converted\",reason=\"ok\"}"
        )
        .await,
        2
    );
    let refused = "hedgerow_messages_total{outcome=\"refused\",reason=\"missing_distinct_id\"}";
    assert_eq!(metric(admin, refused).await, 1);
    let batches = "hedgerow_batches_total{project=\"shop\",outcome=";
    assert_eq!(metric(admin, &format!("{batches}\"accepted\"}}")).await, 2);
    let news = get(admin, "/live?after=0").await.json();
    let fates: Vec<_> = news["entries"].as_array().unwrap().iter().collect();
    assert_eq!(fates.len(), 3, "{news}");
    assert_eq!(fates[2]["fate"], "refused");
    let detail = get(admin, "/live/message?number=1").await.json();
    assert_eq!(detail["explain"]["distinct_id"], "userId", "{detail}");
    let left = detail["left"].as_str().unwrap();
    assert!(left.contains("\"distinct_id\": \"u-1\""), "{left}");
    // The pages show that PostHog is away.
    posthog
        .capture
        .set_fault(InjectedFault::Status(StatusCode::SERVICE_UNAVAILABLE, None));
    for id in ["3", "4", "5", "6"] {
        let answer = client
            .exchange(&post("/hr/v1/t", "", track(id, 300).as_bytes()))
            .await;
        assert_eq!(answer.status, 200);
    }
    let health = get(admin, "/health").await;
    assert_eq!(health.status, 200);
    assert_eq!(health.json()["waiting"], 4, "{}", health.json());
    let waiting = "hedgerow_spool_waiting_events{project=\"shop\"}";
    assert_eq!(metric(admin, waiting).await, 4);
    assert!(metric(admin, &format!("{batches}\"busy\"}}")).await > 0);
    assert_eq!(
        metric(admin, "hedgerow_spool_events_total{outcome=\"stored\"}").await,
        4
    );
    // The site's own address serves none of these pages.
    let mut outside = Client::connect(binary.address).await;
    let request = b"GET /metrics HTTP/1.1\r\nHost: shop.example.com\r\n\r\n";
    assert_eq!(outside.exchange(request).await.status, 404);
    posthog.capture.set_fault(InjectedFault::None);
    posthog.events(6).await;
    assert_eq!(binary.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_that_differ_from_the_senders_intent_are_counted_and_logged_once() {
    support::log::keep();
    let posthog = PostHog::start().await;
    let text = yaml(&posthog.url()).replace("routes:", "limits: {window: 64KiB}\nroutes:");
    let proxy = Proxy::start(&text).await;
    let mut client = Client::connect(proxy.address).await;
    // A body larger than the window, with `sentAt` at the end as analytics.js writes it.
    let messages: Vec<_> = (0..300).map(|id| track(&id.to_string(), 500)).collect();
    let messages = messages.join(",");
    for key in ["sentAt", "writeKey", "timestamp"] {
        let body = format!(r#"{{"batch":[{messages}],"{key}":"2026-11-23T21:00:00Z"}}"#);
        let answer = client
            .exchange(&post("/hr/v1/batch", "", body.as_bytes()))
            .await;
        assert_eq!(answer.status, 200, "{key}: {answer:?}");
    }
    for time in [
        "\"soon\"",
        "17",
        "1700000000",
        "\"2023-11-14 22:13:20 UTC\"",
    ] {
        let body = format!(r#"{{"event":"E","userId":"u","timestamp":{time}}}"#);
        let answer = client
            .exchange(&post("/hr/v1/t", "", body.as_bytes()))
            .await;
        assert_eq!(answer.status, 200, "{time}: {answer:?}");
    }
    posthog.events(904).await;
    for (code, count) in [("late_sent_at", 1), ("unreadable_time", 2)] {
        let notices = proxy.hedgerow.counts().notices;
        assert_eq!(notices.get(code), Some(&count), "{notices:?}");
        let lines = support::log::lines(&format!("project shop: {code}: "));
        assert_eq!(lines.len(), 1, "{lines:?}");
    }
    // Messages that left before the context of the batch came do not have it.
    let body = format!(r#"{{"batch":[{messages}],"context":{{"ip":"192.0.2.1"}}}}"#);
    let answer = client
        .exchange(&post("/hr/v1/batch", "", body.as_bytes()))
        .await;
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (400, Some("late_batch_key"))
    );
}
