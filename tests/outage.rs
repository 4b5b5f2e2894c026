//! A 200 means that the event is safe: PostHog is away, fails or refuses, the proxy is killed, the
//! disk is full. Real sockets, real files, and the real binary where a process has to die.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "outage/beacons.rs"]
mod beacons;
#[path = "outage/binary.rs"]
mod binary;
#[path = "outage/landing.rs"]
mod landing;
// More of this module is used by the ledger.
#[allow(dead_code)]
#[path = "outage/relay.rs"]
mod relay;
mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use binary::{send, Binary};
use chrono::Utc;
use hedgerow::delivery::SpoolCommand;
use hedgerow::demo::capture::{InjectedFault, UuidOrigin};
use http::StatusCode;
use relay::{Line, Relay};
use support::client::{post, Client};
use support::proxy::{yaml, PostHog, Proxy};
use support::{batch, eventually, track};

/// A configuration with this host and a spool in this folder. Its timeouts are longer than a busy
/// machine needs, because a batch that is sent twice arrives twice.
fn spooling(host: &str, folder: &Path) -> String {
    let spool = format!("{{path: \"{}\"}}", folder.join("spool").display());
    yaml(host)
        .replace("\"off\"", &spool)
        .replace("timeout: 5s", "timeout: 30s")
}

/// The same with a short timeout, for a line that hangs.
fn impatient(host: &str, folder: &Path) -> String {
    spooling(host, folder).replace("timeout: 30s", "timeout: 3s")
}

/// The output of `hedgerow spool ls`.
fn ls(folder: &Path) -> String {
    let mut said = Vec::new();
    let listed = SpoolCommand::Ls(Default::default()).run(&folder.join("spool"), &mut said);
    listed.unwrap();
    String::from_utf8(said).unwrap()
}

