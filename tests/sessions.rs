//! Sessions, groups and repeats over real sockets. The values in a visitor's cookies reach PostHog,
//! and Hedgerow stores nothing on the visitor's device unless the settings ask for it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hedgerow::demo::capture::{InjectedFault, StoredEvent};
use hedgerow::Hedgerow;
use http::StatusCode;
use serde_json::Value;
use support::client::{post, Answer, Client};
use support::proxy::{config, yaml, PostHog, Proxy, Speaks};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A clock that the test moves.
#[derive(Clone)]
struct Clock {
    start: SystemTime,
    minutes: Arc<AtomicI64>,
}

impl Clock {
    fn new() -> Self {
        Self {
            start: SystemTime::now(),
            minutes: Arc::default(),
        }
    }

    fn advance(&self, minutes: i64) {
        self.minutes.fetch_add(minutes, Ordering::SeqCst);
    }

    fn now(&self) -> SystemTime {
        let minutes = self.minutes.load(Ordering::SeqCst) as u64;
        self.start + Duration::from_secs(minutes * 60)
    }

    fn rfc3339(&self) -> String {
        chrono::DateTime::<chrono::Utc>::from(self.now()).to_rfc3339()
    }
}

fn with_mapping(host: &str, mapping: &str) -> String {
    format!("{}mapping: {mapping}\n", yaml(host))
}

async fn proxy(posthog: &PostHog, mapping: &str, clock: &Clock) -> Proxy {
    let config = config(&with_mapping(&posthog.url(), mapping));
    let clock = clock.clone();
    let hedgerow = Hedgerow::builder(config)
        .clock(Arc::new(move || clock.now()))
        .build()
        .unwrap();
    Proxy::of(hedgerow, Speaks::Http1).await
}

fn page(id: &str, visitor: &str, clock: &Clock) -> String {
    let now = clock.rfc3339();
    format!(
        r#"{{"messageId":"{id}","anonymousId":"{visitor}","timestamp":"{now}","sentAt":"{now}","context":{{"library":{{"name":"analytics.js","version":"next-1.84.3"}},"page":{{"url":"https://shop.example.test/a"}}}}}}"#
    )
}

