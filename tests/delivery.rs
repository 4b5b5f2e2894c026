//! Events of Segment's clients arrive at PostHog, and PostHog's answer decides the answer to the
//! client.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "delivery/answers.rs"]
mod answers;
#[path = "delivery/consent.rs"]
mod consent;
#[path = "delivery/lenient.rs"]
mod lenient;
#[path = "delivery/refused_events.rs"]
mod refused_events;
mod support;

use std::collections::BTreeMap;

use hedgerow::demo::capture::InjectedFault;
use http::StatusCode;
use support::client::{chunk, post, Client};
use support::proxy::{yaml, PostHog, Proxy};
use support::recorder::Recorder;
use support::{batch, eventually, gzip, h2, track};

const TRACK: &str =
    r#"{"event":"Order Completed","userId":"u-1","messageId":"m-1","properties":{"total":1.50}}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_arrives_once_and_the_client_gets_200() {
    let posthog = PostHog::start().await;
    let proxy = Proxy::start(&yaml(&posthog.url())).await;
    let mut client = Client::connect(proxy.address).await;
    let answer = client
        .exchange(&post(
            "/hr/v1/track",
            "Content-Type: text/plain\r\n",
            TRACK.as_bytes(),
        ))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["success"], true);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("set-cookie"), "");
    let events = posthog.events(1).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].event, "Order Completed");
    assert_eq!(events[0].distinct_id, "u-1");
    assert_eq!(events[0].token, "phc_test");
    assert!(events[0].raw.contains("1.50"), "{}", events[0].raw);
    // The connection stays usable.
    let second = TRACK.replace("m-1", "m-2");
    let answer = client.exchange(&post("/hr/t", "", second.as_bytes())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(posthog.events(2).await.len(), 2);
    assert_eq!(proxy.hedgerow.counts().events, 2);
    assert_eq!(proxy.hedgerow.counts().held, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_of_every_sdk_is_served() {
    let posthog = PostHog::start().await;
    let proxy = Proxy::start(&yaml(&posthog.url())).await;
    let mut client = Client::connect(proxy.address).await;
    let item = track("x", 200);
    let whole = format!("{{\"batch\":[{item}]}}");
    let mut sent = 0;
    for (path, body) in [
        ("/hr/v1/track", item.as_str()),
        ("/hr/v1/track/", &item),
        ("/hr/t", &item),
        ("/hr/v1/batch", &whole),
        ("/hr/v1/b", &whole),
        ("/hr/v1/import/", &whole),
        ("/hr/", &whole),
        ("/hr", &whole),
    ] {
        let answer = client.exchange(&post(path, "", body.as_bytes())).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        sent += 1;
        assert_eq!(posthog.events(sent).await.len() as u64, sent, "{path}");
    }
    // Hedgerow accepts the SDKs' telemetry and drops it.
    let answer = client
        .exchange(&post("/hr/v1/m", "", b"{\"series\":[]}"))
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(posthog.capture.stored(), sent);
    assert_eq!(posthog.capture.requests(), sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_arrive_in_every_encoding_and_framing() {
    let posthog = PostHog::start().await;
    let proxy = Proxy::start(&yaml(&posthog.url())).await;
    let whole = batch(3, 300);
    let packed = gzip(whole.as_bytes());
    let mut client = Client::connect(proxy.address).await;
    let gzipped = "Content-Encoding: gzip\r\n";
    for (name, headers, body) in [
        ("plain", "", whole.as_bytes()),
        ("gzip by header", gzipped, &packed),
        ("gzip by its first bytes", "", &packed),
    ] {
        let answer = client.exchange(&post("/hr/v1/b", headers, body)).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
    }
    // Kotlin: gzip, chunked, without a length; cut at any byte.
    client
        .send(b"POST /hr/v1/b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n")
        .await;
    for piece in packed.chunks(7) {
        client.send(&chunk(piece)).await;
    }
    client.send(b"0\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(posthog.events(12).await.len(), 12);
    for (name, headers, body) in [
        ("cut short", gzipped, &packed[..packed.len() - 4]),
        ("unknown", "Content-Encoding: br\r\n", whole.as_bytes()),
        ("no JSON", "", &b"{\"event\":"[..]),
    ] {
        let answer = client.exchange(&post("/hr/v1/b", headers, body)).await;
        assert_eq!(answer.status, 400, "{name}: {answer:?}");
        assert_eq!(answer.json()["success"], false, "{name}");
    }
    assert_eq!(posthog.capture.stored(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_message_among_a_hundred_keeps_none_of_the_others_back() {
    let posthog = PostHog::start().await;
    let proxy = Proxy::start(&yaml(&posthog.url())).await;
    let mut items: Vec<String> = (0..100).map(|n| track(&n.to_string(), 200)).collect();
    items[42] = r#"{"type":"track","event":"No user","messageId":"m-42"}"#.to_owned();
    let body = format!("{{\"batch\":[{}]}}", items.join(","));
    let mut client = Client::connect(proxy.address).await;
    let answer = client
        .exchange(&post("/hr/v1/batch", "", body.as_bytes()))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut ids: Vec<String> = posthog
        .events(99)
        .await
        .iter()
        .map(|event| event.distinct_id.clone())
        .collect();
    let mut expected: Vec<String> = (0..100)
        .filter(|n| *n != 42)
        .map(|n| format!("u-{n}"))
        .collect();
    ids.sort();
    expected.sort();
    assert_eq!(ids, expected);
    let counts = proxy.hedgerow.counts();
    assert_eq!(counts.events, 99);
    assert_eq!(counts.refused, BTreeMap::from([("missing_distinct_id", 1)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pixel_is_delivered_and_always_answered_with_the_picture() {
    let posthog = PostHog::start().await;
    let proxy = Proxy::start(&yaml(&posthog.url())).await;
    let mut client = Client::connect(proxy.address).await;
    let get = |method: &str, query: &str| {
        format!(
            "{method} /hr/v1/pixel/track?{query} HTTP/1.1\r\nHost: h\r\nUser-Agent: Mail/1\r\n\r\n"
        )
        .into_bytes()
    };
    let answer = client
        .exchange(&get(
            "GET",
            "userId=u-9&event=Email+Opened&properties.subject=Hi",
        ))
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "image/gif");
    assert!(answer.body.starts_with(b"GIF89a"));
    let events = posthog.events(1).await;
    assert_eq!(events[0].event, "Email Opened");
    assert_eq!(events[0].properties["subject"], "Hi");

    for query in ["data=***", "event=NoUser", ""] {
        let answer = client.exchange(&get("GET", query)).await;
        assert_eq!((answer.status, answer.body.len()), (200, 42), "{query}");
    }
    client.send(&get("HEAD", "userId=u-9&event=Twice")).await;
    let answer = client.answer_to_head().await;
    assert_eq!(
        (answer.status, answer.header("content-length").as_str()),
        (200, "42")
    );
    posthog
        .capture
        .set_fault(InjectedFault::Status(StatusCode::SERVICE_UNAVAILABLE, None));
    let answer = client.exchange(&get("GET", "userId=u-9&event=Lost")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(posthog.capture.stored(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_write_key_leads_to_its_project_also_on_another_host() {
    let (one, two) = (PostHog::start().await, PostHog::start().await);
    let yaml = format!(
        "projects:\n  shop: {{host: \"{}\", api_key: phc_shop}}\n  blog: {{host: \"{}\", api_key: phc_blog}}\n\
         routes:\n  - path: /hr/\n    segment: {{write_keys: {{wk_shop: shop, wk_blog: blog}}}}\n\
         delivery: {{spool: \"off\"}}\n",
        one.url(),
        two.url()
    );
    let proxy = Proxy::start(&yaml).await;
    // Basic base64("wk_blog:"), base64("wk_shop"), base64("user:password")
    let (blog, shop) = (
        "Authorization: Basic d2tfYmxvZzo=\r\n",
        "Authorization: Basic d2tfc2hvcA==\r\n",
    );
    let person = "Authorization: Basic dXNlcjpwYXNzd29yZA==\r\n";
    let keyed = |key: &str| format!("{{\"writeKey\":\"{key}\",{}", &TRACK[1..]);
    let item = |key: &str| {
        let item = track("i", 200);
        format!("{{\"batch\":[{{\"writeKey\":\"{key}\",{}]}}", &item[1..])
    };
    let rows = [
        ("header", "/hr/t", blog, TRACK.to_owned(), "blog"),
        (
            "header before body",
            "/hr/t",
            shop,
            keyed("wk_blog"),
            "shop",
        ),
        ("body", "/hr/t", "", keyed("wk_blog"), "blog"),
        ("first item", "/hr/b", "", item("wk_blog"), "blog"),
        (
            "query",
            "/hr/t?writeKey=wk_shop",
            "",
            TRACK.to_owned(),
            "shop",
        ),
        (
            "a password of the site",
            "/hr/t",
            person,
            keyed("wk_blog"),
            "blog",
        ),
        ("unknown", "/hr/t", "", keyed("wk_unknown"), "401"),
        ("none", "/hr/t", "", TRACK.to_owned(), "401"),
    ];
    let (mut at_one, mut at_two) = (0, 0);
    for (name, path, headers, body, expected) in rows {
        let mut client = Client::connect(proxy.address).await;
        let answer = client.exchange(&post(path, headers, body.as_bytes())).await;
        match expected {
            "shop" => at_one += 1,
            "blog" => at_two += 1,
            _ => {
                assert_eq!(answer.status, 401, "{name}: {answer:?}");
                assert_eq!(answer.json()["code"], "unknown_write_key", "{name}");
                continue;
            }
        }
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        assert_eq!(
            (one.capture.stored(), two.capture.stored()),
            (at_one, at_two),
            "{name}"
        );
    }
    for event in one.capture.events() {
        assert_eq!(event.token, "phc_shop");
    }
    for event in two.capture.events() {
        assert_eq!(event.token, "phc_blog");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clients_address_is_all_that_posthog_learns_of_its_request() {
    let upstream = Recorder::start().await;
    let request = "Cookie: session=1\r\nAuthorization: Basic d2s6\r\nX-Retry-Count: 1\r\n\
        X-Forwarded-For: 203.0.113.7, 198.51.100.2\r\nX-Real-IP: 203.0.113.8\r\n\
        Forwarded: for=203.0.113.9\r\nOrigin: https://shop.example.com\r\nReferer: https://shop.example.com/x\r\n\
        User-Agent: Firefox\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nX-Capture-Debug: 1\r\n";
    let plain = yaml(&upstream.url());
    let trusting = format!("trusted_proxies: [127.0.0.0/8]\n{plain}");
    for (number, (yaml, client)) in [(plain, "127.0.0.1"), (trusting, "198.51.100.2")]
        .into_iter()
        .enumerate()
    {
        let proxy = Proxy::start(&yaml).await;
        let mut sender = Client::connect(proxy.address).await;
        let answer = sender
            .exchange(&post("/hr/t", request, TRACK.as_bytes()))
            .await;
        assert_eq!(answer.status, 200);
        let sent = &upstream.requests(number + 1).await[number];
        assert!(
            sent.head.starts_with("POST /batch/ HTTP/1.1\r\n"),
            "{}",
            sent.head
        );
        let mut names: Vec<String> = sent
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.to_ascii_lowercase())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "accept",
                "content-length",
                "content-type",
                "host",
                "user-agent",
                "x-forwarded-for"
            ]
        );
        assert_eq!(sent.header("x-forwarded-for").as_deref(), Some(client));
        assert_eq!(sent.header("host"), Some(upstream.address.to_string()));
        assert_eq!(
            sent.header("content-type").as_deref(),
            Some("application/json")
        );
        assert!(!sent.header("user-agent").unwrap().contains("Firefox"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hangs_up_after_its_body_has_its_events_delivered() {
    let posthog = PostHog::start().await;
    let proxy = Proxy::start(&yaml(&posthog.url())).await;
    let mut expected = 0;
    for (name, messages, bytes) in [("small", 1, 200), ("large", 100, 3000)] {
        let body = batch(messages, bytes);
        let request = post("/hr/v1/batch", "", body.as_bytes());

        let mut client = Client::connect(proxy.address).await;
        client.send(&request).await;
        client.half_close().await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 200, "{name}, half-closed: {answer:?}");
        expected += messages as u64;
        posthog.events(expected).await;

        let mut client = Client::connect(proxy.address).await;
        client.send(&request).await;
        drop(client);
        expected += messages as u64;
        posthog.events(expected).await;
    }
    // A client that hangs up in the middle of its body delivers no event.
    let body = batch(10, 300);
    let mut client = Client::connect(proxy.address).await;
    let request = post("/hr/v1/batch", "", body.as_bytes());
    client.send(&request[..request.len() - 10]).await;
    drop(client);
    eventually("the request is over", || {
        (proxy.hedgerow.counts().held == 0).then_some(())
    })
    .await;
    let mut client = Client::connect(proxy.address).await;
    client.exchange(&post("/hr/t", "", TRACK.as_bytes())).await;
    assert_eq!(posthog.capture.stored(), expected + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_clients_are_served_with_an_empty_frame_at_the_end() {
    let posthog = PostHog::start().await;
    let proxy = Proxy::start_h2c(&yaml(&posthog.url())).await;
    let mut client = h2::Client::connect(proxy.address).await;
    let body = batch(5, 300);
    let (first, second) = body.as_bytes().split_at(100);
    let answer = client
        .exchange("/hr/v1/b", &[("origin", "null")], &[first, second, b""])
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body, b"{\"success\":true}");
    assert_eq!(answer.headers["access-control-allow-origin"], "null");
    assert_eq!(posthog.events(5).await.len(), 5);
    // Over HTTP/2, `:authority` finds the route of one host.
    let yaml = yaml(&posthog.url()).replace("- path", "- host: shop.example.com\n    path");
    let proxy = Proxy::start_h2c(&yaml).await;
    let mut client = h2::Client::connect(proxy.address).await;
    let answer = client.exchange("/hr/t", &[], &[TRACK.as_bytes()]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}
