//! Internal faults: a panic in a request, no free file descriptors or threads, a DNS server that is
//! silent, broken or lies. Ordinary clients get service before, during (as far as possible) and
//! after the fault; no acknowledged event is lost.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "faults/clock.rs"]
mod clock;
#[path = "faults/dns.rs"]
mod dns;
#[path = "faults/setup.rs"]
mod setup;
mod support;

use std::process::Command;
use std::sync::Arc;

use hedgerow::proxy::Observer;
use hedgerow::rewrite::MessageOutcome;
use hedgerow::Hedgerow;
use setup::Setup;
use support::client::{post, Client};
use support::proxy::{config, yaml, PostHog, Proxy, Speaks};
use support::recorder::{response, Act, Recorder};
use support::{batch, eventually, h2, track};

/// An observer that panics at one event and records all others.
struct PanickingObserver;

impl Observer for PanickingObserver {
    fn message(&self, came: &[u8], _: MessageOutcome<'_>) {
        let text = String::from_utf8_lossy(came);
        assert!(!text.contains("u-panic"), "this event was to panic");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_one_request_harms_no_other() {
    let posthog = PostHog::start().await;
    let site = Recorder::that(|_| Act::Answer(response("200 OK", "", "page"))).await;
    let yaml = yaml(&posthog.url()).replace(
        "delivery:",
        &format!("  - {{path: /, origin: \"{}\"}}\ndelivery:", site.url()),
    );
    let hedgerow = Hedgerow::builder(config(&yaml)).watch(Arc::new(PanickingObserver));
    let proxy = Proxy::of(hedgerow.build().unwrap(), Speaks::Both).await;
    let mut kept = Client::connect(proxy.address).await;
    let mut shared = h2::Client::connect(proxy.address).await;
    let mut sent = 0;
    for round in 0..10 {
        // The panic ends the connection over HTTP/1.1 and the stream over HTTP/2.
        let mut client = Client::connect(proxy.address).await;
        let event = track("panic", 300);
        client
            .send(&post("/hr/v1/track", "", event.as_bytes()))
            .await;
        assert_eq!(client.next().await.map(|answer| answer.status), None);
        let (answer, mut body) = shared.post("/hr/v1/track", &[]).await;
        h2::send(&mut body, event.as_bytes(), true).await;
        assert!(support::within("its end", answer).await.is_err());
        // Other requests on the same connections and on all routes.
        let event = track(&format!("ordinary-{round}"), 300);
        let one = kept
            .exchange(&post("/hr/v1/track", "", event.as_bytes()))
            .await;
        let event = track(&format!("shared-{round}"), 300);
        let two = shared
            .exchange("/hr/v1/track", &[], &[event.as_bytes()])
            .await;
        let page = shared.get("/page", &[]).await.0;
        assert_eq!((one.status, two.status, page.status), (200, 200, 200));
        sent += 2;
    }
    assert_eq!(posthog.capture.stored(), sent, "what panicked was not sent");
    // The request that panicked holds no memory any more.
    eventually("the memory is given back", || {
        (proxy.hedgerow.counts().held == 0).then_some(())
    })
    .await;
}

/// Sets a limit of a running process, as the user of that process.
fn limit(wrapper: &[String], process: u32, what: &str) {
    let id = process.to_string();
    let mut words: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    words.extend(["prlimit", "--pid", &id, what]);
    let status = Command::new(words[0]).args(&words[1..]).status();
    assert!(status.expect("util-linux has it").success(), "{what}");
}

/// The status of the answer; the client tries again if the server closed its connection to make
/// room.
async fn served(setup: &Setup, request: &[u8]) -> u16 {
    let start = std::time::Instant::now();
    loop {
        let mut client = Client::connect(setup.address).await;
        client.send(request).await;
        if let Some(answer) = client.next().await {
            return answer.status;
        }
        assert!(start.elapsed() < support::DEADLINE, "{}", setup.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_those_who_ask_have_their_turn_and_no_event_is_lost() {
    let mut posthog = support::running::StandIn::start().await;
    let site = Recorder::that(|_| Act::Answer(response("200 OK", "", "page"))).await;
    let setup = Setup::start(&[], &posthog.url(), &site.url()).await;
    let mut there = Client::connect(setup.address).await;
    let mut ids = Vec::new();
    let mut event = |name: &str| {
        let id = format!("{name}-{}", ids.len());
        let event = track(&id, 300);
        ids.push(format!("u-{id}"));
        post("/hr/v1/track", "", event.as_bytes())
    };
    assert_eq!(there.exchange(&event("before")).await.status, 200);
    assert_eq!(
        there
            .exchange(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .status,
        200
    );
    // The limit is the number of descriptors that are open now.
    let open = setup.descriptors();
    limit(&[], setup.id(), &format!("--nofile={open}:"));
    let crowd: Vec<_> = (0..60)
        .map(|_| std::net::TcpStream::connect(setup.address).unwrap())
        .collect();
    // The server closes idle connections and serves connections with a request.
    for _ in 0..5 {
        assert_eq!(served(&setup, &event("during")).await, 200);
    }
    posthog.stop();
    for _ in 0..5 {
        assert_eq!(served(&setup, &event("spooled")).await, 200);
    }
    // Without a descriptor the site cannot be reached, and the log says so.
    let page = served(&setup, b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(page == 200 || page == 502, "{page}");
    let said = setup.log().lines().count();
    assert!(said < 100, "{said} lines:\n{}", setup.log());
    drop(crowd);
    limit(&[], setup.id(), "--nofile=1024:");
    posthog.resume();
    eventually("a new client is served", || {
        setup.descriptors_are_few().then_some(())
    })
    .await;
    let mut new = Client::connect(setup.address).await;
    assert_eq!(new.exchange(&event("after")).await.status, 200);
    assert_eq!(
        new.exchange(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .status,
        200
    );
    setup.all_arrive(&posthog.capture, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_threads_events_wait_a_changed_file_too_and_nothing_ends() {
    // The system limits a user's threads, but not root's.
    let Some(wrapper) = setup::unprivileged() else {
        println!("SKIPPED: this user can become no other, whose threads are limited");
        return;
    };
    let posthog = PostHog::start().await;
    let site = Recorder::that(|_| Act::Answer(response("200 OK", "", "page"))).await;
    // A host name, because its lookup needs a thread.
    let named = posthog.url().replace("127.0.0.1", "localhost");
    let setup = Setup::start(&wrapper, &named, &site.url()).await;
    let mut there = Client::connect(setup.address).await;
    let page = b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(there.exchange(page).await.status, 200);
    limit(&wrapper, setup.id(), "--nproc=1:");
    setup.configure("timeout: 5s", "timeout: 6s");
    let mut ids = Vec::new();
    for number in 0..3 {
        let event = track(&format!("{number}"), 300);
        ids.push(format!("u-{number}"));
        let answer = there
            .exchange(&post("/hr/v1/track", "", event.as_bytes()))
            .await;
        assert_eq!(answer.status, 200, "{}", setup.log());
        let page = there
            .exchange(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        assert_eq!(page.status, 200);
    }
    // Bodies for which the other requests of their thread are handed to another one.
    let body = batch(600, 500);
    let mut large = Vec::new();
    for _ in 0..4 {
        let mut client = Client::connect(setup.address).await;
        client.send(&post("/hr/v1/b", "", body.as_bytes())).await;
        large.push(client);
    }
    for mut client in large {
        assert_eq!(client.answer().await.status, 200, "{}", setup.log());
    }
    ids.extend((0..600).map(|number| format!("u-{number}")));
    assert_eq!(posthog.capture.stored(), 0, "no name could be looked up");
    let cause = "the name cannot be looked up, because the system starts no more threads";
    let delay = "large bodies delay other requests";
    // Hedgerow writes its log a moment later.
    eventually("the causes in the log", || {
        let log = setup.log();
        (log.contains(cause) && log.contains(delay)).then_some(())
    })
    .await;
    assert_eq!(setup.log().matches(delay).count(), 1, "{}", setup.log());
    limit(&wrapper, setup.id(), "--nproc=1000:");
    setup.all_arrive(&posthog.capture, &ids).await;
    eventually("the file is read", || {
        let log = setup.log();
        log.contains("the configuration was reloaded").then_some(())
    })
    .await;
    assert!(!setup.log().contains("panicked"), "{}", setup.log());
}

/// It used to say that PostHog does not accept the events, because they cannot be compressed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_threads_the_replay_names_them_as_the_cause() {
    // The system limits a user's threads, but not root's.
    let Some(wrapper) = setup::unprivileged() else {
        println!("SKIPPED: this user can become no other, whose threads are limited");
        return;
    };
    let mut posthog = support::running::StandIn::start().await;
    let site = Recorder::that(|_| Act::Answer(response("200 OK", "", "page"))).await;
    let setup = Setup::start(&wrapper, &posthog.url(), &site.url()).await;
    posthog.stop();
    let mut client = Client::connect(setup.address).await;
    let call = post("/hr/v1/b", "", batch(600, 500).as_bytes());
    assert_eq!(client.exchange(&call).await.status, 200, "{}", setup.log());
    limit(&wrapper, setup.id(), "--nproc=1:");
    posthog.resume();
    eventually("the cause is named", || {
        let log = setup.log();
        let names = log.contains("cannot be compressed: the system starts no more threads");
        names.then_some(())
    })
    .await;
    limit(&wrapper, setup.id(), "--nproc=1000:");
    let ids: Vec<String> = (0..600).map(|number| format!("u-{number}")).collect();
    setup.all_arrive(&posthog.capture, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_broken_or_lying_dns_loses_no_event_and_stops_no_page() {
    let Some(resolver) = dns::Resolver::start() else {
        println!("SKIPPED: this user can put no other resolver into /etc/resolv.conf");
        return;
    };
    let site = Recorder::that(|_| Act::Answer(response("200 OK", "", "page"))).await;
    for mood in dns::TROUBLES {
        let posthog = PostHog::start().await;
        let named = format!("http://posthog.hedgerow.example:{}", posthog.address.port());
        resolver.now(mood);
        let setup = Setup::start(&resolver.wrapper(), &named, &site.url()).await;
        let mut there = Client::connect(setup.address).await;
        let mut ids = Vec::new();
        for number in 0..5 {
            let event = track(&format!("{mood:?}-{number}"), 300);
            ids.push(format!("u-{mood:?}-{number}"));
            let answer = there
                .exchange(&post("/hr/v1/track", "", event.as_bytes()))
                .await;
            assert_eq!(answer.status, 200, "{mood:?}: {}", setup.log());
            let page = there
                .exchange(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n")
                .await;
            assert_eq!(page.status, 200, "{mood:?}");
        }
        assert_eq!(posthog.capture.stored(), 0, "{mood:?}");
        resolver.now(dns::AnswerMode::Well);
        setup.all_arrive(&posthog.capture, &ids).await;
        assert!(resolver.asked() > 0, "{mood:?}: it was asked");
    }
}
