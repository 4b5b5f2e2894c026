//! The ledger: fifty clients, an upstream in all its troubles, a proxy that is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hedgerow::demo::capture::Fault;
use http::StatusCode;

use super::binary::{self, send, Binary};
use super::relay::{Line, Relay};
use super::spooling;
use super::support::proxy::PostHog;

const CLIENTS: usize = 50;
const BATCH: usize = 10;
const TIMESTAMP: &str = "2026-11-23T10:00:00.000Z";

/// How long what is kept may take to arrive once all is well, on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(300);

/// Events in all; a longer run by HEDGEROW_LEDGER_EVENTS.
fn events() -> usize {
    let asked = std::env::var("HEDGEROW_LEDGER_EVENTS").ok();
    asked.map_or(5_000, |text| text.parse().expect("a number of events"))
}

fn message(id: &str, name: &str) -> String {
    format!(
        "{{\"type\":\"track\",\"event\":\"{name}\",\"userId\":\"u-{id}\",\"messageId\":\"m-{id}\",\
         \"timestamp\":\"{TIMESTAMP}\",\"properties\":{{\"id\":\"{id}\"}}}}"
    )
}

/// One client: its batches, each sent until it is acknowledged; the ids and the tries it took.
async fn client(
    number: usize,
    batches: usize,
    address: std::net::SocketAddr,
) -> (Vec<String>, usize) {
    let (mut acknowledged, mut tries) = (Vec::new(), 0);
    // Not all of them in step: some are always in the middle of a request.
    tokio::time::sleep(Duration::from_millis(number as u64 * 10)).await;
    for batch in 0..batches {
        let ids: Vec<String> = (0..BATCH)
            .map(|event| format!("{number}-{batch}-{event}"))
            .collect();
        let items: Vec<String> = ids
            .iter()
            .enumerate()
            .map(|(event, id)| {
                let poisoned = number == 0 && event == 3;
                message(id, if poisoned { "Poison" } else { "Fine" })
            })
            .collect();
        let body = format!("{{\"batch\":[{}]}}", items.join(","));
        loop {
            tries += 1;
            let (_, status) = send(address, body.clone(), String::new()).await;
            if status == Some(200) {
                acknowledged.extend(ids);
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    (acknowledged, tries)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_event_is_there_in_the_end_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let relay = Relay::start(posthog.address).await;
    let mut binary = Binary::new(folder.path(), &spooling(&relay.url(), folder.path()), "").await;
    let batches = events().div_ceil(CLIENTS * BATCH).max(1);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(client(number, batches, binary.address)))
        .collect();
    let status = |code: u16| Fault::Status(StatusCode::from_u16(code).unwrap(), Some(1));
    let lost_answer = Fault::StoredThen(StatusCode::BAD_GATEWAY, None);
    let troubles = [
        (Line::Passes, Fault::None),
        (Line::Refuses, Fault::None),
        (Line::Passes, Fault::Poison("Poison".into())),
        (Line::Hangs, Fault::None),
        (Line::Passes, status(503)),
        (Line::Cuts, Fault::None),
        (Line::Passes, status(429)),
        (Line::Passes, lost_answer),
    ];
    let mut kills = 0;
    for (round, (line, fault)) in troubles.iter().cycle().enumerate() {
        if clients.iter().all(tokio::task::JoinHandle::is_finished) && round >= troubles.len() {
            break;
        }
        posthog.capture.set_fault(fault.clone());
        relay.set(*line);
        tokio::time::sleep(Duration::from_millis(900)).await;
        if round % 3 == 1 {
            binary.kill();
            kills += 1;
            binary.start().await;
        }
    }
    posthog.capture.set_fault(Fault::None);
    relay.set(Line::Passes);
    let (mut acknowledged, mut tries) = (BTreeSet::new(), 0);
    for client in clients {
        let (ids, tried) = client.await.unwrap();
        acknowledged.extend(ids);
        tries += tried;
    }
    // What was refused while PostHog refused it goes again.
    let (dead, _) = binary::spool(&binary.file, &["ls"]);
    let dead = dead.lines().filter(|line| line.starts_with("dead")).count();
    let start = Instant::now();
    let (arrived, stored) = loop {
        let (listed, _) = binary::spool(&binary.file, &["ls"]);
        if listed.contains("dead ") {
            binary::spool(&binary.file, &["retry", "--all"]);
        }
        let mut arrived: BTreeMap<String, BTreeSet<_>> = BTreeMap::new();
        let mut wrong = Vec::new();
        let events = posthog.capture.events();
        for event in &events {
            let id = event.properties["id"].as_str().unwrap().to_owned();
            arrived.entry(id).or_default().insert(event.uuid);
            if event.timestamp.to_rfc3339() != "2026-11-23T10:00:00+00:00" {
                wrong.push(event.timestamp);
            }
        }
        assert!(wrong.is_empty(), "wrong times: {wrong:?}");
        let settled = arrived.len() >= acknowledged.len() && listed.contains("the spool is empty");
        if settled || start.elapsed() > PATIENCE {
            break (arrived, events.len());
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    let ids: BTreeSet<String> = arrived.keys().cloned().collect();
    let uuids: usize = arrived.values().map(BTreeSet::len).sum();
    let lost: Vec<_> = acknowledged.difference(&ids).collect();
    let foreign: Vec<_> = ids.difference(&acknowledged).collect();
    println!(
        "ledger: sent {}, acknowledged {}, tries {tries} of {BATCH} events, kills {kills}, dead \
         letters sent again {dead}, arrived {stored}, by uuid {uuids}, duplicates {}, lost {}",
        CLIENTS * BATCH * batches,
        acknowledged.len(),
        stored - uuids,
        lost.len(),
    );
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(foreign.is_empty(), "never sent: {foreign:?}");
    assert_eq!(uuids, acknowledged.len(), "one uuid for each");
    assert!(kills >= 3, "{kills}");
    assert_eq!(binary.terminate().await, Some(0));
}
