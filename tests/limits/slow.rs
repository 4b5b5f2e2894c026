//! Every body must arrive with a minimum rate. The proxy does not cut a body that does.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use hedgerow::Hedgerow;
use http::StatusCode;
use pingora::proxy::{ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;

use super::support::client::{Answer, Client};
use super::support::proxy::{config, yaml, PostHog, Proxy, Speaks};
use super::support::{eventually, track, DEADLINE};

/// A minimum rate that a slow drip does not reach and the steady sender below exceeds many times.
const LIMITS: &str = "limits: {body_rate: 1000B, body_grace: 1s}\n";

/// A host proxy that calls `intercept` and does nothing else.
struct Host(Hedgerow);

#[async_trait]
impl ProxyHttp for Host {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Err(pingora::Error::new_str("there is no site"))
    }

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> pingora::Result<bool> {
        self.0.intercept(session).await
    }
}

fn text(posthog: &PostHog, more: &str) -> String {
    let routes = format!("  - {{path: /ph/, posthog: shop}}\n{more}delivery:");
    let yaml = yaml(&posthog.url()).replace("delivery:", &routes);
    format!("{LIMITS}{yaml}")
}

async fn site(posthog: &PostHog) -> Proxy {
    let origin = format!("  - {{path: /, origin: \"{}\"}}\n", posthog.url());
    Proxy::start(&text(posthog, &origin)).await
}

async fn host(posthog: &PostHog) -> Proxy {
    let hedgerow = Hedgerow::in_a_host(config(&text(posthog, ""))).unwrap();
    Proxy::around(hedgerow.clone(), Host(hedgerow), Speaks::Http1).await
}

fn head(path: &str, length: usize) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n\r\n")
        .into_bytes()
}

/// The answer to a body of which one byte comes from time to time.
async fn drip(proxy: &Proxy, path: &str) -> Answer {
    let mut client = Client::connect(proxy.address).await;
    client.send(&head(path, 100_000)).await;
    let start = Instant::now();
    while start.elapsed() < DEADLINE {
        if let Ok(answer) = tokio::time::timeout(Duration::from_millis(20), client.next()).await {
            return answer.unwrap_or_else(|| panic!("{path}: it ends without an answer"));
        }
        client.send(b"x").await;
    }
    panic!("{path}: it drips on")
}

fn count(proxy: &Proxy, call: &str, code: &str) -> u64 {
    let counts = proxy.hedgerow.state().requests;
    let counts = counts.iter();
    let counts = counts.filter(|count| count.answered.code() == code && count.asked.word() == call);
    counts.map(|count| count.number).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_drips_ends_wherever_it_is_for() {
    let posthog = PostHog::start().await;
    let (site, host) = (site(&posthog).await, host(&posthog).await);
    // An SDK repeats 503 after its own wait; Chromium itself repeats 408 at once.
    let cases = [
        (&site, "/hr/v1/t", "track", StatusCode::SERVICE_UNAVAILABLE),
        (&site, "/hr/v1/b", "batch", StatusCode::SERVICE_UNAVAILABLE),
        (
            &site,
            "/ph/i/v0/e/",
            "posthog",
            StatusCode::SERVICE_UNAVAILABLE,
        ),
        (&site, "/upload", "site", StatusCode::REQUEST_TIMEOUT),
        (&host, "/hr/v1/t", "track", StatusCode::SERVICE_UNAVAILABLE),
        (
            &host,
            "/ph/i/v0/e/",
            "posthog",
            StatusCode::SERVICE_UNAVAILABLE,
        ),
    ];
    let mut wrong = Vec::new();
    for (proxy, path, call, status) in cases {
        let answer = drip(proxy, path).await;
        if answer.status != status.as_u16()
            || !answer.header("connection").eq_ignore_ascii_case("close")
        {
            wrong.push(format!("{path}: {answer:?}"));
        }
        // The client may have its answer before the request is counted.
        eventually(&format!("{path}: it is counted"), || {
            (count(proxy, call, "slow_body") == 1).then_some(())
        })
        .await;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(posthog.capture.stored(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_comes_steadily_is_taken_however_long_it_takes() {
    let posthog = PostHog::start().await;
    let (site, host) = (site(&posthog).await, host(&posthog).await);
    let body = track("steady", 150_000);
    for (number, (proxy, path)) in [
        (&site, "/hr/v1/t"),
        (&host, "/hr/v1/t"),
        (&site, "/ph/i/v0/e/"),
        (&host, "/ph/i/v0/e/"),
        (&site, "/anything"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Client::connect(proxy.address).await;
        client.send(&head(path, body.len())).await;
        // Over several grace periods.
        for piece in body.as_bytes().chunks(body.len() / 30) {
            client.send(piece).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let answer = client.answer().await;
        let slow = [StatusCode::REQUEST_TIMEOUT, StatusCode::SERVICE_UNAVAILABLE];
        let slow = slow.map(|status| status.as_u16());
        assert!(
            !slow.contains(&answer.status),
            "{number} {path}: {answer:?}"
        );
    }
    // The limits of the plug-in's requests are those of the binary's.
    let route = eventually("it is counted", || {
        let routes = host.hedgerow.state().routes;
        let route = routes.into_iter().find(|route| route.name == "/ph/");
        route.filter(|route| route.times.number() > 0)
    })
    .await;
    assert_eq!(route.received_bytes, body.len() as u64);
    assert_eq!(route.times.number(), 1);
}
