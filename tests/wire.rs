//! Malformed HTTP requests on each kind of route, over real sockets: which answer each gets, that
//! nothing of it reaches an upstream, and that ordinary clients get service.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "wire/answers.rs"]
mod answers;
#[path = "wire/bodies_in_time.rs"]
mod bodies_in_time;
#[path = "wire/broken_frames.rs"]
mod broken_frames;
#[path = "wire/connections.rs"]
mod connections;
#[path = "wire/early.rs"]
mod early;
#[path = "wire/full_server.rs"]
mod full_server;
#[path = "wire/half_closed.rs"]
mod half_closed;
#[path = "wire/heads.rs"]
mod heads;
#[path = "wire/heads1.rs"]
mod heads1;
#[path = "wire/heads_in_time.rs"]
mod heads_in_time;
#[path = "wire/in_a_host.rs"]
mod in_a_host;
#[path = "support/package.rs"]
mod package;
#[path = "wire/pages.rs"]
mod pages;
#[path = "wire/pipelined.rs"]
mod pipelined;
#[allow(dead_code)]
#[path = "shutdown/process.rs"]
mod process;
#[path = "wire/resets.rs"]
mod resets;
#[path = "reload/running.rs"]
mod running;
mod support;
#[path = "wire/windows.rs"]
mod windows;

use support::client::{post, Client};
use support::proxy::{yaml, PostHog, Proxy};
use support::recorder::{response, Act, Recorder};
use support::{h2, track};

/// Routes of each kind: Segment's calls, posthog-js, a part of the site, and the rest of it.
fn routes(posthog: &str, public: &str, private: &str) -> String {
    yaml(posthog).replace(
        "delivery:",
        &format!(
            "  - path: /ph/\n    posthog: shop\n  - path: /public/\n    origin: {public}\n  \
             - path: /\n    origin: {private}\ndelivery:"
        ),
    )
}

async fn site(body: &'static str) -> Recorder {
    Recorder::that(move |_| Act::Answer(response("200 OK", "", body))).await
}

struct RunningServer {
    posthog: PostHog,
    public: Recorder,
    private: Recorder,
    proxy: Proxy,
}

impl RunningServer {
    async fn open() -> Self {
        let posthog = PostHog::start().await;
        let (public, private) = (site("public").await, site("private").await);
        let yaml = routes(&posthog.url(), &public.url(), &private.url());
        let proxy = Proxy::start(&yaml).await;
        Self {
            posthog,
            public,
            private,
            proxy,
        }
    }

    /// The status of the answer to these bytes; 0 if the connection ends without one.
    async fn status(&self, request: &[u8]) -> u16 {
        let mut client = Client::connect(self.proxy.address).await;
        client.send(request).await;
        client.next().await.map_or(0, |answer| answer.status)
    }

    /// What reached the servers of the site.
    fn reached(&self) -> usize {
        self.public.seen().len() + self.private.seen().len()
    }
}

/// Behind a route's prefix: what a server behind may resolve to a path that is not below it.
const DOTS: [&str; 25] = [
    "/../private/secret.txt",
    "/%2e%2e/private",
    "/.%2e/private",
    "/%2E%2E/private",
    "/..%2fprivate",
    "/..%5cprivate",
    "/..\\private",
    "/..;/private",
    "/..%3b/private",
    "/%c0%2e%c0%2e/private",
    "/%e0%80%ae%e0%80%ae/private",
    "/%ef%bc%8e%ef%bc%8e/private",
    "/..%u2215private",
    "/..%20/private",
    "/..%0d%0a/private",
    "/%f8%80%80%80%ae%f8%80%80%80%ae/private",
    "/%fc%80%80%80%80%ae%fc%80%80%80%80%ae/private",
    "/%e2%80%a5/private",
    "/..%3f/private",
    "/..%23/private",
    "/x%00y",
    "/x/../../private",
    "/./x",
    "/..",
    "/..?x=1",
];