fn bare(id: &str) -> String {
    format!("{{\"event\":\"Order\",\"userId\":\"{id}\",\"messageId\":\"{id}\"}}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_posthog_does_not_accept_are_stored_and_delivered_unchanged() {
    let status = |code: u16| InjectedFault::Status(StatusCode::from_u16(code).unwrap(), Some(1));
    for (name, line, fault) in [
        ("away", Line::Refuses, InjectedFault::None),
        ("cut", Line::Cuts, InjectedFault::None),
        ("hung", Line::Hangs, InjectedFault::None),
        ("reset", Line::Resets, InjectedFault::None),
        ("503", Line::Passes, status(503)),
        ("429", Line::Passes, status(429)),
        ("401", Line::Passes, status(401)),
        ("404", Line::Passes, status(404)),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let posthog = PostHog::start().await;
        let relay = Relay::start(posthog.address).await;
        let yaml = match line {
            Line::Hangs => impatient(&relay.url(), folder.path()),
            _ => spooling(&relay.url(), folder.path()),
        };
        let proxy = Proxy::start(&yaml).await;
        relay.set(line);
        posthog.capture.set_fault(fault);
        let mut client = Client::connect(proxy.address).await;
        let before = Utc::now();
        for id in ["m-1", "m-2", "m-3"] {
            let request = post("/hr/v1/track", "", bare(id).as_bytes());
            let answer = client.exchange(&request).await;
            assert_eq!(answer.status, 200, "{name} {id}: {answer:?}");
        }
        let after = Utc::now();
        let waiting = ls(folder.path());
        assert!(waiting.contains("\tshop\t3 events"), "{name}: {waiting}");
        assert_eq!(posthog.capture.stored(), 0, "{name}");
        posthog.capture.set_fault(InjectedFault::None);
        relay.set(Line::Passes);
        let events = posthog.events(3).await;
        let ids: Vec<_> = events
            .iter()
            .map(|event| event.distinct_id.as_str())
            .collect();
        assert_eq!(ids, ["m-1", "m-2", "m-3"], "{name}");
        let uuids: BTreeSet<_> = events.iter().map(|event| event.uuid).collect();
        assert_eq!((events.len(), uuids.len()), (3, 3), "{name}");
        for event in &events {
            assert_eq!(event.uuid_origin, UuidOrigin::Sender, "{name}");
            // Events carry milliseconds.
            let slack = chrono::Duration::milliseconds(1);
            assert!(
                before - slack <= event.timestamp && event.timestamp <= after,
                "{name}: {} is not between {before} and {after}",
                event.timestamp
            );
        }
        let times: Vec<_> = events.iter().map(|event| event.timestamp).collect();
        assert!(times.is_sorted(), "{name}: {times:?}");
        eventually(&format!("{name}: an empty spool"), || {
            (!ls(folder.path()).contains("waiting")).then_some(())
        })
        .await;
        // Now it streams again.
        let answer = client
            .exchange(&post("/hr/v1/track", "", bare("m-4").as_bytes()))
            .await;
        assert_eq!(answer.status, 200, "{name}");
        posthog.events(4).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_is_kept_whole_when_posthog_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let relay = Relay::start(posthog.address).await;
    let proxy = Proxy::start(&spooling(&relay.url(), folder.path())).await;
    relay.set(Line::Refuses);
    let mut client = Client::connect(proxy.address).await;
    let answer = client
        .exchange(&post("/hr/v1/b", "", batch(500, 10_000).as_bytes()))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let waiting = ls(folder.path());
    assert!(waiting.contains("\tshop\t500 events"), "{waiting}");
    relay.set(Line::Passes);
    let events = posthog.events(500).await;
    let ids: Vec<_> = events
        .iter()
        .map(|event| event.distinct_id.clone())
        .collect();
    let sent: Vec<_> = (0..500).map(|number| format!("u-{number}")).collect();
    assert!(ids == sent, "500 events in their order: {ids:?}");
    assert_eq!(proxy.hedgerow.counts().held, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_event_keeps_none_of_the_others_back_and_can_be_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    posthog
        .capture
        .set_fault(InjectedFault::Poison("Poison".into()));
    let yaml = spooling(&posthog.url(), folder.path());
    let file = folder.path().join("hedgerow.yaml");
    std::fs::write(&file, &yaml).unwrap();
    let proxy = Proxy::start(&yaml).await;
    let mut items: Vec<String> = (0..100).map(|n| track(&n.to_string(), 200)).collect();
    items[42] = items[42].replace("Filled", "Poison");
    let body = format!("{{\"batch\":[{}]}}", items.join(","));
    let mut client = Client::connect(proxy.address).await;
    let answer = client
        .exchange(&post("/hr/v1/b", "", body.as_bytes()))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let events = posthog.events(99).await;
    assert!(events.iter().all(|event| event.distinct_id != "u-42"));
    let listed = eventually("a dead letter and nothing that waits", || {
        let (listed, _) = binary::spool(&file, &["ls"]);
        (listed.contains("dead 1\tshop") && !listed.contains("waiting")).then_some(listed)
    })
    .await;
    assert!(listed.contains("\t400 "), "{listed}");
    assert!(listed.contains("\tPoison\t"), "{listed}");
    let (shown, code) = binary::spool(&file, &["show", "1"]);
    assert_eq!(code, Some(0));
    assert!(shown.contains("\"Poison\""), "{shown}");
    assert_eq!(binary::spool(&file, &["show", "7"]).1, Some(2));
    posthog.capture.set_fault(InjectedFault::None);
    assert_eq!(binary::spool(&file, &["retry", "--all"]).1, Some(0));
    let events = posthog.events(100).await;
    let ids: BTreeSet<_> = events.iter().map(|event| &event.distinct_id).collect();
    assert_eq!((events.len(), ids.len()), (100, 100));
    assert_eq!(posthog.capture.stored(), 100);
}

/// Waits until PostHog has all events. On a slow machine PostHog answers too late, and some events
/// arrive twice.
async fn all_arrive(posthog: &PostHog, acknowledged: &BTreeSet<String>) {
    let what = format!("all of {} acknowledged events", acknowledged.len());
    eventually(&what, || {
        let events = posthog.capture.events();
        let arrived: BTreeSet<&str> = events
            .iter()
            .map(|event| event.distinct_id.as_str())
            .collect();
        let all = acknowledged.iter().all(|id| arrived.contains(id.as_str()));
        all.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_events_survive_kill_minus_9_and_arrive_once() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let relay = Relay::start(posthog.address).await;
    relay.set(Line::Refuses);
    let mut binary = Binary::new(folder.path(), &spooling(&relay.url(), folder.path()), "").await;
    let mut acknowledged = BTreeSet::new();
    for round in 0..3 {
        let sending: Vec<_> = (0..10)
            .map(|number| {
                let id = format!("{round}-{number}");
                tokio::spawn(send(binary.address, track(&id, 300), id))
            })
            .collect();
        for sent in sending {
            let (id, status) = sent.await.unwrap();
            assert_eq!(status, Some(200), "{id}");
            acknowledged.insert(format!("u-{id}"));
        }
        binary.kill();
        binary.start().await;
    }
    relay.set(Line::Passes);
    all_arrive(&posthog, &acknowledged).await;
    let events = posthog.capture.events();
    let arrived: BTreeSet<_> = events
        .iter()
        .map(|event| event.distinct_id.clone())
        .collect();
    let uuids: BTreeSet<_> = events.iter().map(|event| event.uuid).collect();
    assert_eq!(arrived, acknowledged);
    assert_eq!(uuids.len(), acknowledged.len());
    assert_eq!(binary.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_a_503_and_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let relay = Relay::start(posthog.address).await;
    relay.set(Line::Refuses);
    let yaml = spooling(&relay.url(), folder.path());
    // The shell limits files to 4 MiB or 8 MiB, depending on its unit.
    let mut binary = Binary::new(folder.path(), &yaml, "ulimit -f 8192;").await;
    let mut acknowledged = BTreeSet::new();
    let mut refused = None;
    for number in 0..400 {
        let id = number.to_string();
        let answer = binary::exchange(binary.address, &track(&id, 100_000)).await;
        let answer = answer.expect("it lives and answers");
        if answer.starts_with("HTTP/1.1 200") {
            acknowledged.insert(format!("u-{id}"));
        } else {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("the disk is full");
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(
        refused.to_lowercase().contains("retry-after: "),
        "{refused}"
    );
    assert!(acknowledged.len() > 5, "{acknowledged:?}");
    relay.set(Line::Passes);
    all_arrive(&posthog, &acknowledged).await;
    // The process recovers by itself.
    let start = std::time::Instant::now();
    while send(binary.address, track("again", 300), String::new())
        .await
        .1
        != Some(200)
    {
        assert!(start.elapsed() < support::DEADLINE, "not recovered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(binary.terminate().await, Some(0));
}
