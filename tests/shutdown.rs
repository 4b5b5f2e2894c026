//! No request fails while the process shuts down, after SIGTERM or because a new process takes over
//! its sockets. Real processes, real sockets, clients that never stop.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "shutdown/early.rs"]
mod early;
#[path = "shutdown/load.rs"]
mod load;
#[allow(dead_code)]
#[path = "shutdown/process.rs"]
mod process;
#[path = "shutdown/secure.rs"]
mod secure;
#[path = "shutdown/single.rs"]
mod single;
mod support;
#[path = "shutdown/two.rs"]
mod two;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hedgerow::demo::capture::{Capture, InjectedFault};
use http::StatusCode;
use load::{ids, Load, Tally};
use process::Process;
use support::proxy::{yaml, PostHog};

/// The minimum of requests in a test under load.
const REQUESTS: usize = 20_000;

/// How long the stored events may take to arrive after the trouble, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn spooling(host: &str, folder: &Path) -> String {
    let spool = format!("{{path: \"{}\"}}", folder.join("spool").display());
    yaml(host).replace("\"off\"", &spool)
}

/// Every acknowledged event arrives once by its uuid, and each client's events arrive in order.
async fn settle(posthog: &PostHog, acknowledged: &[Vec<String>], tally: &Tally, what: &str) {
    let acknowledged_ids = ids(acknowledged);
    let start = Instant::now();
    let mut arrived: BTreeMap<String, BTreeSet<_>> = BTreeMap::new();
    let mut order: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let (mut seen, mut stored) = (0, 0);
    while (arrived.len() < acknowledged_ids.len() || stored == 0) && start.elapsed() < PATIENCE {
        let events = posthog.capture.events();
        stored = events.len();
        for event in events.iter().skip(seen) {
            let id = event.properties["id"].as_str().unwrap().to_owned();
            let number = id.split('-').nth(1).unwrap().parse().unwrap();
            let uuids = arrived.entry(id).or_default();
            if uuids.is_empty() {
                order
                    .entry(event.distinct_id.clone())
                    .or_default()
                    .push(number);
            }
            uuids.insert(event.uuid);
        }
        seen = stored;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let uuids: usize = arrived.values().map(BTreeSet::len).sum();
    let lost: Vec<_> = acknowledged_ids
        .iter()
        .filter(|id| !arrived.contains_key(**id))
        .collect();
    let turned: Vec<_> = order
        .iter()
        .filter(|(_, numbers)| !numbers.is_sorted())
        .map(|(client, numbers)| {
            let at = numbers.windows(2).position(|two| two[0] > two[1]).unwrap();
            (client, &numbers[at..at + 2])
        })
        .collect();
    let failures = tally.failures();
    support::say(format_args!(
        "{what}: requests {}, answered {}, failed {}, sent again over a new connection {}, \
         in the gap {}; events acknowledged {}, stored {stored}, by uuid {uuids}, lost {}, \
         clients out of order {}",
        tally.requests.load(Ordering::SeqCst),
        tally.answered.load(Ordering::SeqCst),
        failures.len(),
        tally.resent.load(Ordering::SeqCst),
        tally.in_the_gap.load(Ordering::SeqCst),
        acknowledged_ids.len(),
        lost.len(),
        turned.len(),
    ));
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(turned.is_empty(), "out of order: {turned:?}");
    assert_eq!(arrived.len(), uuids, "one uuid for each");
    assert!(acknowledged_ids.len() >= REQUESTS, "too few requests");
}

/// PostHog goes away and comes back, so that both processes stream and spool in turn.
async fn flicker(capture: Arc<Capture>) {
    loop {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        capture.set_fault(InjectedFault::Status(status, None));
        tokio::time::sleep(Duration::from_millis(60)).await;
        capture.set_fault(InjectedFault::None);
        tokio::time::sleep(Duration::from_millis(140)).await;
    }
}

async fn hand_overs(name: &str, rest: impl Fn(&PostHog, &Path) -> String, trouble: bool) {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let rest = rest(&posthog, folder.path());
    let mut process = Process::start(folder.path(), "[{address}]", &rest).await;
    let load = Load::start(process.address);
    const HAND_OVERS: usize = 6;
    for round in 1..=HAND_OVERS {
        load.reaches(round * REQUESTS / (HAND_OVERS + 1)).await;
        // Signals that tools send to every process must not end it.
        for unmeant in ["-HUP", "-USR1", "-USR2"] {
            process.signal(unmeant);
        }
        let flickering = trouble.then(|| tokio::spawn(flicker(Arc::clone(&posthog.capture))));
        process.hand_over().await;
        if let Some(flickering) = flickering {
            flickering.abort();
            let _ = flickering.await;
            posthog.capture.set_fault(InjectedFault::None);
        }
    }
    load.reaches(REQUESTS).await;
    let tally = Arc::clone(&load.tally);
    let acknowledged = load.end().await;
    settle(&posthog, &acknowledged, &tally, name).await;
    process.signal("-TERM");
    assert_eq!(process.end().await, Some(0));
    assert!(!process.socket.exists(), "the socket is left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hand_overs_in_a_row_fail_no_request_and_lose_no_event() {
    hand_overs("hand-overs", |to, _| yaml(&to.url()), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_on_one_spool_keep_the_order_while_posthog_is_in_trouble() {
    let rest = |to: &PostHog, folder: &Path| spooling(&to.url(), folder);
    hand_overs("hand-overs with a spool", rest, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hand_overs_in_mode_spool_lose_no_event() {
    let rest = |to: &PostHog, folder: &Path| {
        spooling(&to.url(), folder).replace("delivery: {", "delivery: {mode: spool, ")
    };
    hand_overs("hand-overs in mode spool", rest, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_fail_no_request_that_began_before_the_stop_and_lose_no_event() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let rest = spooling(&posthog.url(), folder.path());
    let mut process = Process::start(folder.path(), "[{address}]", &rest).await;
    let load = Load::start(process.address);
    const RESTARTS: usize = 4;
    for round in 1..=RESTARTS {
        load.reaches(round * REQUESTS / (RESTARTS + 1)).await;
        load.tally.stops();
        process.signal("-TERM");
        assert_eq!(process.end().await, Some(0));
        process.start_again().await;
        load.tally.runs_again();
    }
    load.reaches(REQUESTS).await;
    let tally = Arc::clone(&load.tally);
    let acknowledged = load.end().await;
    settle(&posthog, &acknowledged, &tally, "restarts").await;
    process.signal("-TERM");
    assert_eq!(process.end().await, Some(0));
}