/// Heads that are refused on every route, with the status that the RFC names; `{}` stands for the path.
const HEADS: &[(u16, &str, &str)] = &[
    (400, "no host", "GET {} HTTP/1.1\r\n\r\n"),
    (
        400,
        "two hosts",
        "GET {} HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
    ),
    (400, "an empty host", "GET {} HTTP/1.1\r\nHost:\r\n\r\n"),
    (
        400,
        "a host with a space",
        "GET {} HTTP/1.1\r\nHost: a b\r\n\r\n",
    ),
    (
        400,
        "a host with a comma",
        "GET {} HTTP/1.1\r\nHost: a,b\r\n\r\n",
    ),
    (
        400,
        "a host with a path",
        "GET {} HTTP/1.1\r\nHost: a/b\r\n\r\n",
    ),
    (400, "a host of dots", "GET {} HTTP/1.1\r\nHost: ..\r\n\r\n"),
    (
        400,
        "a host with an empty label",
        "GET {} HTTP/1.1\r\nHost: a..b\r\n\r\n",
    ),
    (400, "two blanks", "GET  {} HTTP/1.1\r\nHost: a\r\n\r\n"),
    (
        400,
        "a whole address alone",
        "GET http://a{} HTTP/1.1\r\n\r\n",
    ),
    (
        400,
        "another host in the address",
        "GET http://b{} HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    (405, "TRACE", "TRACE {} HTTP/1.1\r\nHost: a\r\n\r\n"),
    (405, "TRACK", "TRACK {} HTTP/1.1\r\nHost: a\r\n\r\n"),
    (
        501,
        "another transfer coding",
        "POST {} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        "two lengths",
        "POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ),
    (
        400,
        "chunks in HTTP/1.0",
        "POST {} HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_a_server_would_resolve_leaves_no_route() {
    let server = RunningServer::open().await;
    let mut wrong = Vec::new();
    for prefix in ["/public", "/ph", "/hr", "/shelf"] {
        for way in DOTS {
            let path = format!("{prefix}{way}");
            let request = format!("GET {path} HTTP/1.1\r\nHost: shop.example.com\r\n\r\n");
            let status = server.status(request.as_bytes()).await;
            if status != 400 {
                wrong.push(format!("{path}: {status}"));
            }
        }
    }
    let mut visitor = h2_client(&server).await;
    if let Some(visitor) = &mut visitor {
        let (answer, _) = visitor.get("/public/../private", &[]).await;
        if answer.status != 400 {
            wrong.push(format!("over HTTP/2: {}", answer.status));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(server.reached(), 0);
    for path in [
        "/public/a..b/.well-known/x?back=/../y",
        "/shelf/%252e%252e/x",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop.example.com\r\n\r\n");
        assert_eq!(server.status(request.as_bytes()).await, 200, "{path}");
    }
}

/// Without TLS the server speaks HTTP/1.1 only; the test's own proxy can speak HTTP/2.
async fn h2_client(server: &RunningServer) -> Option<h2::Client> {
    let yaml = routes(
        &server.posthog.url(),
        &server.public.url(),
        &server.private.url(),
    );
    let proxy = Proxy::start_h2c(&yaml).await;
    let client = h2::Client::connect(proxy.address).await;
    std::mem::forget(proxy);
    Some(client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_malformed_head_gets_the_answer_that_the_rfc_names_on_every_kind_of_route() {
    let server = RunningServer::open().await;
    let mut ordinary = Client::connect(server.proxy.address).await;
    let mut wrong = Vec::new();
    for path in ["/hr/v1/track", "/ph/e/", "/public/x", "/shelf"] {
        for (expected, name, head) in HEADS {
            let status = server.status(head.replace("{}", path).as_bytes()).await;
            if status != *expected {
                wrong.push(format!("{name} at {path}: {status}, not {expected}"));
            }
            let event = track("ordinary", 200);
            let answer = ordinary
                .exchange(&post("/hr/v1/track", "", event.as_bytes()))
                .await;
            if answer.status != 200 {
                wrong.push(format!(
                    "an ordinary client beside {name}: {}",
                    answer.status
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(server.reached(), 0, "nothing of them reaches the site");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_chunk_is_told_where_the_body_is_read_here() {
    let server = RunningServer::open().await;
    let head = "POST /hr/v1/track HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "zz\r\n{}\r\n0\r\n\r\n",
        "1\r\n{}\r\n",
        "-1\r\n{}\r\n",
        "2 2\r\n{}\r\n0\r\n\r\n",
    ] {
        let mut client = Client::connect(server.proxy.address).await;
        client
            .send(format!("{head}{body}\r\n\r\n\r\n").as_bytes())
            .await;
        let answer = client.next().await.expect("an answer");
        assert_eq!(answer.status, 400, "{body:?}");
        assert_eq!(answer.json()["code"], "malformed_chunk", "{body:?}");
        assert!(client.ends().await, "{body:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_lengths_go_on_as_one_and_an_unasked_upgrade_does_not() {
    let server = RunningServer::open().await;
    let request =
        b"POST /shelf HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab";
    assert_eq!(server.status(request).await, 200);
    let sent = server.private.requests(1).await.remove(0);
    let lengths = sent
        .head
        .to_ascii_lowercase()
        .matches("content-length")
        .count();
    assert_eq!(lengths, 1, "{}", sent.head);

    let switching = Recorder::that(|_| {
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
        Act::Answer(head.as_bytes().to_vec())
    })
    .await;
    let yaml = routes("http://127.0.0.1:9", &switching.url(), &switching.url());
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::connect(proxy.address).await;
    let answer = client.exchange(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(answer.status, 502);
}
