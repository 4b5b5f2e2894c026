//! The spool on NATS JetStream, with real servers: one, and a cluster of three of which one is
//! killed. Without the program `nats-server` (Debian package of the same name) every test here
//! prints that it was skipped; with `HEDGEROW_CLIENTS=required` it fails.
#![cfg(feature = "nats")]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "nats_spool/age.rs"]
mod age;
#[path = "nats_spool/binaries.rs"]
mod binaries;
#[path = "outage/binary.rs"]
mod binary;
#[path = "nats_spool/lasting.rs"]
mod lasting;
#[path = "nats_spool/ledger.rs"]
mod ledger;
#[path = "nats_spool/limits.rs"]
mod limits;
#[allow(dead_code)]
#[path = "shutdown/process.rs"]
mod process;
#[allow(dead_code)]
#[path = "outage/relay.rs"]
mod relay;
#[path = "nats_spool/rights.rs"]
mod rights;
#[path = "nats_spool/server.rs"]
mod server;
#[path = "nats_spool/sharing.rs"]
mod sharing;
#[path = "nats_spool/storage.rs"]
mod storage;
mod support;

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use hedgerow::delivery::{
    Lead, NatsSettings, NatsSpool, PeekLimit, QueuedEvent, Rest, SpooledEvent, Store,
};

const EVERYTHING: PeekLimit = PeekLimit {
    events: usize::MAX,
    bytes: usize::MAX,
};

/// How long a test waits for something, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// The servers' addresses with commas between them.
fn settings(urls: &str) -> NatsSettings {
    let servers = urls.split(',').map(|url| url.parse().unwrap());
    NatsSettings {
        lead: Duration::from_secs(4),
        ..NatsSettings::new(servers.collect(), "SPOOL")
    }
}

fn event(id: &str) -> SpooledEvent {
    let text = format!(
        r#"{{"uuid":"{id}","event":"e","distinct_id":"d","timestamp":"2026-11-23T10:00:00Z","properties":{{"p":"{}"}}}}"#,
        "x".repeat(200)
    );
    SpooledEvent::new(Bytes::from(text), SystemTime::now()).unwrap()
}

fn events(ids: &[String]) -> Vec<SpooledEvent> {
    ids.iter().map(|id| event(id)).collect()
}

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("n{number}")).collect()
}

fn ids(held: &[QueuedEvent]) -> Vec<String> {
    held.iter()
        .map(|held| {
            let value: serde_json::Value = serde_json::from_slice(&held.body).unwrap();
            value["uuid"].as_str().unwrap().to_owned()
        })
        .collect()
}

async fn until<F: std::future::Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !done().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Appends, and repeats until the servers accept it.
async fn append(spool: &NatsSpool, ids: &[String]) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = spool.append("shop", events(ids)).await {
        assert!(Instant::now() < deadline, "{error}");
    }
}

async fn lead(spool: &NatsSpool) {
    until("the lead", || async {
        matches!(spool.lead("shop").await, Ok(Lead::Ours(_)))
    })
    .await;
}

/// All waiting events, as soon as there are as many as expected.
async fn take(spool: &NatsSpool, least: usize) -> Vec<QueuedEvent> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        lead(spool).await;
        match spool.peek("shop", EVERYTHING).await {
            Ok(taken) if taken.events.len() >= least => {
                assert_eq!(taken.rest, Rest::Nothing);
                return taken.events;
            }
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
