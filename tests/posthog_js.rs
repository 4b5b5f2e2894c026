//! The `posthog` route: bytes, headers, big bodies and PostHog's absence.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use support::client::{post, Client};
use support::proxy::Proxy;
use support::recorder::{response, Act, Recorder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn yaml(host: &str, names: &str) -> String {
    format!(
        "projects:\n  shop: {{host: \"{host}\", api_key: phc_test}}\n\
         routes:\n  - path: /ph/\n    posthog: {{project: shop{names}}}\n\
         delivery: {{connect_timeout: 2s, timeout: 5s}}\n"
    )
}

fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: shop.example.com\r\n{headers}\r\n").into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_on_byte_for_byte_without_what_belongs_to_the_site() {
    let posthog = Recorder::that(|_| {
        let headers = "Server: PostHog\r\nSet-Cookie: a=1\r\nX-Envoy-Id: 1\r\nVary: Origin\r\n";
        Act::Answer(response("200 OK", headers, "{\"status\":1}"))
    })
    .await;
    let proxy = Proxy::start(&yaml(&posthog.url(), "")).await;
    let mut client = Client::connect(proxy.address).await;
    let headers = "Cookie: s=1\r\nAuthorization: Basic c2l0ZQ==\r\nX-Forwarded-For: 1.2.3.4\r\n\
        Content-Type: text/plain\r\nX-Capture-Debug: 1\r\n";
    let body = b"\x1f\x8bnot really gzip\x00\xff";
    for path in [
        "/i/v0/e/?retry_count=1&x=%2F",
        "/flags/?v=2",
        "/e",
        "/new/thing/",
    ] {
        let answer = client
            .exchange(&post(&format!("/ph{path}"), headers, body))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body, b"{\"status\":1}");
        assert_eq!(answer.header("vary"), "Origin");
        for gone in ["server", "set-cookie", "x-envoy-id", "via"] {
            assert_eq!(answer.header(gone), "", "{gone}");
        }
        let sent = posthog.seen().pop().unwrap();
        let line = format!("POST {path} HTTP/1.1\r\n");
        assert!(sent.head.starts_with(&line), "{}", sent.head);
        assert_eq!(sent.body, body);
        let host = posthog.address.to_string();
        for (name, expected) in [
            ("host", Some(host.as_str())),
            ("x-forwarded-for", Some("127.0.0.1")),
            ("content-type", Some("text/plain")),
            ("cookie", None),
            ("authorization", None),
            ("x-capture-debug", None),
        ] {
            assert_eq!(sent.header(name).as_deref(), expected, "{name}");
        }
    }
    let headers = "Authorization: Bearer phx_1\r\n";
    client
        .exchange(&get("/ph/flags/definitions", headers))
        .await;
    let sent = posthog.seen().pop().unwrap();
    assert_eq!(
        sent.header("authorization").as_deref(),
        Some("Bearer phx_1")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neutral_names_lead_to_the_real_paths() {
    let posthog = Recorder::start().await;
    let proxy = Proxy::start(&yaml(&posthog.url(), ", names: k3v9x2mnq7")).await;
    let names = hedgerow::site::PathNames::new("k3v9x2mnq7", "phc_test").unwrap();
    let mut client = Client::connect(proxy.address).await;
    let real = "/i/v0/e/?token=phc_test&b=1";
    let asked = format!("/ph{}", names.disguise(real));
    assert!(!asked.contains("phc_test") && !asked.contains("/e/"));
    client.exchange(&post(&asked, "", b"{}")).await;
    let sent = posthog.seen().pop().unwrap();
    let line = format!("POST {real} HTTP/1.1\r\n");
    assert!(sent.head.starts_with(&line), "{}", sent.head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_are_kept_and_outlive_posthog() {
    let away = Arc::new(AtomicBool::new(false));
    let gone = Arc::clone(&away);
    let posthog = Recorder::that(move |request| {
        if gone.load(Ordering::SeqCst) {
            return Act::Close;
        }
        let headers = if request.head.contains("/static/") {
            "Cache-Control: public, max-age=600\r\nETag: \"a\"\r\nServer: PostHog\r\n"
        } else {
            "Cache-Control: public, max-age=0\r\nETag: \"b\"\r\n"
        };
        Act::Answer(response("200 OK", headers, "script()"))
    })
    .await;
    let proxy = Proxy::start(&yaml(&posthog.url(), "")).await;
    let mut client = Client::connect(proxy.address).await;
    for _ in 0..3 {
        let answer = client.exchange(&get("/ph/static/array.js", "")).await;
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (200, &b"script()"[..])
        );
        assert_eq!(answer.header("server"), "");
    }
    assert_eq!(posthog.seen().len(), 1, "one request for three");
    let known = get("/ph/static/array.js", "If-None-Match: \"a\"\r\n");
    let answer = client.exchange(&known).await;
    assert_eq!((answer.status, answer.body.len()), (304, 0));
    let config = get("/ph/array/phc_test/config.js", "");
    assert_eq!(client.exchange(&config).await.status, 200);
    // PostHog is away: what was kept stays, the rest says so and may be asked again.
    away.store(true, Ordering::SeqCst);
    for asked in [known, config] {
        let answer = client.exchange(&asked).await;
        assert!(matches!(answer.status, 200 | 304), "{answer:?}");
    }
    let answer = client
        .exchange(&get(
            "/ph/static/toolbar.js",
            "Origin: https://shop.example\r\n",
        ))
        .await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "https://shop.example"
    );
    let answer = client.exchange(&post("/ph/i/v0/e/", "", b"{}")).await;
    assert!(matches!(answer.status, 502 | 503), "{answer:?}");
}

/// The most memory that this process has held, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_of_64_megabytes_passes_and_takes_no_memory() {
    const LENGTH: usize = 64 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    let arrived = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&arrived);
    // Reads and counts, so that the other end of the test holds nothing either.
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 64 * 1024];
        let mut seen = 0_usize;
        loop {
            let read = stream.read(&mut buffer).await.unwrap();
            seen += buffer[..read].iter().filter(|byte| **byte == b'~').count();
            count.store(seen as u64, Ordering::SeqCst);
            if seen >= LENGTH || read == 0 {
                break;
            }
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        stream.write_all(answer).await.unwrap();
    });
    let proxy = Proxy::start(&yaml(&host, "")).await;
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    let head = format!("POST /ph/s/ HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![b'~'; 64 * 1024];
    let before = peak();
    for _ in 0..LENGTH / piece.len() {
        client.write_all(&piece).await.unwrap();
    }
    let mut answer = vec![0; 1024];
    let read = client.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(arrived.load(Ordering::SeqCst), LENGTH as u64);
    let grown = peak() - before;
    eprintln!(
        "64 MiB passed, the peak of memory grew by {} kB",
        grown / 1000
    );
    assert!(grown < 8 << 20, "memory grew by {grown} bytes");

    let mut client = Client::connect(proxy.address).await;
    let longer = format!(
        "POST /ph/s/ HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        LENGTH + 1
    );
    client.send(longer.as_bytes()).await;
    assert_eq!(client.answer().await.status, 413);
}
