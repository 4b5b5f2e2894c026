//! The `posthog` route: bytes, headers, large bodies, and PostHog away.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
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
async fn requests_are_passed_on_byte_for_byte_without_the_sites_own_headers() {
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
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_pass_only_as_a_bearer_token_without_a_token_in_the_query() {
    let posthog = Recorder::start().await;
    let proxy = Proxy::start(&yaml(&posthog.url(), ", names: k3v9x2mnq7")).await;
    let names = hedgerow::site::PathNames::new("k3v9x2mnq7", "phc_test").unwrap();
    let mut client = Client::connect(proxy.address).await;
    let (basic, bearer) = ("Basic c2l0ZTpwYXNz", "Bearer phx_1");
    for (path, credentials, expected) in [
        ("/i/v1/logs", basic, None),
        ("/i/v1/metrics", basic, None),
        ("/i/v1/logs", bearer, Some(bearer)),
        ("/i/v1/metrics", bearer, Some(bearer)),
        ("/i/v1/logs?token=phc_test", basic, None),
        ("/i/v1/metrics?token=phc_test", bearer, None),
        ("/i/v1/analytics/events", basic, None),
        ("/i/v1/analytics/events", bearer, Some(bearer)),
        ("/i/v0/ai/batch", basic, None),
        ("/flags/definitions", basic, None),
        (
            "/flags/definitions?token=phc_test&send_cohorts",
            bearer,
            Some(bearer),
        ),
        ("/e/", bearer, None),
        ("/flags/?v=2", bearer, None),
    ] {
        for shown in [path.to_owned(), names.to_neutral(path).into_owned()] {
            let headers = format!("Authorization: {credentials}\r\n");
            let asked = post(&format!("/ph{shown}"), &headers, b"{}");
            client.exchange(&asked).await;
            let sent = posthog.seen().pop().unwrap();
            let line = format!("POST {path} HTTP/1.1\r\n");
            assert!(sent.head.starts_with(&line), "{}", sent.head);
            let went = sent.header("authorization");
            assert_eq!(went.as_deref(), expected, "{path} {credentials}");
        }
    }
}

/// What the site's own domain, its proxies and its visitors add to a request.
const FOREIGN: &str = "X-PostHog-Client-IP: 1.2.3.4\r\nX-PostHog-Client-IP-Signature: x\r\n\
    X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-User: ada\r\n\
    Forwarded: for=1.2.3.4\r\nTrue-Client-IP: 1.2.3.4\r\nCF-Connecting-IP: 1.2.3.4\r\n\
    CF-Access-Jwt-Assertion: x\r\nX-Real-IP: 1.2.3.4\r\nFastly-Client-IP: 1.2.3.4\r\n\
    Cookie: s=1\r\nCookie2: s=1\r\nProxy-Authorization: Basic eA==\r\nX-Csrf-Token: x\r\n\
    X-Auth-Token: x\r\nTraceparent: 00-1-1-01\r\nBaggage: user=ada\r\nSec-CH-UA: x\r\n\
    DNT: 1\r\nX-Capture-Debug: 1\r\nPostHog-Sdk-Info: web/1\r\nX-Request-Id: r\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_of_visitors_and_proxies_are_removed_on_every_path() {
    let posthog = Recorder::start().await;
    let proxy = Proxy::start(&yaml(&posthog.url(), "")).await;
    let mut client = Client::connect(proxy.address).await;
    let needed = "Origin: https://shop.example\r\nReferer: https://shop.example/\r\n\
        User-Agent: Mozilla/5.0\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n";
    let headers = format!("{FOREIGN}{needed}");
    let mut wrong = Vec::new();
    for asked in [
        post("/ph/e/", &headers, b"{}"),
        post("/ph/s/?compression=gzip-js", &headers, b"{}"),
        post("/ph/flags/?v=2", &headers, b"{}"),
        post("/ph/i/v1/logs?token=phc_test", &headers, b"{}"),
        get("/ph/static/array.js", &headers),
        get("/ph/array/phc_test/config.js", &headers),
        get("/ph/api/surveys/?token=phc_test", &headers),
        get("/ph/new/thing", &headers),
    ] {
        client.exchange(&asked).await;
        let sent = posthog.seen().pop().unwrap();
        let lines = sent.head.lines().skip(1);
        let found = lines.filter_map(|line| Some(line.split_once(':')?.0.to_ascii_lowercase()));
        let mut found: Vec<String> = found.collect();
        found.retain(|name| !matches!(name.as_str(), "content-length" | "connection"));
        found.sort();
        let expected = [
            "accept",
            "accept-encoding",
            "host",
            "origin",
            "referer",
            "user-agent",
            "x-forwarded-for",
        ];
        let client = sent.header("x-forwarded-for");
        if found != expected || client.as_deref() != Some("127.0.0.1") {
            wrong.push(sent.head);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let v1 = "Authorization: Bearer phc_test\r\nPostHog-Sdk-Info: node/5\r\n\
        PostHog-Attempt: 1\r\nPostHog-Gateway-Signature: x\r\n";
    let asked = post("/ph/i/v1/analytics/events", v1, b"{}");
    client.exchange(&asked).await;
    let sent = posthog.seen().pop().unwrap();
    assert_eq!(sent.header("posthog-sdk-info").as_deref(), Some("node/5"));
    assert_eq!(sent.header("posthog-attempt").as_deref(), Some("1"));
    assert_eq!(sent.header("posthog-gateway-signature"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_in_an_answer_leads_back_through_the_route() {
    let posthog = Recorder::that(|request| {
        let line = request.head.lines().next().unwrap_or_default();
        let host = request.header("host").unwrap_or_default();
        let location = match line.split(' ').nth(1).unwrap_or_default() {
            "/e" => "/e/".to_owned(),
            "/flags?v=2" => "flags/?v=2".to_owned(),
            "/s" => format!("http://{host}/s/"),
            "/static/1/array.js" => "/static/array.js?v=1".to_owned(),
            _ => "https://us.posthog.com/login".to_owned(),
        };
        let headers = format!("Location: {location}\r\n");
        Act::Answer(response("308 Permanent Redirect", &headers, ""))
    })
    .await;
    for names in ["", ", names: k3v9x2mnq7"] {
        let proxy = Proxy::start(&yaml(&posthog.url(), names)).await;
        let table = hedgerow::site::PathNames::new("k3v9x2mnq7", "phc_test").unwrap();
        let mut client = Client::connect(proxy.address).await;
        for (asked, expected) in [
            (post("/ph/e", "", b"{}"), "/e/"),
            (post("/ph/flags?v=2", "", b"{}"), "/flags/?v=2"),
            (post("/ph/s", "", b"{}"), "/s/"),
            (get("/ph/static/1/array.js", ""), "/static/array.js?v=1"),
        ] {
            let answer = client.exchange(&asked).await;
            let expected = match names {
                "" => format!("/ph{expected}"),
                _ => format!("/ph{}", table.to_neutral(expected)),
            };
            assert_eq!(answer.status, 308);
            assert_eq!(answer.header("location"), expected);
        }
        let answer = client.exchange(&get("/ph/login", "")).await;
        assert_eq!(answer.header("location"), "https://us.posthog.com/login");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neutral_names_lead_to_the_real_paths() {
    let posthog = Recorder::start().await;
    let proxy = Proxy::start(&yaml(&posthog.url(), ", names: k3v9x2mnq7")).await;
    let names = hedgerow::site::PathNames::new("k3v9x2mnq7", "phc_test").unwrap();
    let mut client = Client::connect(proxy.address).await;
    let real = "/i/v0/e/?token=phc_test&b=1";
    let asked = format!("/ph{}", names.to_neutral(real));
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
    // PostHog is away: Hedgerow serves its copies; other requests get an error and may be repeated.
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

/// The largest body of a `posthog` route, in bytes.
const LENGTH: usize = 64 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_of_more_than_64_megabytes_is_refused_before_it_is_sent() {
    let posthog = Recorder::that(|_| Act::Answer(response("200 OK", "", "{}"))).await;
    let proxy = Proxy::start(&yaml(&posthog.url(), "")).await;
    let mut client = Client::connect(proxy.address).await;
    let longer = format!(
        "POST /ph/s/ HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        LENGTH + 1
    );
    client.send(longer.as_bytes()).await;
    assert_eq!(client.answer().await.status, 413);
    assert!(posthog.seen().is_empty());
}

/// A stand-in for PostHog that answers 413 and hangs up when it has read `bound` bytes.
async fn refusing_above(bound: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 64 * 1024];
        let mut seen = 0;
        while seen < bound {
            match stream.read(&mut buffer).await {
                Ok(read) if read > 0 => seen += read,
                _ => return,
            }
        }
        let answer = b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 2\r\n\
            Connection: close\r\n\r\n{}";
        let _ = stream.write_all(answer).await;
    });
    host
}

/// The answer that a client reads after it has sent a whole body of this many bytes.
async fn sent_first(proxy: &Proxy, framing: &str, length: usize) -> String {
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    let head = format!(
        "POST /ph/s/ HTTP/1.1\r\nHost: a\r\nOrigin: https://shop.example\r\n{framing}\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let chunked = framing.contains("chunked");
    let mut piece = Vec::new();
    if chunked {
        piece.extend_from_slice(b"10000\r\n");
    }
    piece.extend_from_slice(&[b'~'; 0x10000]);
    if chunked {
        piece.extend_from_slice(b"\r\n");
    }
    for sent in 0..length / 0x10000 {
        if let Err(error) = client.write_all(&piece).await {
            return format!("{error} after {sent} pieces");
        }
    }
    if chunked {
        let _ = client.write_all(b"0\r\n\r\n").await;
    }
    let mut answer = vec![0; 4096];
    match client.read(&mut answer).await {
        Ok(read) => String::from_utf8_lossy(&answer[..read]).into_owned(),
        Err(error) => format!("{error} instead of an answer"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_long_gets_413_however_it_is_framed_and_from_either_side() {
    const LONGER: usize = LENGTH + (24 << 20);
    let said = format!("Content-Length: {LONGER}");
    let chunked = "Transfer-Encoding: chunked";
    let mut wrong = Vec::new();
    for (framing, refused_by_posthog) in [
        (said.as_str(), usize::MAX),
        (chunked, usize::MAX),
        (chunked, 25 << 20),
    ] {
        let posthog = refusing_above(refused_by_posthog).await;
        let proxy = Proxy::start(&yaml(&posthog, "")).await;
        let answer = sent_first(&proxy, framing, LONGER).await;
        let ours = refused_by_posthog == usize::MAX;
        let readable = answer.to_ascii_lowercase();
        let readable = readable.contains("access-control-allow-origin: https://shop.example");
        if !answer.starts_with("HTTP/1.1 413") || ours && !readable {
            wrong.push((framing, refused_by_posthog, answer));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
