//! The rate limits by client and by write key: a client above its limit gets a 429, and other
//! clients notice nothing.

use std::time::Instant;

use super::support::client::{post, Answer, Client};
use super::support::proxy::{yaml, PostHog, Proxy};
use super::support::{track, DEADLINE};

#[derive(Debug, Clone, Copy)]
enum Status {
    Is(u16),
    IsNot(u16),
}

async fn ask(proxy: &Proxy, path: &str, from: &str, headers: &str, body: &str) -> Answer {
    let headers = format!("X-Forwarded-For: {from}\r\nOrigin: https://shop.example\r\n{headers}");
    let mut client = Client::connect(proxy.address).await;
    client
        .exchange(&post(path, &headers, body.as_bytes()))
        .await
}

/// The first answer with this status (or without it) to the same request, sent repeatedly.
async fn until(wanted: Status, mut ask: impl AsyncFnMut() -> Answer) -> Answer {
    let start = Instant::now();
    loop {
        let answer = ask().await;
        let found = match wanted {
            Status::Is(status) => answer.status == status,
            Status::IsNot(status) => answer.status != status,
        };
        if found {
            return answer;
        }
        assert!(start.elapsed() < DEADLINE, "never {wanted:?}: {answer:?}");
    }
}

fn count(proxy: &Proxy, code: &str) -> u64 {
    let counts = proxy.hedgerow.state().requests;
    let counts = counts.iter().filter(|count| count.answered.code() == code);
    counts.map(|count| count.number).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_too_fast_gets_429_and_delays_no_other() {
    let posthog = PostHog::start().await;
    let text = format!(
        "trusted_proxies: 127.0.0.1\nlimits: {{requests_per_client: 1}}\n{}",
        yaml(&posthog.url()).replace("delivery:", "  - {path: /ph/, posthog: shop}\ndelivery:")
    );
    let proxy = Proxy::start(&text).await;
    for (number, path) in ["/hr/v1/t", "/ph/i/v0/e/"].into_iter().enumerate() {
        let noisy = format!("192.0.2.{number}");
        let event = track("noisy", 200);
        let told = until(Status::Is(429), async || {
            ask(&proxy, path, &noisy, "", &event).await
        })
        .await;
        assert_eq!(told.header("retry-after"), "1", "{told:?}");
        assert_eq!(
            told.header("access-control-allow-origin"),
            "https://shop.example"
        );
        for other in 0..20 {
            let from = format!("198.51.{number}.{other}");
            let answer = ask(&proxy, path, &from, "", &event).await;
            assert_ne!(answer.status, 429, "{other}: {answer:?}");
            // Addresses in one customer's IPv6 network share a limit; other networks do not.
            let from = format!("2001:db8:{number}:{other}::1");
            let answer = ask(&proxy, path, &from, "", &event).await;
            assert_ne!(answer.status, 429, "{from}: {answer:?}");
        }
        assert!(count(&proxy, "client_rate") > number as u64);
        // Requests without an event do not count.
        let preflight =
            format!("OPTIONS {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {noisy}\r\n\r\n");
        let mut client = Client::connect(proxy.address).await;
        let answer = client.exchange(preflight.as_bytes()).await;
        assert!(number == 1 || answer.status == 204, "{answer:?}");
        until(Status::IsNot(429), async || {
            ask(&proxy, path, &noisy, "", &event).await
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_key_has_its_own_limit_in_every_place() {
    let posthog = PostHog::start().await;
    let text = format!("limits: {{requests_per_key: 1}}\n{}", yaml(&posthog.url()));
    let proxy = Proxy::start(&text).await;
    let keyed = |key: &str| {
        let event = track(key, 200);
        event.replacen('{', &format!("{{\"writeKey\":\"{key}\","), 1)
    };
    let plain = track("header", 200);
    let basic = |key: &str| {
        use base64::Engine;
        let login = base64::engine::general_purpose::STANDARD.encode(format!("{key}:"));
        format!("Authorization: Basic {login}\r\n")
    };
    let by_header = |key: &str| (basic(key), plain.clone());
    let by_body = |key: &str| (String::new(), keyed(key));
    for (number, way) in [&by_header as &dyn Fn(&str) -> _, &by_body]
        .into_iter()
        .enumerate()
    {
        let (headers, body): (String, String) = way(&format!("loud_{number}"));
        let send = async || ask(&proxy, "/hr/v1/t", "203.0.113.1", &headers, &body).await;
        let told = until(Status::Is(429), send).await;
        assert_eq!(told.json()["code"], "too_many_requests");
        for other in 0..20 {
            let (headers, body) = way(&format!("quiet_{number}_{other}"));
            let answer = ask(&proxy, "/hr/v1/t", "203.0.113.1", &headers, &body).await;
            assert_eq!(answer.status, 200, "{other}: {answer:?}");
        }
        until(Status::IsNot(429), send).await;
    }
    assert!(count(&proxy, "key_rate") >= 2);
    // A request without a key cannot be counted.
    for _ in 0..20 {
        let answer = ask(&proxy, "/hr/v1/t", "203.0.113.1", "", &plain).await;
        assert_eq!(answer.status, 200);
    }
}
