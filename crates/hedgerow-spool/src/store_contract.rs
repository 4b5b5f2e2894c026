//! Tests that a spool keeps the promises of [`Store`]. The tests of each kind of spool call them.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::backend::{Backend, SpoolLimits, Terms};
use crate::error::SpoolError;
use crate::event::SpooledEvent;
use crate::store::Refusal;
use crate::store::{Availability, Lead, PeekLimit, Rest, Store};

/// The time limit of each wait, far longer than any wait here takes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Returns terms to open a spool with. `max_size` is in bytes.
pub(crate) fn terms(max_size: u64) -> Terms {
    Terms {
        limits: SpoolLimits {
            max_size,
            max_age: Duration::from_secs(7 * 86_400),
        },
        longest_delivery: Duration::from_secs(20),
        largest_event: 1 << 20,
        clock: Arc::new(SystemTime::now),
    }
}

fn event(name: &str, padding: usize) -> SpooledEvent {
    let padding = "x".repeat(padding);
    let text = format!(
        "{{\"uuid\":\"{name}\",\"event\":\"{name}\",\"distinct_id\":\"p\",\
         \"timestamp\":\"2026-11-23T10:00:00Z\",\"properties\":{{\"pad\":\"{padding}\"}}}}"
    );
    SpooledEvent::new(text.into(), SystemTime::now()).unwrap()
}

fn events(names: &[&str]) -> Vec<SpooledEvent> {
    names.iter().map(|name| event(name, 0)).collect()
}

/// Waits until `is_so` returns `true`: some kinds of spool update their gauges and counters a moment later.
async fn becomes(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(
        tokio::time::timeout(TIMEOUT, waiting).await.is_ok(),
        "{what}"
    );
}

/// Returns the names of the events that `peek` finds, in order, and whether more events wait.
async fn look(store: &dyn Store, project: &str, limit: PeekLimit) -> (Vec<String>, Rest) {
    let found = store.peek(project, limit).await.unwrap();
    let name = |body: &[u8]| {
        let text: serde_json::Value = serde_json::from_slice(body).unwrap();
        text["event"].as_str().unwrap().to_owned()
    };
    let names = found.events.iter().map(|event| name(&event.body));
    (names.collect(), found.rest)
}

/// Tests on an empty spool that events are stored, acknowledged and dead-lettered as [`Store`] promises.
pub(crate) async fn are_kept(backend: &dyn Backend) {
    const ALL: PeekLimit = PeekLimit {
        events: 100,
        bytes: 1 << 20,
    };
    backend.check().unwrap();
    assert!(!backend.describe().is_empty());
    let opened = backend.open(terms(1 << 30)).unwrap();
    let store = &*opened.store;
    let (gauges, counters) = (store.gauges(), store.counters());
    assert_eq!(look(store, "one", ALL).await, (vec![], Rest::Nothing));

    // A later append follows an earlier one, and the projects are separate.
    store.append("one", events(&["a", "b"])).await.unwrap();
    store.append("other", events(&["z"])).await.unwrap();
    store.append("one", events(&["c", "d"])).await.unwrap();
    assert_eq!(gauges.of("one").events(), 4);
    assert!(gauges.of("one").bytes() > 0);
    let mut waiting = gauges.waiting();
    waiting.sort();
    assert_eq!(waiting, ["one", "other"]);
    assert_eq!(counters.appended.load(Ordering::Relaxed), 5);
    assert_eq!(store.availability(), Availability::Available);
    assert!(matches!(store.lead("one").await, Ok(Lead::Ours(_))));

    // `peek` returns at most its limit, but always one event, and removes nothing.
    for _ in 0..2 {
        let two = PeekLimit { events: 2, ..ALL };
        let (names, rest) = look(store, "one", two).await;
        assert_eq!((names, rest), (vec!["a".into(), "b".into()], Rest::More));
    }
    let narrow = PeekLimit { bytes: 1, ..ALL };
    assert_eq!(look(store, "one", narrow).await.0, ["a"]);

    // Acknowledged events are never returned again, in whatever order they are acknowledged.
    let found = store.peek("one", ALL).await.unwrap().events;
    store.acknowledge("one", vec![found[1].position]).await;
    assert_eq!(look(store, "one", ALL).await.0, ["a", "c", "d"]);
    store.acknowledge("one", vec![found[0].position]).await;
    becomes("delivered events are counted", || {
        counters.delivered.load(Ordering::Relaxed) == 2
    })
    .await;

    // An event that is refused for good becomes a dead letter and does not block the others.
    let refusal = Refusal {
        status: 400,
        reason: "invalid event".to_owned(),
    };
    let refused = store.dead_letter("one", found[2].position, refusal).await;
    refused.unwrap();
    let left = look(store, "one", ALL).await;
    assert_eq!(left, (vec!["d".to_owned()], Rest::Nothing));
    assert_eq!(counters.dead_lettered.load(Ordering::Relaxed), 1);
    becomes("dead letters are counted", || {
        gauges.of("one").dead_letters() == 1 && gauges.of("one").events() == 1
    })
    .await;

    // After the last event is removed, nothing waits in this project. The other project's event still
    // waits.
    store.acknowledge("one", vec![found[3].position]).await;
    becomes("nothing waits any more", || gauges.of("one").events() == 0).await;
    assert_eq!(look(store, "other", ALL).await.0, ["z"]);
    store.resign().await;
}

/// Tests that a spool refuses events above its limit, and accepts events again once it has room.
pub(crate) async fn are_bounded(backend: &dyn Backend, max_size: u64) {
    const ONE: PeekLimit = PeekLimit {
        events: 1,
        bytes: 1,
    };
    let opened = backend.open(terms(max_size)).unwrap();
    let store = &*opened.store;
    let mut stored = 0_u64;
    let full = loop {
        let name = format!("e{stored}");
        match store.append("one", vec![event(&name, 10_000)]).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(
            stored * 10_000 < 2 * max_size,
            "{stored} events and not full"
        );
    };
    assert!(matches!(full, SpoolError::Full { .. }), "{full}");
    assert!(stored > 0);
    assert_eq!(store.counters().refused.load(Ordering::Relaxed), 1);
    assert_eq!(look(store, "one", ONE).await.0, ["e0"]);
    for _ in 0..stored {
        let found = store.peek("one", ONE).await.unwrap().events;
        store.acknowledge("one", vec![found[0].position]).await;
    }
    let again = async {
        while store.append("one", events(&["again"])).await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let taken = tokio::time::timeout(TIMEOUT, again).await;
    assert!(taken.is_ok(), "it stays full");
    assert_eq!(look(store, "one", ONE).await.0, ["again"]);
}
