//! Calls that Hedgerow reads itself get the same answers as calls that the framework reads, and the
//! framework reads every ambiguous head.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use hedgerow::proxy::Server;
use hedgerow::Hedgerow;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use support::client::{chunk, post, Answer, Client};
use support::proxy::{config, Proxy};
use support::recorder::Recorder;
use support::{batch, gzip, track};
use tokio::sync::Notify;

/// A server with its own listeners that reads calls itself. It stops at the end of the test.
struct DirectServer {
    address: SocketAddr,
    stop: Arc<Notify>,
}

struct TestSignal(Arc<Notify>);

#[async_trait]
impl ShutdownSignalWatch for TestSignal {
    async fn recv(&self) -> ShutdownSignal {
        self.0.notified().await;
        ShutdownSignal::FastShutdown
    }
}

impl DirectServer {
    fn start(yaml: &str) -> Self {
        let yaml = format!("listen: 127.0.0.1:0\nserver: {{threads: 2}}\n{yaml}");
        let server = Server::new(Hedgerow::new(config(&yaml)).unwrap()).unwrap();
        let address = server.addresses()[0];
        let stop = Arc::new(Notify::new());
        let told = Box::new(TestSignal(Arc::clone(&stop)));
        std::thread::spawn(move || server.run_until(told));
        Self { address, stop }
    }
}

