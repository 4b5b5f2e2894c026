//! The answers to clients, and the log lines for the operator.

use std::collections::BTreeMap;

use super::support;
use super::support::client::{post, Client};
use super::support::proxy::{yaml, PostHog, Proxy};
use super::support::recorder::{response, Act, Recorder};
use super::support::track;
use super::TRACK;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_of_other_origins_get_cors_headers_also_with_errors() {
    let posthog = PostHog::start().await;
    let yaml = yaml(&posthog.url()).replace("write_keys: any", "write_keys: [wk_known]");
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::connect(proxy.address).await;
    let origin = "Origin: https://shop.example.com\r\n";
    let answer = client
        .exchange(
            format!(
                "OPTIONS /hr/v1/t HTTP/1.1\r\nHost: h\r\n{origin}\
                 Access-Control-Request-Method: POST\r\n\
                 Access-Control-Request-Headers: authorization,x-retry-count\r\n\r\n"
            )
            .as_bytes(),
        )
        .await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "https://shop.example.com"
    );
    assert_eq!(answer.header("content-length"), "");
    let allowed = answer.header("access-control-allow-headers");
    for name in ["authorization", "content-type", "x-retry-count"] {
        assert!(allowed.contains(name), "{allowed}");
    }
    let known = TRACK.replace("{", "{\"writeKey\":\"wk_known\",");
    let known = known.replacen("{\"writeKey\":\"wk_known\",\"total\"", "{\"total\"", 1);
    let large = known.replace("1.50", &format!("\"{}\"", "x".repeat(11 << 20)));
    for (name, path, body, status) in [
        ("accepted", "/hr/t", known.as_str(), 200),
        ("unknown key", "/hr/t", TRACK, 401),
        ("no JSON", "/hr/t?writeKey=wk_known", "nothing", 400),
        ("unknown path", "/hr/x", "{}", 404),
        ("too large", "/hr/t", &large, 413),
    ] {
        let mut client = Client::connect(proxy.address).await;
        let answer = client.exchange(&post(path, origin, body.as_bytes())).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.head);
        assert_eq!(answer.json()["success"], status == 200, "{name}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            "https://shop.example.com",
            "{name}"
        );
        assert_eq!(
            answer.header("access-control-expose-headers"),
            "Retry-After, X-RateLimit-Reset",
            "{name}"
        );
    }
    let answer = client
        .exchange(b"GET /hr/t HTTP/1.1\r\nHost: h\r\n\r\n")
        .await;
    assert_eq!(
        (answer.status, answer.header("allow").as_str()),
        (405, "POST, PUT, OPTIONS")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posthogs_no_and_its_silence_are_both_try_again_later() {
    let rows = [
        ("401 Unauthorized", "", "60"),
        ("400 Bad Request", "", "60"),
        ("413 Payload Too Large", "", "60"),
        ("404 Not Found", "", "60"),
        (
            "301 Moved",
            "Location: https://elsewhere.example.com/\r\n",
            "60",
        ),
        ("200 OK", "Content-Type: text/html; charset=utf-8\r\n", "60"),
        ("429 Too Many Requests", "Retry-After: 7\r\n", "7"),
        ("503 Unavailable", "", "10"),
        ("503 Unavailable", "Retry-After: 99999\r\n", "300"),
        ("500 Internal Server Error", "Retry-After: soon\r\n", "10"),
    ];
    for (status, headers, wait) in rows {
        let said = response(status, headers, "{\"secret\":\"of PostHog\"}");
        let upstream = Recorder::that(move |_| Act::Answer(said.clone())).await;
        let proxy = Proxy::start(&yaml(&upstream.url())).await;
        let mut client = Client::connect(proxy.address).await;
        let answer = client
            .exchange(&post("/hr/t", "Origin: null\r\n", TRACK.as_bytes()))
            .await;
        assert_eq!(answer.status, 503, "{status}: {answer:?}");
        assert_eq!(answer.header("retry-after"), wait, "{status}");
        assert_eq!(answer.header("x-ratelimit-reset"), wait, "{status}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            "null",
            "{status}"
        );
        assert_eq!(answer.json()["success"], false, "{status}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("PostHog"));
        assert_eq!(upstream.seen().len(), 1, "{status}");
        assert_eq!(proxy.hedgerow.counts().busy, 1);
    }
    let refused = support::address::unused_address();
    let deaf = Recorder::that(|_| Act::Silence).await;
    let rude = Recorder::that(|_| Act::Close).await;
    for (name, host) in [
        ("no listener", format!("http://{refused}")),
        ("no answer", deaf.url()),
        ("hangs up", rude.url()),
        ("no such name", format!("http://{}.invalid", "a".repeat(64))),
    ] {
        let yaml = yaml(&host).replace("timeout: 5s", "timeout: 1s");
        let proxy = Proxy::start(&yaml).await;
        let mut client = Client::connect(proxy.address).await;
        let answer = client.exchange(&post("/hr/t", "", TRACK.as_bytes())).await;
        assert_eq!(answer.status, 503, "{name}: {answer:?}");
        assert_eq!(answer.header("retry-after"), "10", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_expects_continue_is_asked_to_go_on_or_refused_at_once() {
    let posthog = PostHog::start().await;
    let proxy = Proxy::start(&yaml(&posthog.url())).await;
    let mut client = Client::connect(proxy.address).await;
    let request = post("/hr/t", "Expect: 100-continue\r\n", TRACK.as_bytes());
    let (head, body) = request.split_at(request.len() - TRACK.len());
    client.send(head).await;
    assert_eq!(client.next().await.unwrap().status, 100);
    client.send(body).await;
    let answer = client.next().await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(posthog.events(1).await.len(), 1);
    // The connection stays open.
    let answer = client.exchange(&post("/hr/t", "", TRACK.as_bytes())).await;
    assert_eq!(answer.status, 200);

    let huge = format!(
        "POST /hr/t HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        11 << 20
    );
    client.send(huge.as_bytes()).await;
    let answer = client.next().await.unwrap();
    assert_eq!(answer.status, 413, "no 100 before it: {answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_message_of_a_request_is_refused_with_413_when_it_is_too_large() {
    let posthog = PostHog::start().await;
    let proxy = Proxy::start(&yaml(&posthog.url())).await;
    let large = track("large", 950_000);
    let mut client = Client::connect(proxy.address).await;
    let answer = client.exchange(&post("/hr/t", "", large.as_bytes())).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    let mixed = format!("{{\"batch\":[{large},{}]}}", track("small", 200));
    let answer = client.exchange(&post("/hr/b", "", mixed.as_bytes())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let events = posthog.events(1).await;
    assert_eq!(events[0].distinct_id, "u-small");
    assert_eq!(
        proxy.hedgerow.counts().refused,
        BTreeMap::from([("too_large", 2)])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_says_once_what_to_do_and_never_a_secret() {
    support::log::keep();
    let answering = |status: &'static str| {
        Recorder::that(move |_| Act::Answer(response(status, "", "phc_test s3cret")))
    };
    let (key, page) = (answering("401 No").await, answering("404 No").await);
    let rude = Recorder::that(|_| Act::Close).await;
    let other = Recorder::that(|_| Act::AnswerAndClose(b"SSH-2.0-x\r\n\r\n".to_vec())).await;
    let dead = support::address::dead_url();
    let nowhere = format!("http://{}.invalid", "b".repeat(64));
    for (host, advice) in [
        (key.url(), "Check `api_key`"),
        (page.url(), "not PostHog's ingestion API"),
        (rude.url(), "closed the connection without an answer"),
        (other.url(), "sent something that is no HTTP answer"),
        (dead, "no connection"),
        (nowhere, "cannot be resolved"),
    ] {
        let proxy = Proxy::start(&yaml(&host).replace("shop", "told")).await;
        let body = TRACK.replace("1.50", "\"s3cret\"");
        for _ in 0..5 {
            let mut client = Client::connect(proxy.address).await;
            let path = "/hr/t?writeKey=wk_s3cret";
            let headers = "Authorization: Basic czNjcmV0Og==\r\n";
            let answer = client.exchange(&post(path, headers, body.as_bytes())).await;
            assert_eq!(answer.status, 503, "{answer:?}");
        }
        // Another test of this process may have had the same port before.
        let mut lines = support::log::lines(&host);
        lines.retain(|line| line.contains("project told"));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("ERROR"), "{lines:?}");
        assert!(lines[0].contains(advice), "{lines:?}");
    }
    // The log names the reason of a refused message and shows none of its content.
    let posthog = PostHog::start().await;
    let proxy = Proxy::start(&yaml(&posthog.url())).await;
    let mut client = Client::connect(proxy.address).await;
    for _ in 0..3 {
        let body = r#"{"event":"s3cret","messageId":"s3cret"}"#;
        let answer = client.exchange(&post("/hr/t", "", body.as_bytes())).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert!(!support::log::lines("missing_distinct_id").is_empty());
    for secret in ["s3cret", "phc_test", "czNjcmV0Og", "writeKey"] {
        let lines = support::log::lines(secret);
        assert!(lines.is_empty(), "{lines:?}");
    }
}