async fn send(proxy: &Proxy, cookie: &str, body: &str) -> Answer {
    let headers = match cookie {
        "" => String::new(),
        cookie => format!("Cookie: {cookie}\r\n"),
    };
    let mut client = Client::connect(proxy.address).await;
    let answer = client
        .exchange(&post("/hr/v1/p", &headers, body.as_bytes()))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

/// Name and value of the cookie that an answer sets.
fn cookie(answer: &Answer) -> String {
    let header = answer.header("set-cookie");
    header.split(';').next().unwrap().to_owned()
}

fn property(event: &StoredEvent, key: &str) -> Value {
    let event: Value = serde_json::from_str(&event.raw).unwrap();
    event["properties"][key].clone()
}

fn session(event: &StoredEvent) -> String {
    let session = property(event, "$session_id");
    let session = session.as_str().unwrap_or_default().to_owned();
    assert_eq!(session.as_bytes().get(14), Some(&b'7'), "{}", event.raw);
    session
}

fn cookie_sessions() -> String {
    format!("{{sessions: {{cookie: {{secret: {SECRET}}}}}}}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_lasts_until_thirty_minutes_pass_without_a_message() {
    let posthog = PostHog::start().await;
    let clock = Clock::new();
    let proxy = proxy(&posthog, &cookie_sessions(), &clock).await;
    let first = send(&proxy, "", &page("m-1", "a", &clock)).await;
    let header = first.header("set-cookie");
    for part in [
        "edge_visit=",
        "Path=/",
        "HttpOnly",
        "SameSite=Lax",
        "Max-Age=",
    ] {
        assert!(header.contains(part), "{header}");
    }
    // Without TLS, a browser would refuse a Secure cookie.
    assert!(!header.contains("Secure"), "{header}");
    clock.advance(29);
    let second = send(&proxy, &cookie(&first), &page("m-2", "a", &clock)).await;
    clock.advance(29);
    let third = send(&proxy, &cookie(&second), &page("m-3", "a", &clock)).await;
    clock.advance(31);
    let fourth = send(&proxy, &cookie(&third), &page("m-4", "a", &clock)).await;
    assert_ne!(cookie(&fourth), "");
    let sessions: Vec<String> = posthog.events(4).await.iter().map(|e| session(e)).collect();
    assert_eq!(sessions[0], sessions[1]);
    assert_eq!(sessions[1], sessions[2]);
    assert_ne!(sessions[2], sessions[3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_requests_to_several_proxies_are_one_session() {
    let posthog = PostHog::start().await;
    let clock = Clock::new();
    let one = proxy(&posthog, &cookie_sessions(), &clock).await;
    let two = proxy(&posthog, &cookie_sessions(), &clock).await;
    let bodies: Vec<String> = (0..8)
        .map(|index| page(&format!("m-{index}"), "a", &clock))
        .collect();
    let sending = bodies
        .iter()
        .enumerate()
        .map(|(index, body)| send(if index % 2 == 0 { &one } else { &two }, "", body));
    let mut last = String::new();
    for sent in sending {
        last = cookie(&sent.await);
    }
    // Each proxy continues the session that the other began.
    send(&one, &last, &page("n-1", "a", &clock)).await;
    send(&two, &last, &page("n-2", "a", &clock)).await;
    let events = posthog.events(10).await;
    let mut sessions: Vec<String> = events.iter().map(|event| session(event)).collect();
    sessions.dedup();
    assert_eq!(sessions.len(), 1, "{sessions:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_visitors_or_a_forged_cookie_gives_no_session_away() {
    let posthog = PostHog::start().await;
    let clock = Clock::new();
    let proxy = proxy(&posthog, &cookie_sessions(), &clock).await;
    let theirs = cookie(&send(&proxy, "", &page("m-1", "a", &clock)).await);
    send(&proxy, &theirs, &page("m-2", "b", &clock)).await;
    let mut forged = theirs.clone();
    let flipped = if forged.pop() == Some('A') { 'B' } else { 'A' };
    forged.push(flipped);
    clock.advance(40);
    let renewed = send(&proxy, &forged, &page("m-3", "a", &clock)).await;
    assert_ne!(cookie(&renewed), "");
    let events = posthog.events(3).await;
    let sessions: Vec<String> = events.iter().map(|event| session(event)).collect();
    assert_ne!(sessions[0], sessions[1]);
    assert_ne!(sessions[0], sessions[2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_stored_on_a_visitors_device_by_default() {
    let posthog = PostHog::start().await;
    let clock = Clock::new();
    for mapping in ["{}", "{sessions: off}", "{mode: reference}"] {
        let proxy = proxy(&posthog, mapping, &clock).await;
        let answer = send(&proxy, "edge_visit=x", &page("m-1", "a", &clock)).await;
        assert_eq!(answer.header("set-cookie"), "", "{mapping}");
    }
    for event in posthog.events(3).await {
        assert_eq!(property(&event, "$session_id"), Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_cookie_is_set_for_events_that_posthog_has_not_taken() {
    let posthog = PostHog::start().await;
    let clock = Clock::new();
    let proxy = proxy(&posthog, &cookie_sessions(), &clock).await;
    posthog.capture.set_fault_for(
        InjectedFault::Status(StatusCode::SERVICE_UNAVAILABLE, None),
        1,
    );
    let mut client = Client::connect(proxy.address).await;
    let body = page("m-1", "a", &clock);
    let answer = client
        .exchange(&post("/hr/v1/p", "", body.as_bytes()))
        .await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("set-cookie"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posthog_js_session_of_the_same_site_is_used_without_any_setting() {
    let posthog = PostHog::start().await;
    let clock = Clock::new();
    let proxy = proxy(&posthog, "{}", &clock).await;
    let since = clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let millis = since.as_millis() as u64 - 60_000;
    let hex = format!("{millis:012x}");
    let id = format!("{}-{}-7abc-8def-000000000001", &hex[..8], &hex[8..]);
    let value = format!("{{\"$sesid\":[{millis},\"{id}\",{millis}]}}");
    let value = percent_encoding::utf8_percent_encode(&value, percent_encoding::NON_ALPHANUMERIC);
    let cookie = format!("a=b; ph_phc_test_posthog={value}");
    let answer = send(&proxy, &cookie, &page("m-1", "a", &clock)).await;
    assert_eq!(answer.header("set-cookie"), "");
    assert_eq!(session(&posthog.events(1).await[0]), id);
    // It has ended thirty minutes later.
    clock.advance(31);
    send(&proxy, &cookie, &page("m-2", "a", &clock)).await;
    let ended = &posthog.events(2).await[1];
    assert_eq!(property(ended, "$session_id"), Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_group_that_analytics_js_keeps_is_on_the_events_that_follow() {
    let posthog = PostHog::start().await;
    let clock = Clock::new();
    let proxy = proxy(&posthog, "{group_type: company}", &clock).await;
    let plain = page("m-1", "a", &clock);
    let with = |from: &str, to: &str| plain.replace(from, to);
    let cookie = "ajs_group_id=%22acme%20inc%22";
    send(&proxy, cookie, &plain).await;
    let own = r#"{"properties":{"$groups":{"team":"x"}},"anonymousId""#;
    send(
        &proxy,
        cookie,
        &with(r#"{"messageId":"m-1","anonymousId""#, own),
    )
    .await;
    let same = own.replace("team", "company");
    send(
        &proxy,
        cookie,
        &with(r#"{"messageId":"m-1","anonymousId""#, &same),
    )
    .await;
    let named = with(r#""context":{"#, r#""context":{"groupId":"g","#);
    send(&proxy, cookie, &named).await;
    send(&proxy, cookie, &with("analytics.js", "analytics-node")).await;
    send(&proxy, "ajs_group_id=null", &plain).await;
    let events = posthog.events(6).await;
    let groups: Vec<String> = events
        .iter()
        .map(|event| property(event, "$groups").to_string())
        .collect();
    assert_eq!(
        groups,
        [
            r#"{"company":"acme inc"}"#,
            r#"{"company":"acme inc","team":"x"}"#,
            r#"{"company":"x"}"#,
            r#"{"company":"g"}"#,
            "null",
            "null",
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_visitors_cookies_stay_at_the_edge() {
    let recorder = support::recorder::Recorder::start().await;
    let clock = Clock::new();
    let yaml = with_mapping(&recorder.url(), &cookie_sessions());
    let proxy = Proxy::start(&yaml).await;
    send(&proxy, "login=tell-no-one", &page("m-1", "a", &clock)).await;
    let seen = &recorder.requests(1).await[0];
    assert_eq!(seen.header("cookie"), None);
    assert!(!seen.json().to_string().contains("tell-no-one"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cookie_is_secure_if_the_browser_uses_tls() {
    let posthog = PostHog::start().await;
    let clock = Clock::new();
    // A trusted proxy reports TLS.
    let mapping = cookie_sessions();
    let trusting = format!(
        "{}trusted_proxies: [127.0.0.0/8]\n",
        with_mapping(&posthog.url(), &mapping)
    );
    for (yaml, forwarded, secure) in [
        (trusting.as_str(), "https", true),
        (trusting.as_str(), "https, http", true),
        (trusting.as_str(), "http", false),
        (&with_mapping(&posthog.url(), &mapping), "https", false),
    ] {
        let proxy = Proxy::start(yaml).await;
        let mut client = Client::connect(proxy.address).await;
        let headers = format!("X-Forwarded-Proto: {forwarded}\r\n");
        let body = page("m-1", "a", &clock);
        let answer = client
            .exchange(&post("/hr/v1/p", &headers, body.as_bytes()))
            .await;
        let cookie = answer.header("set-cookie");
        assert!(cookie.starts_with("edge_visit="), "{forwarded}: {answer:?}");
        assert_eq!(
            cookie.ends_with("; Secure"),
            secure,
            "{forwarded}: {cookie}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_is_answered_and_not_sent_once_posthog_has_taken_the_first() {
    let posthog = PostHog::start().await;
    let clock = Clock::new();
    let proxy = proxy(&posthog, "{repeats: suppress}", &clock).await;
    let body = page("m-1", "a", &clock);
    posthog.capture.set_fault_for(
        InjectedFault::Status(StatusCode::SERVICE_UNAVAILABLE, None),
        1,
    );
    let mut client = Client::connect(proxy.address).await;
    let refused = client
        .exchange(&post("/hr/v1/p", "", body.as_bytes()))
        .await;
    assert_eq!(refused.status, 503, "{refused:?}");
    send(&proxy, "", &body).await;
    assert_eq!(posthog.events(1).await.len(), 1);
    let repeated = send(&proxy, "", &body).await;
    assert_eq!(repeated.json()["success"], true);
    send(&proxy, "", &page("m-2", "a", &clock)).await;
    let events = posthog.events(2).await;
    let ids: Vec<Value> = events
        .iter()
        .map(|event| serde_json::from_str::<Value>(&event.raw).unwrap()["uuid"].clone())
        .collect();
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1]);
    assert_eq!(proxy.hedgerow.counts().left_out, 1);
}
