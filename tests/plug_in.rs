//! `intercept` in a host proxy serves all routes of the file: Segment's and posthog-js's.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "../examples/existing_proxy.rs"]
mod existing_proxy;
mod support;

use std::sync::atomic::AtomicU64;

use existing_proxy::Shop;
use hedgerow::Hedgerow;
use support::address::dead_url;
use support::client::{chunk, post, Client};
use support::proxy::{config, Proxy, Speaks};
use support::recorder::{response, Act, Recorder};
use support::{h2, track, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

fn yaml(host: &str) -> String {
    format!(
        "projects:\n  shop: {{host: \"{host}\", api_key: phc_test}}\n\
         routes:\n  - path: /hr/\n    segment: {{project: shop}}\n  \
         - path: /ph/\n    posthog: {{project: shop}}\n\
         delivery: {{connect_timeout: 2s, timeout: 5s, spool: \"off\"}}\n"
    )
}

/// A host proxy with a site, and Hedgerow in its `request_filter`.
async fn host(posthog: &str, site: &Recorder, speaks: Speaks) -> Proxy {
    let hedgerow = Hedgerow::in_a_host(config(&yaml(posthog))).expect("the call serves it all");
    let shop = Shop {
        site: site.address,
        requests: AtomicU64::new(0),
        hedgerow: hedgerow.clone(),
    };
    Proxy::around(hedgerow, shop, speaks).await
}

fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: shop.example.com\r\n{headers}\r\n").into_bytes()
}

