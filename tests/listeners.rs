//! What listeners do before they read a request: certificates by name, changed while clients
//! connect; the PROXY protocol; HTTP/2 without TLS; redirects to TLS; and answers that name no
//! product. Real processes and sockets.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[allow(dead_code)]
#[path = "shutdown/process.rs"]
mod process;
#[path = "reload/running.rs"]
mod running;
#[path = "listeners/secure.rs"]
mod secure;
mod support;

use std::net::SocketAddr;

use running::Running;
use support::address::unused_address;
use support::client::{post, Client};
use support::proxy::{yaml, PostHog};
use support::recorder::{response, Act, Recorder};
use support::{h2, say, track};

/// A proxy with a site, and these listeners in addition to its plain one.
async fn setup(posthog: &PostHog, site: &Recorder, more: &str) -> Running {
    let rest = yaml(&posthog.url()).replace(
        "delivery:",
        &format!("  - {{path: /, origin: \"{}\"}}\ndelivery:", site.url()),
    );
    Running::listening(&format!("[{{address}}, {more}]"), &rest).await
}

async fn site() -> Recorder {
    Recorder::that(|_| Act::Answer(response("200 OK", "", "page"))).await
}

fn version_2(source: SocketAddr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    let SocketAddr::V4(source) = source else {
        panic!("an IPv4 address");
    };
    header.extend(source.ip().octets());
    header.extend([127, 0, 0, 1]);
    header.extend(source.port().to_be_bytes());
    header.extend(80_u16.to_be_bytes());
    header
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancers_word_is_taken_from_a_balancer_only() {
    let (posthog, site) = (PostHog::start().await, site().await);
    let (ours, foreign) = (unused_address(), unused_address());
    let more = format!(
        "{{address: \"{ours}\", proxy_protocol: 127.0.0.0/8}}, \
         {{address: \"{foreign}\", proxy_protocol: 10.0.0.0/8}}"
    );
    let running = setup(&posthog, &site, &more).await;
    let source: SocketAddr = "203.0.113.7:4711".parse().unwrap();
    let text = format!(
        "PROXY TCP4 {} 127.0.0.1 {} 80\r\n",
        source.ip(),
        source.port()
    );
    let page = "GET /page HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n";
    let mut seen = 0;
    let mut wrong = Vec::new();
    for header in [text.into_bytes(), version_2(source)] {
        let mut client = Client::connect(ours).await;
        // Only the header, then two requests on the connection.
        client.send(&header).await;
        for _ in 0..2 {
            assert_eq!(client.exchange(page.as_bytes()).await.status, 200);
            seen += 1;
            let asked = site.requests(seen).await;
            let told = asked[seen - 1].header("x-forwarded-for");
            if told.as_deref() != Some("203.0.113.7") {
                wrong.push(format!("the site is told {told:?}"));
            }
        }
        let event = track(&format!("proxied-{seen}"), 200);
        let request = post("/hr/v1/t", "", event.as_bytes());
        let mut client = Client::connect(ours).await;
        let answer = client.exchange(&[header, request].concat()).await;
        assert_eq!(answer.status, 200);
    }
    for (at, bytes, expected) in [
        // Wrong headers of a load balancer.
        (ours, page.as_bytes().to_vec(), None),
        (ours, b"PROXY TCP4 broken\r\n".to_vec(), None),
        // A peer that is no load balancer.
        (
            foreign,
            [version_2(source), page.into()].concat(),
            Some(400),
        ),
        (
            foreign,
            format!("PROXY UNKNOWN\r\n{page}").into_bytes(),
            Some(400),
        ),
        (foreign, page.as_bytes().to_vec(), Some(200)),
        // A connection of the load balancer itself.
        (
            ours,
            format!("PROXY UNKNOWN\r\n{page}").into_bytes(),
            Some(200),
        ),
    ] {
        let mut client = Client::connect(at).await;
        client.send(&bytes).await;
        let status = client.next().await.map(|answer| answer.status);
        if status != expected {
            let bytes = String::from_utf8_lossy(&bytes).into_owned();
            wrong.push(format!("{bytes:?}: {status:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    drop(running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_2_without_tls_works_if_switched_on() {
    let (posthog, site) = (PostHog::start().await, site().await);
    let both = unused_address();
    let mut running = setup(
        &posthog,
        &site,
        &format!("{{address: \"{both}\", h2c: on}}"),
    )
    .await;
    let body = track("h2c", 300);
    let mut two = h2::Client::connect(both).await;
    let answer = two.exchange("/hr/v1/t", &[], &[body.as_bytes()]).await;
    assert_eq!(answer.status, 200);
    let (answer, complete) = two.get("/page", &[]).await;
    assert_eq!((answer.status, complete), (200, true));
    // Shorter than the preface of HTTP/2, and a request that begins like it.
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "PRI / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut client = Client::connect(both).await;
        assert_eq!(client.exchange(request.as_bytes()).await.status, 200);
    }
    let mut client = Client::connect(both).await;
    for id in ["one", "two"] {
        let request = post("/hr/v1/t", "", track(id, 200).as_bytes());
        assert_eq!(client.exchange(&request).await.status, 200);
    }
    // The other listener has no HTTP/2.
    let mut plain = Client::connect(running.process.address).await;
    plain.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(plain.next().await.is_none_or(|answer| answer.status >= 400));
    // A silent connection does not delay the shutdown.
    let mut silent = Client::connect(both).await;
    let mut third = Client::connect(both).await;
    let request = post("/hr/v1/t", "", track("three", 200).as_bytes());
    assert_eq!(third.exchange(&request).await.status, 200);
    running.process.signal("-TERM");
    assert!(silent.ends().await);
    drop((client, third, two));
    assert_eq!(running.process.end().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_requests_for_the_site_are_sent_to_tls() {
    let (posthog, site) = (PostHog::start().await, site().await);
    let (plain, other) = (unused_address(), unused_address());
    let more = format!(
        "{{address: \"{plain}\", redirect: https}}, \
         {{address: \"{other}\", redirect: \"https:8443\"}}"
    );
    let running = setup(&posthog, &site, &more).await;
    let event = track("plain", 200);
    let mut wrong = Vec::new();
    for (at, request, status, location) in [
        (
            plain,
            "GET /a?b=c HTTP/1.1\r\nHost: shop.example:80\r\n\r\n".to_owned(),
            301,
            "https://shop.example/a?b=c",
        ),
        (
            other,
            "HEAD / HTTP/1.1\r\nHost: shop.example\r\n\r\n".to_owned(),
            301,
            "https://shop.example:8443/",
        ),
        (
            plain,
            "POST /form HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1\r\n\r\nx".to_owned(),
            308,
            "https://shop.example/form",
        ),
        (
            plain,
            "GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: shop.example\r\n\r\n".to_owned(),
            200,
            "",
        ),
        (
            plain,
            String::from_utf8(post("/hr/v1/t", "", event.as_bytes())).unwrap(),
            200,
            "",
        ),
        (
            running.process.address,
            "GET /a HTTP/1.1\r\nHost: shop.example\r\n\r\n".to_owned(),
            200,
            "",
        ),
    ] {
        let mut client = Client::connect(at).await;
        client.send(request.as_bytes()).await;
        let answer = match request.starts_with("HEAD") {
            true => client.answer_to_head().await,
            false => client.answer().await,
        };
        if (answer.status, answer.header("location").as_str()) != (status, location) {
            wrong.push(format!("{request:?}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    posthog.events(1).await;
    assert_eq!(site.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_names_the_framework_or_this_proxy() {
    let (posthog, site) = (PostHog::start().await, site().await);
    let both = unused_address();
    let running = setup(
        &posthog,
        &site,
        &format!("{{address: \"{both}\", h2c: on}}"),
    )
    .await;
    let mut wrong = Vec::new();
    let mut answered = 0;
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(2 << 20)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(400)
    );
    let good = "GET /gone HTTP/1.1\r\nHost: a\r\n\r\n";
    for (request, ends) in [
        ("\0\0\0\0\r\n\r\n", false),
        ("GET\r\n\r\n", false),
        ("GET / HTTP/9.9\r\nHost: a\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n", false),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", false),
        ("G\u{e4}T / HTTP/1.1\r\nHost: a\r\n\r\n", false),
        ("GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n", false),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
            false,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            false,
        ),
        (
            "POST /hr/v1/t HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            false,
        ),
        (
            "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            false,
        ),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", false),
        ("CONNECT a:443 HTTP/1.0\r\n\r\n", false),
        ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", false),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", false),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", false),
        ("\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: a", true),
        (
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
            true,
        ),
        (
            "POST /hr/v1/t HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
            true,
        ),
        (&long, false),
        (&many, false),
        (good, false),
    ] {
        for at in [running.process.address, both] {
            let mut client = Client::connect(at).await;
            client.send(request.as_bytes()).await;
            if ends {
                client.half_close().await;
            } else {
                // Either answer to the first request closes the connection.
                client
                    .send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    .await;
                client.half_close().await;
            }
            let answer = client.rest().await;
            answered += usize::from(!answer.is_empty());
            let text = String::from_utf8_lossy(&answer).to_lowercase();
            let short = &request[..request.len().min(60)];
            for mark in ["pingora", "hedgerow", "server:", "via:", "x-powered"] {
                if text.contains(mark) {
                    wrong.push(format!("{short:?}: {text}"));
                }
            }
        }
    }
    let connect = http::Request::connect("a.example:443").body(()).unwrap();
    let answer = h2::ask(both, connect).await;
    answered += 1;
    if answer.status != 405 || answer.headers.contains_key("server") {
        wrong.push(format!("CONNECT over HTTP/2: {answer:?}"));
    }
    say(format_args!("{answered} answers looked at"));
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(answered > 40, "{answered}");
}
