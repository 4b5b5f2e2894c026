//! Two processes on one spool: here two `Hedgerow`s of one test, which share as little as processes
//! do.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use hedgerow::delivery::{
    Leadership, PeekLimit, QueuedEvent, SharedFolder, SpoolCommand, SpooledEvent, SqliteSettings,
    SqliteSpool, Store,
};
use hedgerow::demo::capture::InjectedFault;
use http::StatusCode;

use super::process::Process;
use super::spooling;
use super::support::client::{post, Client};
use super::support::proxy::{PostHog, Proxy};
use super::support::{eventually, track, DEADLINE};

fn ls(folder: &Path) -> String {
    let mut said = Vec::new();
    let listed = SpoolCommand::Ls(Default::default()).run(&folder.join("spool"), &mut said);
    listed.unwrap();
    String::from_utf8(said).unwrap()
}

fn event(id: &str) -> SpooledEvent {
    let text = format!(
        r#"{{"uuid":"{id}","event":"e","distinct_id":"d","timestamp":"2026-11-23T10:00:00Z"}}"#
    );
    SpooledEvent::new(text.into(), SystemTime::now()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_reads_its_predecessors_changes_of_the_spool() {
    let folder = tempfile::tempdir().unwrap();
    let open = || SqliteSpool::open(folder.path(), SqliteSettings::default()).unwrap();
    let everything = PeekLimit {
        events: 100,
        bytes: 1 << 20,
    };
    let old = open();
    assert_eq!(old.leadership(), Leadership::Leader);
    old.append("shop", vec![event("a"), event("b")])
        .await
        .unwrap();
    let new = open();
    assert_eq!(new.leadership(), Leadership::Follower);
    let taken = old.peek("shop", everything).await.unwrap().events;
    old.acknowledge("shop", vec![taken[0].position]).await;
    old.append("shop", vec![event("c")]).await.unwrap();
    old.resign().await;
    drop(old);
    assert_eq!(new.leadership(), Leadership::Leader);
    new.reload().await;
    assert_eq!(new.gauges().of("shop").events(), 2, "b and c");
    // `a` no longer waits, and is stored again; `c` waits, although it came to the other.
    new.append("shop", vec![event("a"), event("c")])
        .await
        .unwrap();
    let taken = new.peek("shop", everything).await.unwrap().events;
    let bodies: Vec<_> = taken.iter().map(|held| held.body.clone()).collect();
    let expected = ["b", "c", "a"].map(|id| event(id).body().clone());
    assert_eq!(bodies, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_ends_after_the_file_was_replaced_takes_no_other_event_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let spool = SqliteSpool::open(folder.path(), SqliteSettings::default()).unwrap();
    let one = PeekLimit {
        events: 1,
        bytes: 1 << 20,
    };
    let everything = PeekLimit { events: 100, ..one };
    let ids = |events: Vec<QueuedEvent>| -> Vec<_> {
        let bodies = events.into_iter().map(|held| held.body);
        bodies.collect()
    };
    spool.append("shop", vec![event("x")]).await.unwrap();
    let taken = spool.peek("shop", one).await.unwrap().events;
    spool.acknowledge("shop", vec![taken[0].position]).await;
    let waiting = ["a", "b", "c"].map(event).to_vec();
    spool.append("shop", waiting).await.unwrap();
    let under_way = spool.peek("shop", one).await.unwrap().events;
    for name in ["spool.db", "spool.db-wal", "spool.db-shm"] {
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    spool.append("shop", vec![event("d")]).await.unwrap();
    spool.acknowledge("shop", vec![under_way[0].position]).await;
    let left = ids(spool.peek("shop", everything).await.unwrap().events);
    let expected = ["a", "b", "c", "d"].map(|id| event(id).body().clone());
    // `a` may be sent twice: PostHog removes the duplicate. All others must arrive.
    assert_eq!(left, expected);
}

#[test]
fn without_a_lock_no_other_process_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "no folder").unwrap();
    let spool = SqliteSpool::open(&file.join("spool"), SqliteSettings::default()).unwrap();
    assert_eq!(spool.leadership(), Leadership::Leader);
}

async fn send(proxy: &Proxy, id: &str) {
    let mut client = Client::connect(proxy.address).await;
    let request = post("/hr/v1/t", "", track(id, 300).as_bytes());
    assert_eq!(client.exchange(&request).await.status, 200, "{id}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_overtakes_nothing_that_its_predecessor_has_kept() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let yaml = spooling(&posthog.url(), folder.path());
    let old = Proxy::start(&yaml).await;
    send(&old, "before").await;
    posthog.events(1).await;
    let new = Proxy::start(&yaml).await;
    let trouble = |after| InjectedFault::Status(StatusCode::SERVICE_UNAVAILABLE, Some(after));
    // Longer than the two calls take on any machine; the new process knows nothing of it.
    posthog.capture.set_fault(trouble(60));
    send(&old, "first").await;
    posthog.capture.set_fault(InjectedFault::None);
    // The new process has not noticed the outage.
    send(&new, "second").await;
    assert!(ls(folder.path()).contains("\tshop\t2 events"));
    // What the old process leaves, the new one sends.
    old.hedgerow.stop_replay().await;
    drop(old);
    let ids: Vec<_> = posthog
        .events(3)
        .await
        .iter()
        .map(|event| event.distinct_id.clone())
        .collect();
    assert_eq!(ids, ["u-before", "u-first", "u-second"]);
    eventually("an empty spool", || {
        (!ls(folder.path()).contains("waiting")).then_some(())
    })
    .await;
    // Then it streams: PostHog has an event before the client has its answer.
    let start = Instant::now();
    for number in 0.. {
        let before = posthog.capture.stored();
        send(&new, &format!("streamed-{number}")).await;
        if posthog.capture.stored() == before + 1 {
            break;
        }
        assert!(start.elapsed() < DEADLINE, "it does not stream again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_live_neither_overtakes_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let yaml = spooling(&posthog.url(), folder.path());
    let old = Proxy::start(&yaml).await;
    send(&old, "0").await;
    posthog.events(1).await;
    let new = Proxy::start(&yaml).await;
    // A client whose connections reach either process.
    let mut expected = vec!["u-0".to_owned()];
    for number in 1..=20 {
        let proxy = if number % 2 == 0 { &old } else { &new };
        send(proxy, &number.to_string()).await;
        expected.push(format!("u-{number}"));
    }
    let events = posthog.events(expected.len() as u64).await;
    let ids: Vec<_> = events.iter().map(|event| &event.distinct_id).collect();
    assert_eq!(ids, expected.iter().collect::<Vec<_>>());
    // After the end of the other process it streams again.
    new.hedgerow.stop_replay().await;
    drop(new);
    let start = Instant::now();
    for number in 0.. {
        let before = posthog.capture.stored();
        send(&old, &format!("streamed-{number}")).await;
        if posthog.capture.stored() == before + 1 {
            break;
        }
        assert!(start.elapsed() < DEADLINE, "it does not stream again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_starts_while_another_stops_keeps_the_order() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let rest = spooling(&posthog.url(), folder.path());
    let place = |name: &str| {
        let place = folder.path().join(name);
        std::fs::create_dir(&place).unwrap();
        place
    };
    let mut old = Process::start(&place("old"), "[{address}]", &rest).await;
    let whole = post("/hr/v1/t", "", track("first", 300).as_bytes());
    let mut slow = Client::connect(old.address).await;
    slow.send(&whole[..whole.len() - 50]).await;
    // This answer shows that earlier events have arrived.
    let mut other = Client::connect(old.address).await;
    let request = post("/hr/v1/t", "", track("before", 300).as_bytes());
    assert_eq!(other.exchange(&request).await.status, 200);
    drop(other);
    old.signal("-TERM");
    let mut new = Process::start(&place("new"), "[{address}]", &rest).await;
    let mut client = Client::connect(new.address).await;
    let mut expected = vec!["u-before".to_owned()];
    for number in 0..40 {
        let request = post("/hr/v1/t", "", track(&number.to_string(), 300).as_bytes());
        assert_eq!(client.exchange(&request).await.status, 200);
        expected.push(format!("u-{number}"));
    }
    slow.send(&whole[whole.len() - 50..]).await;
    assert_eq!(slow.answer().await.status, 200);
    expected.push("u-first".to_owned());
    let request = post("/hr/v1/t", "", track("last", 300).as_bytes());
    assert_eq!(client.exchange(&request).await.status, 200);
    expected.push("u-last".to_owned());
    assert_eq!(old.end().await, Some(0));
    let events = posthog.events(expected.len() as u64).await;
    let ids: Vec<_> = events.iter().map(|event| &event.distinct_id).collect();
    assert_eq!(ids, expected.iter().collect::<Vec<_>>());
    new.signal("-TERM");
    assert_eq!(new.end().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_streams_although_its_predecessor_left_before_it_looked_again() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let old = SqliteSpool::open(&folder.path().join("spool"), SqliteSettings::default()).unwrap();
    assert_eq!(old.leadership(), Leadership::Leader);
    let new = Proxy::start(&spooling(&posthog.url(), folder.path())).await;
    old.resign().await;
    drop(old);
    new.hedgerow.start_replay();
    let appended = || new.hedgerow.state().spool.unwrap().appended;
    let start = Instant::now();
    for number in 0.. {
        let before = appended();
        send(&new, &format!("streamed-{number}")).await;
        if appended() == before {
            break;
        }
        assert!(start.elapsed() < DEADLINE, "it never streams");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