async fn site() -> Recorder {
    Recorder::that(|_| Act::Answer(response("200 OK", "", "the shop"))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_of_the_file_is_served_and_all_else_is_the_hosts() {
    let posthog = Recorder::that(|_| {
        let headers = "Server: PostHog\r\nSet-Cookie: a=1\r\nVary: Origin\r\n\
            Content-Type: application/json\r\n";
        Act::Answer(response("200 OK", headers, "{\"status\":\"Ok\"}"))
    })
    .await;
    let site = site().await;
    let proxy = host(&posthog.url(), &site, Speaks::Http1).await;
    let mut client = Client::connect(proxy.address).await;
    let headers = "Cookie: s=1\r\nConnection: keep-alive, X-Own\r\nX-Own: 1\r\n\
        X-Forwarded-For: 1.2.3.4\r\nContent-Type: text/plain\r\n";
    let body = b"\x1f\x8bnot really gzip\x00\xff";
    // All requests use one connection, one after the other.
    for path in ["/i/v0/e/?x=%2F", "/flags/?v=2", "/e", "/new/thing/"] {
        let asked = post(&format!("/ph{path}"), headers, body);
        let answer = client.exchange(&asked).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body, b"{\"status\":\"Ok\"}");
        assert_eq!(answer.header("vary"), "Origin");
        assert_eq!(answer.header("content-length"), "15");
        for gone in ["server", "set-cookie", "transfer-encoding"] {
            assert_eq!(answer.header(gone), "", "{gone}");
        }
        let sent = posthog.seen().pop().unwrap();
        let line = format!("POST {path} HTTP/1.1\r\n");
        assert!(sent.head.starts_with(&line), "{}", sent.head);
        assert_eq!(sent.body, body);
        let to = posthog.address.to_string();
        for (name, expected) in [
            ("host", Some(to.as_str())),
            ("x-forwarded-for", Some("127.0.0.1")),
            ("content-type", Some("text/plain")),
            ("cookie", None),
            ("x-own", None),
        ] {
            assert_eq!(sent.header(name).as_deref(), expected, "{name}");
        }
    }
    client.send(&get("/ph/flags/?v=2", "")).await;
    assert_eq!(client.answer().await.status, 200);
    client
        .send(b"HEAD /ph/decide HTTP/1.1\r\nHost: shop.example.com\r\n\r\n")
        .await;
    let head = client.answer_to_head().await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let asked = post("/hr/v1/track", "", track("1", 200).as_bytes());
    assert_eq!(client.exchange(&asked).await.status, 200);
    assert!(site.seen().is_empty(), "nothing of this is the site's");
    for path in ["/", "/phx", "/hrx/v1/track"] {
        let answer = client.exchange(&get(path, "Cookie: s=1\r\n")).await;
        assert_eq!(answer.body, b"the shop", "{path}");
    }
    let cookies = site.seen().into_iter().map(|sent| sent.header("cookie"));
    assert!(cookies.flatten().all(|cookie| cookie == "s=1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_every_size_and_framing_arrive_byte_for_byte() {
    let posthog = Recorder::start().await;
    let site = site().await;
    let proxy = host(&posthog.url(), &site, Speaks::Both).await;
    let mut client = Client::connect(proxy.address).await;
    for size in [0, 1, 64 << 10, (64 << 10) + 1, 3 << 20] {
        let body: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let answer = client.exchange(&post("/ph/s/", "", &body)).await;
        assert_eq!(answer.status, 200, "{size}");
        assert!(posthog.seen().pop().unwrap().body == body, "{size}");
        let mut chunked = b"POST /ph/s/ HTTP/1.1\r\nHost: shop.example.com\r\n\
            Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_vec();
        for piece in body.chunks(70_000) {
            chunked.extend(chunk(piece));
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        let answer = client.exchange(&chunked).await;
        assert_eq!(answer.status, 200, "{size} in chunks");
        let sent = posthog.seen().pop().unwrap();
        assert!(sent.body == body, "{size} in chunks");
        assert_eq!(sent.header("expect"), None);
    }
    let mut over_two = h2::Client::connect(proxy.address).await;
    let answer = over_two.exchange("/ph/e/", &[], &[b"{", b"}"]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(posthog.seen().pop().unwrap().body, b"{}");
}

/// An upstream that sends the rest of its answer when the test says so.
async fn two_halves(rest: &'static [u8]) -> (String, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (go_on, told) = oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = [0; 1024];
        let _ = stream.read(&mut read).await;
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
        stream.write_all(head).await.unwrap();
        let _ = told.await;
        stream.write_all(rest).await.unwrap();
    });
    (url, go_on)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_streamed_while_it_comes() {
    let (url, go_on) = two_halves(b"6\r\nsecond\r\n0\r\n\r\n").await;
    let site = site().await;
    let proxy = host(&url, &site, Speaks::Http1).await;
    let mut client = Client::connect(proxy.address).await;
    client.send(&get("/ph/api/stream", "")).await;
    let mut seen = Vec::new();
    while support::client::find(&seen, b"5\r\nfirst\r\n").is_none() {
        seen.extend(client.raw(1).await);
    }
    go_on.send(()).unwrap();
    let rest = client.raw(b"6\r\nsecond\r\n0\r\n\r\n".len()).await;
    assert_eq!(rest, b"6\r\nsecond\r\n0\r\n\r\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_is_not_ended_as_if_it_were_whole() {
    let (url, go_on) = two_halves(b"6\r\nsec").await;
    let site = site().await;
    let proxy = host(&url, &site, Speaks::Http1).await;
    let mut client = Client::connect(proxy.address).await;
    client.send(&get("/ph/api/stream", "")).await;
    go_on.send(()).unwrap();
    let all = within("the end", client.rest()).await;
    let text = String::from_utf8_lossy(&all);
    assert!(text.contains("first"), "{text}");
    assert!(!text.contains("0\r\n\r\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_answer_from_posthog_the_page_gets_a_readable_one() {
    let away = dead_url();
    let site = site().await;
    let proxy = host(&away, &site, Speaks::Http1).await;
    let mut client = Client::connect(proxy.address).await;
    let origin = "Origin: https://shop.example.com\r\n";
    let answer = client.exchange(&post("/ph/e/", origin, b"{}")).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "https://shop.example.com"
    );
    let mut client = Client::connect(proxy.address).await;
    let large = format!(
        "POST /ph/s/ HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: {}\r\n\
         Expect: 100-continue\r\n\r\n",
        (64 << 20) + 1
    );
    assert_eq!(client.exchange(large.as_bytes()).await.status, 413);
    let mut client = Client::connect(proxy.address).await;
    let answer = client.exchange(&get("/ph/../admin", "")).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(site.seen().is_empty());
}

#[test]
fn a_route_that_the_call_cannot_serve_is_an_error_when_it_is_built() {
    let with_site = yaml("us").replace(
        "delivery:",
        "  - host: shop.example.com\n    path: /\n    origin: http://127.0.0.1:3000\ndelivery:",
    );
    let error = Hedgerow::in_a_host(config(&with_site)).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("route shop.example.com/ is an `origin`"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_in_mid_upload_gets_the_answer_that_came_early() {
    let posthog = Recorder::early(|_| {
        let no = response("503 Service Unavailable", "", "no");
        Some(Act::AnswerAndClose(no))
    })
    .await;
    let proxy = host(&posthog.url(), &site().await, Speaks::Both).await;
    for path in ["/hr/v1/b", "/ph/s/"] {
        let body = support::batch(3_000, 1_000);
        let sent = &body.as_bytes()[..2_000_000];
        let mut client = h2::Client::connect(proxy.address).await;
        let (answer, mut sending) = client.post(path, &[]).await;
        let answer = h2::answer(answer);
        tokio::pin!(answer);
        let stopped = async {
            h2::send(&mut sending, sent, false).await;
            std::future::pending::<()>().await
        };
        let answer = tokio::select! {
            answer = &mut answer => answer,
            () = stopped => unreachable!("it waits for the answer"),
        };
        assert_eq!(answer.status, 503, "{path}");
        let mut client = Client::connect(proxy.address).await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        client.send(head.as_bytes()).await;
        client.send(sent).await;
        assert_eq!(client.answer().await.status, 503, "{path}");
    }
}
