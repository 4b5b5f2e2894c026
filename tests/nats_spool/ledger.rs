//! The ledger of a shared spool: two proxies and three NATS servers. The test kills one of each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hedgerow::demo::capture::InjectedFault;
use http::StatusCode;

use super::binaries::sharing;
use super::binary::{self, send, Binary};
use super::relay::{Line, Relay};
use super::server::Server;
use super::support::proxy::PostHog;
use super::support::say;

const CLIENTS: usize = 24;
const BATCH: usize = 10;
const SECOND: &str = "2026-11-23T10:00:00";

/// How long the stored events may take to arrive after the trouble, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// The number of events; HEDGEROW_LEDGER_EVENTS sets a longer run.
fn events() -> usize {
    let asked = std::env::var("HEDGEROW_LEDGER_EVENTS").ok();
    asked.map_or(2_400, |text| text.parse().expect("a number of events"))
}

/// Each event has a different time, in milliseconds.
fn milliseconds(batch: usize, event: usize) -> usize {
    (batch * BATCH + event) % 1_000
}

fn message(number: usize, batch: usize, event: usize) -> String {
    let id = format!("{number}-{batch}-{event}");
    let time = format!("{SECOND}.{:03}Z", milliseconds(batch, event));
    format!(
        "{{\"type\":\"track\",\"event\":\"Fine\",\"userId\":\"u-{number}\",\"messageId\":\"m-{id}\",\
         \"timestamp\":\"{time}\",\"properties\":{{\"id\":\"{id}\"}}}}"
    )
}

/// A client that sends its batches to both proxies in turn, each until it is acknowledged.
async fn client(
    number: usize,
    batches: usize,
    proxies: [SocketAddr; 2],
    acknowledged: Arc<AtomicUsize>,
) -> (BTreeSet<String>, usize) {
    let (mut ids, mut tries) = (BTreeSet::new(), 0);
    // The clients do not run in step, so that some always have a request under way.
    tokio::time::sleep(Duration::from_millis(number as u64 * 20)).await;
    for batch in 0..batches {
        let items: Vec<_> = (0..BATCH)
            .map(|event| message(number, batch, event))
            .collect();
        let body = format!("{{\"batch\":[{}]}}", items.join(","));
        loop {
            let proxy = proxies[(number + batch + tries) % 2];
            tries += 1;
            let (_, status) = send(proxy, body.clone(), String::new()).await;
            if status == Some(200) {
                ids.extend((0..BATCH).map(|event| format!("{number}-{batch}-{event}")));
                acknowledged.fetch_add(BATCH, Ordering::Relaxed);
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    (ids, tries)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_proxies_lose_nothing_when_a_server_and_a_proxy_are_killed() {
    let Some(mut servers) = Server::cluster() else {
        return;
    };
    let urls: Vec<_> = servers
        .iter()
        .map(|server| format!("\"{}\"", server.url()))
        .collect();
    let nats = format!("{{url: [{}], stream: LEDGER}}", urls.join(", "));
    let posthog = PostHog::start().await;
    let relay = Relay::start(posthog.address).await;
    let yaml = sharing(&relay.url(), &nats);
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut one = Binary::new(folders[0].path(), &yaml, "").await;
    let mut two = Binary::new(folders[1].path(), &yaml, "").await;
    let batches = events().div_ceil(CLIENTS * BATCH).max(1);
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let proxies = [one.address, two.address];
            let acknowledged = Arc::clone(&acknowledged);
            tokio::spawn(client(number, batches, proxies, acknowledged))
        })
        .collect();
    let status = |code: u16| InjectedFault::Status(StatusCode::from_u16(code).unwrap(), Some(1));
    let troubles = [
        (Line::Passes, InjectedFault::None),
        (Line::Refuses, InjectedFault::None),
        (Line::Passes, status(503)),
        (Line::Cuts, InjectedFault::None),
        (
            Line::Passes,
            InjectedFault::StoredThen(StatusCode::BAD_GATEWAY, None),
        ),
        (Line::Refuses, InjectedFault::None),
        (Line::Hangs, InjectedFault::None),
    ];
    let (mut proxies_killed, mut servers_killed) = (0, 0);
    for (round, (line, fault)) in troubles.iter().cycle().enumerate() {
        if clients.iter().all(tokio::task::JoinHandle::is_finished) && round >= troubles.len() {
            break;
        }
        posthog.capture.set_fault(fault.clone());
        relay.set(*line);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        match round % troubles.len() {
            // A server fails during an outage, another one each time.
            1 => {
                let victim = servers_killed % servers.len();
                servers[victim].kill();
                servers_killed += 1;
            }
            3 => {
                let victim = if proxies_killed % 2 == 0 {
                    &mut one
                } else {
                    &mut two
                };
                victim.kill();
                proxies_killed += 1;
                victim.start().await;
            }
            5 => servers[(servers_killed - 1) % 3].start(),
            _ => {}
        }
    }
    let under_way = acknowledged.load(Ordering::Relaxed);
    posthog.capture.set_fault(InjectedFault::None);
    relay.set(Line::Passes);
    let (mut acknowledged, mut tries) = (BTreeSet::new(), 0);
    for client in clients {
        let (ids, tried) = client.await.unwrap();
        acknowledged.extend(ids);
        tries += tried;
    }
    assert!(under_way > 0, "no request met a trouble");
    let start = Instant::now();
    let (arrived, stored) = loop {
        let (listed, _) = binary::spool(&one.file, &["ls"]);
        assert!(!listed.contains("dead "), "{listed}");
        let mut arrived: BTreeMap<String, BTreeSet<_>> = BTreeMap::new();
        let mut wrong = Vec::new();
        let events = posthog.capture.events();
        for event in &events {
            let id = event.properties["id"].as_str().unwrap().to_owned();
            let mut parts = id.split('-').skip(1).map(|part| part.parse().unwrap());
            let sent = milliseconds(parts.next().unwrap(), parts.next().unwrap());
            let time = event.timestamp.format("%Y-%m-%dT%H:%M:%S%.3f").to_string();
            if time != format!("{SECOND}.{sent:03}") {
                wrong.push((id.clone(), time));
            }
            arrived.entry(id).or_default().insert(event.uuid);
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
    say(format_args!(
        "shared spool: sent {}, acknowledged {}, tries {tries} of {BATCH} events, proxies killed \
         {proxies_killed}, servers killed {servers_killed}, arrived {stored}, by uuid {uuids}, \
         duplicates {}, lost {}; the spool was empty {:?} after the last answer",
        CLIENTS * BATCH * batches,
        acknowledged.len(),
        stored - uuids,
        lost.len(),
        start.elapsed(),
    ));
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(foreign.is_empty(), "never sent: {foreign:?}");
    assert_eq!(uuids, acknowledged.len(), "one uuid for each");
    assert!(proxies_killed >= 1 && servers_killed >= 1);
    assert_eq!(one.terminate().await, Some(0));
    assert_eq!(two.terminate().await, Some(0));
}
