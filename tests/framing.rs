//! What PostHog sees on the wire: exact lengths, complete streams, no cut requests, no duplicates.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use hedgerow::proxy::HandlerApp;
use hedgerow::Hedgerow;
use support::client::{chunk, post, Client};
use support::proxy::{config, yaml, yaml_http2, PostHog, Proxy, Speaks};
use support::recorder::{distinct_id, response, Act, Recorder, OK};
use support::tls::{AlpnOffer, Certificates, Secure};
use support::{batch, h2, track, within};

/// The size limit of one request to PostHog, and an event or two (posthog-ingestion 5.1).
const BATCH: usize = (4 << 20) + (1 << 20);

fn ids(messages: usize) -> BTreeSet<String> {
    (0..messages).map(|number| format!("u-{number}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_within_the_window_leaves_with_its_exact_length() {
    let upstream = Recorder::start().await;
    let proxy = Proxy::start(&yaml(&upstream.url())).await;
    let mut client = Client::connect(proxy.address).await;
    for (number, messages) in [1, 3, 200, 900].into_iter().enumerate() {
        let answer = client
            .exchange(&post("/hr/v1/b", "", batch(messages, 1000).as_bytes()))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let sent = upstream.requests(number + 1).await[number].clone();
        let length = sent.header("content-length").unwrap();
        assert_eq!(length, sent.wire.len().to_string());
        assert_eq!(sent.header("transfer-encoding"), None);
        assert_eq!(
            sent.ids().into_iter().collect::<BTreeSet<_>>(),
            ids(messages)
        );
        assert_eq!(sent.connection, 0, "the connection is used again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_larger_body_streams_and_is_cut_into_batches_that_capture_takes() {
    let upstream = Recorder::start().await;
    let proxy = Proxy::start(&yaml(&upstream.url())).await;
    let body = batch(9000, 1000);
    let mut client = Client::connect(proxy.address).await;
    let answer = client
        .exchange(&post("/hr/v1/b", "", body.as_bytes()))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = upstream.seen();
    assert!(seen.len() >= 2, "{} requests", seen.len());
    let mut arrived = Vec::new();
    for sent in &seen {
        assert!(
            sent.complete && sent.body.len() <= BATCH,
            "{}",
            sent.body.len()
        );
        assert!(sent.wire.is_empty() || !sent.wire.ends_with(b"0\r\n\r\n0\r\n\r\n"));
        arrived.extend(sent.ids());
    }
    assert_eq!(
        seen[0].header("transfer-encoding").as_deref(),
        Some("chunked")
    );
    assert_eq!(seen[0].header("content-length"), None);
    assert_eq!(arrived.len(), 9000, "no event twice");
    assert_eq!(arrived.into_iter().collect::<BTreeSet<_>>(), ids(9000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_http_versions_carry_small_and_large_bodies_on_both_sides() {
    for (name, messages, bytes) in [("small", 4, 300), ("large", 2500, 1000)] {
        let body = batch(messages, bytes);
        for http2_down in [false, true] {
            for http2_up in [false, true] {
                let (one, two) = (Recorder::start().await, h2::Upstream::start().await);
                let yaml = if http2_up {
                    yaml_http2(&two.url())
                } else {
                    yaml(&one.url())
                };
                let proxy = Proxy::start_h2c(&yaml).await;
                let status = if http2_down {
                    let mut client = h2::Client::connect(proxy.address).await;
                    let frames: Vec<&[u8]> = body.as_bytes().chunks(50_000).collect();
                    client.exchange("/hr/v1/b", &[], &frames).await.status
                } else {
                    let mut client = Client::connect(proxy.address).await;
                    let request = post("/hr/v1/b", "", body.as_bytes());
                    client.exchange(&request).await.status
                };
                let case = format!("{name}, client h2 {http2_down}, PostHog h2 {http2_up}");
                assert_eq!(status, 200, "{case}");
                let bodies: Vec<Vec<u8>> = if http2_up {
                    let streams = two.streams(1).await;
                    for stream in &streams {
                        assert_eq!(stream.path, "/batch/", "{case}");
                        assert_eq!(stream.authority, Some(two.address.to_string()), "{case}");
                        assert!(stream.headers.get("transfer-encoding").is_none(), "{case}");
                        assert!(stream.complete, "{case}");
                    }
                    streams.into_iter().map(|stream| stream.body).collect()
                } else {
                    one.requests(1)
                        .await
                        .into_iter()
                        .map(|sent| sent.body)
                        .collect()
                };
                let mut arrived = Vec::new();
                for body in bodies {
                    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
                    arrived.extend(json["batch"].as_array().unwrap().iter().map(distinct_id));
                }
                assert_eq!(arrived.len(), messages, "{case}");
                assert_eq!(
                    arrived.into_iter().collect::<BTreeSet<_>>(),
                    ids(messages),
                    "{case}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_pooled_connection_loses_no_event_and_makes_no_duplicate() {
    // The server answers the first request of each connection and closes on the second, before or
    // after reading it.
    let stale = Recorder::early(|request| match request.nth {
        0 => None,
        _ => Some(Act::Close),
    })
    .await;
    let late = Recorder::that(|request| match request.nth {
        0 => Act::Answer(OK.to_vec()),
        _ => Act::Close,
    })
    .await;
    for upstream in [stale, late] {
        let proxy = Proxy::start(&yaml(&upstream.url())).await;
        let mut client = Client::connect(proxy.address).await;
        for number in 0..4 {
            let body = track(&number.to_string(), 2000);
            let answer = client.exchange(&post("/hr/t", "", body.as_bytes())).await;
            assert_eq!(answer.status, 200, "{number}: {answer:?}");
        }
        // Hedgerow cannot send a streaming body again, so it uses no such connection for it.
        let answer = client
            .exchange(&post("/hr/v1/b", "", batch(1500, 1000).as_bytes()))
            .await;
        assert_eq!(answer.status, 200, "streaming: {answer:?}");
        let seen = upstream.seen();
        let taken: Vec<_> = seen.iter().filter(|sent| sent.nth == 0).collect();
        assert_eq!(taken.len(), 5, "{} connections", seen.len());
        for (number, sent) in taken.iter().take(4).enumerate() {
            assert_eq!(sent.ids(), [format!("u-{number}")], "the whole batch, once");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_connection_that_goes_away_costs_no_event() {
    let upstream = h2::Upstream::that_answers(200, 2).await;
    let proxy = Proxy::start(&yaml_http2(&upstream.url())).await;
    let mut client = Client::connect(proxy.address).await;
    for number in 0..6 {
        let body = track(&number.to_string(), 500);
        let answer = client.exchange(&post("/hr/t", "", body.as_bytes())).await;
        assert_eq!(answer.status, 200, "{number}: {answer:?}");
    }
    let seen = upstream.seen();
    let arrived: Vec<String> = seen
        .iter()
        .map(|stream| {
            let json: serde_json::Value = serde_json::from_slice(&stream.body).unwrap();
            distinct_id(&json["batch"][0])
        })
        .collect();
    assert_eq!(arrived, ["u-0", "u-1", "u-2", "u-3", "u-4", "u-5"]);
    assert!(upstream.connections.load(Ordering::SeqCst) > 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_share_one_http2_connection() {
    let upstream = h2::Upstream::start().await;
    let proxy = Arc::new(Proxy::start(&yaml_http2(&upstream.url())).await);
    let mut client = Client::connect(proxy.address).await;
    client
        .exchange(&post("/hr/t", "", track("first", 200).as_bytes()))
        .await;
    for number in 0..20 {
        let body = track(&number.to_string(), 200);
        let answer = client.exchange(&post("/hr/t", "", body.as_bytes())).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(upstream.streams(21).await.len(), 21);
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_before_the_body_is_through_is_passed_on() {
    let early = |status: &'static str| {
        Recorder::early(move |_| {
            let answer = response(status, "Retry-After: 3\r\n", "{}");
            Some(Act::AnswerAndClose(answer))
        })
    };
    for (name, messages) in [("whole", 900), ("streaming", 8000)] {
        let upstream = early("503 Unavailable").await;
        let proxy = Proxy::start(&yaml(&upstream.url())).await;
        let mut client = Client::connect(proxy.address).await;
        let body = batch(messages, 1000);
        let answer = client
            .exchange(&post("/hr/v1/b", "", body.as_bytes()))
            .await;
        assert_eq!(answer.status, 503, "{name}: {answer:?}");
        assert_eq!(answer.header("retry-after"), "3", "{name}");
        assert_eq!(upstream.seen().len(), 1, "{name}: it was not tried again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_to_a_streaming_body_is_passed_on_before_the_client_has_sent_it_all() {
    let upstream = Recorder::early(|_| {
        let answer = response("503 Unavailable", "Retry-After: 3\r\n", "{}");
        Some(Act::AnswerAndClose(answer))
    })
    .await;
    let proxy = Proxy::start(&yaml(&upstream.url())).await;
    let body = batch(8000, 1000);
    let request = post("/hr/v1/b", "", body.as_bytes());
    let mut client = Client::connect(proxy.address).await;
    // Past the window, and long before the end of the first batch.
    client.send(&request[..1_500_000]).await;
    upstream.requests(1).await;
    // Hedgerow sees the answer when it sends the next piece.
    client.send(&request[1_500_000..2_000_000]).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("retry-after"), "3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_200_to_half_a_body_is_not_accepted() {
    for (name, messages) in [("whole", 900), ("streaming", 8000)] {
        let upstream = Recorder::early(|_| Some(Act::AnswerAndClose(OK.to_vec()))).await;
        let proxy = Proxy::start(&yaml(&upstream.url())).await;
        // The server answers 200 at the head of the request. The client must not get that before
        // its whole body has arrived.
        let mut client = Client::connect(proxy.address).await;
        let body = batch(messages, 1000);
        let request = post("/hr/v1/b", "", body.as_bytes());
        let (most, rest) = request.split_at(request.len() - 100);
        client.send(most).await;
        let early = tokio::time::timeout(Duration::from_millis(300), client.next()).await;
        assert!(early.is_err(), "{name}: answered before its body was sent");
        client.send(rest).await;
        let status = client.answer().await.status;
        assert!(status == 200 || status == 503, "{name}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_turns_out_wrong_while_it_streams_is_cut_off_and_not_ended() {
    let upstream = Recorder::start().await;
    let http2 = h2::Upstream::start().await;
    for (number, yaml) in [yaml(&upstream.url()), yaml_http2(&http2.url())]
        .iter()
        .enumerate()
    {
        let proxy = Proxy::start(yaml).await;
        let mut body = batch(2500, 1000);
        body.truncate(body.len() - 500);
        body.push_str("\"}}nonsense");
        let mut client = Client::connect(proxy.address).await;
        let answer = client
            .exchange(&post("/hr/v1/b", "", body.as_bytes()))
            .await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.json()["code"], "invalid_json");
        let complete = match number {
            0 => upstream.requests(1).await[0].complete,
            _ => http2.streams(1).await[0].complete,
        };
        assert!(!complete, "what was sent must not be stored");

        // The same for a client that hangs up in the middle.
        let mut client = Client::connect(proxy.address).await;
        let request = post("/hr/v1/b", "", batch(2500, 1000).as_bytes());
        client.send(&request[..request.len() - 1000]).await;
        drop(client);
        let complete = match number {
            0 => upstream.requests(2).await[1].complete,
            _ => http2.streams(2).await[1].complete,
        };
        assert!(!complete, "what was sent must not be stored");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_upload_does_not_run_into_posthogs_timeout() {
    let upstream = Recorder::start().await;
    let yaml = yaml(&upstream.url()).replace("timeout: 5s", "timeout: 1s");
    let proxy = Proxy::start(&yaml).await;
    for (name, messages) in [("whole", 10), ("streaming", 2500)] {
        let body = batch(messages, 1000);
        let mut client = Client::connect(proxy.address).await;
        client
            .send(b"POST /hr/v1/b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        for piece in body.as_bytes().chunks(body.len() / 3 + 1) {
            client.send(&chunk(piece)).await;
            // The whole body takes longer than PostHog may take for an answer.
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
        client.send(b"0\r\n\r\n").await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_not_used_again_is_closed() {
    let upstream = Recorder::start().await;
    let hedgerow = Hedgerow::builder(config(&yaml(&upstream.url())))
        .idle_timeout(Duration::from_secs(3))
        .build()
        .unwrap();
    let proxy = Proxy::of(hedgerow, Speaks::Http1).await;
    let mut client = Client::connect(proxy.address).await;
    for number in 0..2 {
        let body = track(&number.to_string(), 200);
        let answer = client.exchange(&post("/hr/t", "", body.as_bytes())).await;
        assert_eq!(answer.header("connection"), "keep-alive", "{answer:?}");
    }
    assert!(client.ends().await);
    // The client's own priority counts first.
    let mut client = Client::connect(proxy.address).await;
    let request = post("/hr/t", "Connection: close\r\n", track("2", 200).as_bytes());
    let answer = client.exchange(&request).await;
    assert_eq!(answer.header("connection"), "close");
    assert!(client.ends().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posthogs_certificate_must_be_valid_for_its_name_and_signed_by_a_trusted_authority() {
    let good = Certificates::new(&["localhost", "127.0.0.1"]);
    let other_name = Certificates::new(&["posthog.example.com"]);
    let unknown = Certificates::new(&["localhost"]);
    let ca = good.file("ca.pem");
    let wrong_name_ca = other_name.file("ca.pem");
    for (name, certificates, ca, host, status) in [
        ("trusted", &good, &ca, "localhost", 200),
        ("an address", &good, &ca, "127.0.0.1", 200),
        (
            "another name",
            &other_name,
            &wrong_name_ca,
            "localhost",
            503,
        ),
        ("an unknown authority", &unknown, &ca, "localhost", 503),
    ] {
        for offers in [AlpnOffer::Http1, AlpnOffer::Both] {
            let posthog = PostHog::start().await;
            let app = HandlerApp::new(Arc::clone(&posthog.capture) as _);
            let secure = Secure::start(app, certificates, offers).await;
            let yaml = yaml(&format!("https://{host}:{}", secure.address.port())).replace(
                "api_key: phc_test",
                &format!("api_key: phc_test, ca_file: {}", ca.display()),
            );
            let proxy = Proxy::start(&yaml).await;
            let mut client = Client::connect(proxy.address).await;
            for _ in 0..2 {
                let answer = client
                    .exchange(&post("/hr/t", "", track("1", 200).as_bytes()))
                    .await;
                assert_eq!(answer.status, status, "{name}: {answer:?}");
            }
            let expected = if status == 200 { 2 } else { 0 };
            assert_eq!(posthog.capture.stored(), expected, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_does_not_read_holds_the_client_back() {
    // PostHog reads nothing, so its connection fills up.
    let stuck = stuck_upstream().await;
    let proxy =
        Proxy::start(&yaml(&format!("http://{stuck}")).replace("timeout: 5s", "timeout: 2s")).await;
    let body = batch(9500, 1000);
    let mut client = Client::connect(proxy.address).await;
    let sending = async {
        client.send(&post("/hr/v1/b", "", body.as_bytes())).await;
        client.answer().await
    };
    let most = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let watching = {
        let (most, hedgerow) = (Arc::clone(&most), proxy.hedgerow.clone());
        tokio::spawn(async move {
            loop {
                most.fetch_max(hedgerow.counts().held, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    };
    let answer = within("an answer", sending).await;
    watching.abort();
    assert_eq!(answer.status, 503, "{answer:?}");
    let most = most.load(Ordering::Relaxed);
    // The window, in a buffer that may have grown to twice its size.
    assert!(most <= 5 << 19, "{most} bytes were held");
}

/// A server that accepts connections and never reads.
async fn stuck_upstream() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    address
}