impl Drop for DirectServer {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

fn yaml(posthog: &str) -> String {
    format!(
        "projects:\n  shop: {{host: \"{posthog}\", api_key: phc_test}}\n\
         routes:\n  - path: /hr/\n    segment: {{project: shop}}\n  \
         - path: /keys/\n    segment: {{project: shop, write_keys: [wk_one]}}\n  \
         - {{host: shop.example.com, path: /, origin: \"{posthog}\"}}\n\
         trusted_proxies: [127.0.0.0/8]\n\
         limits: {{body: 1MiB}}\nmapping: {{mode: reference, sessions: \"off\"}}\n\
         delivery: {{spool: \"off\"}}\n"
    )
}

/// Clients' requests, each with its purpose.
fn requests() -> Vec<(&'static str, Vec<u8>)> {
    let event = track("u-1", 300);
    let plain = event.as_bytes();
    let large = batch(600, 1000);
    let raw = |head: &str, body: &[u8]| [head.as_bytes(), b"\r\n\r\n", body].concat();
    let length = plain.len();
    vec![
        ("one event", post("/hr/v1/t", "", plain)),
        (
            "a page of another host",
            post("/hr/v1/t", "Origin: https://a.example\r\n", plain),
        ),
        ("slashes twice", post("//hr//v1///t/", "", plain)),
        ("a query", post("/hr/v1/t?writeKey=wk_two&x=%2F", "", plain)),
        (
            "gzip",
            post("/hr/v1/t", "Content-Encoding: gzip\r\n", &gzip(plain)),
        ),
        (
            "another coding",
            post("/hr/v1/t", "Content-Encoding: br\r\n", plain),
        ),
        (
            "a batch of several reads",
            post("/hr/v1/b", "", large.as_bytes()),
        ),
        ("no JSON", post("/hr/v1/t", "", b"{")),
        ("no body", post("/hr/v1/t", "", b"")),
        ("too large", post("/hr/v1/b", "", &vec![b' '; 1_100_000])),
        ("no such call", post("/hr/v1/other", "", plain)),
        ("a wrong key", post("/keys/v1/t", "", plain)),
        (
            "a key in the header",
            post("/keys/v1/t", "Authorization: Basic d2tfb25lOg==\r\n", plain),
        ),
        (
            "a proxy's word",
            post("/hr/v1/t", "X-Forwarded-For: 203.0.113.9\r\n", plain),
        ),
        (
            "kept open",
            post("/hr/v1/t", "Connection: keep-alive\r\n", plain),
        ),
        ("closed", post("/hr/v1/t", "Connection: close\r\n", plain)),
        ("on no route but the site's", post("/cart", "", plain)),
        ("dots in the path", post("/hr/../hr/v1/t", "", plain)),
        ("telemetry", post("/hr/v1/m", "", b"{}")),
        (
            "chunks",
            raw(
                "POST /hr/v1/t HTTP/1.1\r\nHost: shop.example.com\r\nTransfer-Encoding: chunked",
                &[chunk(plain), b"0\r\n\r\n".to_vec()].concat(),
            ),
        ),
        (
            "two lengths",
            raw(
                &format!(
                    "POST /hr/v1/t HTTP/1.1\r\nHost: shop.example.com\r\n\
                     Content-Length: {length}\r\nContent-Length: {length}"
                ),
                plain,
            ),
        ),
        (
            "a length with a sign",
            raw(
                &format!("POST /hr/v1/t HTTP/1.1\r\nHost: a\r\nContent-Length: +{length}"),
                plain,
            ),
        ),
        (
            "no host",
            raw(
                &format!("POST /hr/v1/t HTTP/1.1\r\nContent-Length: {length}"),
                plain,
            ),
        ),
        (
            "two hosts",
            raw(
                &format!(
                    "POST /hr/v1/t HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: {length}"
                ),
                plain,
            ),
        ),
        (
            "a host that is none",
            raw(
                &format!("POST /hr/v1/t HTTP/1.1\r\nHost: a/b\r\nContent-Length: {length}"),
                plain,
            ),
        ),
        (
            "HTTP/1.0",
            raw(
                &format!("POST /hr/v1/t HTTP/1.0\r\nHost: a\r\nContent-Length: {length}"),
                plain,
            ),
        ),
        (
            "a whole address",
            raw(
                &format!(
                    "POST http://shop.example.com/hr/v1/t HTTP/1.1\r\nHost: shop.example.com\r\n\
                     Content-Length: {length}"
                ),
                plain,
            ),
        ),
        (
            "expecting a word",
            raw(
                &format!(
                    "POST /hr/v1/t HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
                     Content-Length: {length}"
                ),
                plain,
            ),
        ),
        (
            "lines without a return",
            raw(
                &format!("POST /hr/v1/t HTTP/1.1\nHost: a\nContent-Length: {length}"),
                plain,
            ),
        ),
    ]
}

/// The parts of an answer that a client sees, without the time.
fn told(answer: &Answer) -> (u16, Vec<String>, Vec<u8>) {
    let mut lines: Vec<String> = answer.head.lines().map(str::to_ascii_lowercase).collect();
    lines.retain(|line| !line.starts_with("date:") && !line.is_empty());
    lines.sort();
    (answer.status, lines, answer.body.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_readers_answer_a_call_alike_and_send_posthog_the_same() {
    let (here, there) = (Recorder::start().await, Recorder::start().await);
    let own = DirectServer::start(&yaml(&here.url()));
    let framework = Proxy::start(&yaml(&there.url())).await;
    let mut mismatches = 0;
    for (what, request) in requests() {
        let (mut one, mut other) = (
            Client::connect(own.address).await,
            Client::connect(framework.address).await,
        );
        let before = (here.seen().len(), there.seen().len());
        let answers = (one.exchange(&request).await, other.exchange(&request).await);
        if told(&answers.0) != told(&answers.1) {
            eprintln!("{what}: {:#?} is not {:#?}", answers.0, answers.1);
            mismatches += 1;
        }
        let sent = |all: Vec<support::recorder::Recorded>, from: usize| {
            let of = |sent: &support::recorder::Recorded| {
                // A request for the site is not a call.
                let ids = match sent.head.contains("/batch") {
                    true => sent.ids(),
                    false => Vec::new(),
                };
                (ids, sent.header("x-forwarded-for"))
            };
            all[from..].iter().map(of).collect::<Vec<_>>()
        };
        let (mine, theirs) = (sent(here.seen(), before.0), sent(there.seen(), before.1));
        if mine != theirs {
            eprintln!("{what}: PostHog got {mine:?} and not {theirs:?}");
            mismatches += 1;
        }
    }
    assert_eq!(mismatches, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_follow_each_other_on_a_connection_however_they_are_cut() {
    let posthog = Recorder::start().await;
    let own = DirectServer::start(&yaml(&posthog.url()));
    let mut client = Client::connect(own.address).await;
    let mut expected = Vec::new();
    for (number, bytes) in [200, 5_000, 200, 90_000, 200].into_iter().enumerate() {
        let body = track(&number.to_string(), bytes);
        let request = post("/hr/v1/t", "", body.as_bytes());
        expected.push(format!("u-{number}"));
        // Cuts in the head, at its end, and in the body.
        let head = request
            .windows(4)
            .position(|end| end == b"\r\n\r\n")
            .unwrap()
            + 4;
        let cuts = [
            0,
            head / 2,
            head,
            head + (request.len() - head) / 2,
            request.len(),
        ];
        for cut in cuts.windows(2) {
            client.send(&request[cut[0]..cut[1]]).await;
            tokio::task::yield_now().await;
        }
        let answer = client.answer().await;
        assert_eq!(answer.status, 200, "{number}: {answer:?}");
        assert_eq!(answer.header("connection"), "keep-alive");
        // A request between them that the framework reads.
        let answer = client
            .exchange(b"GET /hr/v1/x HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        assert_eq!(answer.status, 404, "{number}: {answer:?}");
    }
    let seen = posthog.requests(expected.len()).await;
    let ids: Vec<String> = seen.iter().flat_map(|sent| sent.ids()).collect();
    assert_eq!(ids, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_breaks_off_brings_nothing_to_posthog() {
    let posthog = Recorder::start().await;
    let own = DirectServer::start(&yaml(&posthog.url()));
    let request = post("/hr/v1/b", "", batch(400, 1000).as_bytes());
    for cut in [request.len() - 1, request.len() / 2, 200] {
        let mut client = Client::connect(own.address).await;
        client.send(&request[..cut]).await;
        client.half_close().await;
        assert!(client.next().await.is_none(), "an answer to {cut} bytes");
    }
    let mut client = Client::connect(own.address).await;
    let last = post("/hr/v1/t", "", track("last", 200).as_bytes());
    assert_eq!(client.exchange(&last).await.status, 200);
    let ids: Vec<String> = posthog.seen().iter().flat_map(|sent| sent.ids()).collect();
    assert_eq!(ids, ["u-last"]);
}
