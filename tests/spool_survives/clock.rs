//! The time of day is set while events wait: nothing that was acknowledged dies of it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::Arc;

use hedgerow::delivery::Clock;
use hedgerow::demo::capture::InjectedFault;
use hedgerow::Hedgerow;
use http::StatusCode;

use super::support::client::{post, Client};
use super::support::proxy::{config, yaml, PostHog, Proxy, Speaks};
use super::support::track;
use super::*;

const DAY: i64 = 86_400;

/// A time of day that can be set.
fn clock() -> (Clock, Arc<AtomicI64>) {
    let ahead = Arc::new(AtomicI64::new(0));
    let read = Arc::clone(&ahead);
    let clock = move || match read.load(Ordering::Relaxed) {
        ahead @ 0.. => SystemTime::now() + Duration::from_secs(ahead as u64),
        behind => SystemTime::now() - Duration::from_secs(behind.unsigned_abs()),
    };
    (Arc::new(clock), ahead)
}

/// Lets the spool look at its clock a few times.
async fn looks() {
    tokio::time::sleep(Duration::from_millis(2_500)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_dies_of_a_clock_that_is_set_while_it_waits_or_while_nothing_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, ahead) = clock();
    let open = || {
        let settings = SqliteSettings::default();
        SqliteSpool::open_with_clock(folder.path(), settings, Arc::clone(&clock)).unwrap()
    };
    let spool = open();
    keep_three_and_refuse_the_first(&spool).await;
    let mut expected = vec!["b".to_owned(), "c".to_owned()];
    let mut spool = Some(spool);
    for days in [400, -400, 3_650] {
        ahead.store(days * DAY, Ordering::Relaxed);
        looks().await;
        let id = format!("after {days}");
        let open_one = spool.take().unwrap();
        open_one.append("shop", vec![event(&id, 1)]).await.unwrap();
        expected.push(id);
        assert_eq!(ids(&all(&open_one).await), expected, "{days}");
        assert_eq!(open_one.counters().expired.load(Ordering::Relaxed), 0);
        drop(open_one);
        // And across a restart, with the clock set again.
        ahead.store(days * 2 * DAY, Ordering::Relaxed);
        let again = open();
        looks().await;
        assert_eq!(ids(&all(&again).await), expected, "{days}");
        assert_eq!(again.counters().expired.load(Ordering::Relaxed), 0);
        spool = Some(again);
    }
    drop(spool);
    let mut said = Vec::new();
    SpoolCommand::Ls(Default::default())
        .run(folder.path(), &mut said)
        .unwrap();
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("dead 1"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_grow_old_under_any_clock() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, ahead) = clock();
    let settings = SqliteSettings {
        max_age: Duration::from_secs(2),
        ..SqliteSettings::default()
    };
    let spool = SqliteSpool::open_with_clock(folder.path(), settings, clock).unwrap();
    spool.append("shop", vec![event("a", 1)]).await.unwrap();
    ahead.store(-400 * DAY, Ordering::Relaxed);
    let deadline = Instant::now() + PATIENCE;
    while spool.counters().expired.load(Ordering::Relaxed) < 1 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_events_arrive_after_the_clock_was_set() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let away = InjectedFault::Status(StatusCode::SERVICE_UNAVAILABLE, Some(1));
    posthog.capture.set_fault(away);
    let (clock, ahead) = clock();
    let place = format!("{{path: \"{}\"}}", folder.path().display());
    let yaml = yaml(&posthog.url()).replace("\"off\"", &place);
    let hedgerow = Hedgerow::builder(config(&yaml))
        .clock(clock)
        .build()
        .unwrap();
    let proxy = Proxy::of(hedgerow, Speaks::Http1).await;
    let mut client = Client::connect(proxy.address).await;
    let answer = client
        .exchange(&post("/hr/v1/track", "", track("kept", 200).as_bytes()))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    ahead.store(30 * DAY, Ordering::Relaxed);
    looks().await;
    posthog.capture.set_fault(InjectedFault::None);
    assert_eq!(posthog.events(1).await[0].distinct_id, "u-kept");
}
