//! When the replay asks PostHog again, and how fast it sends.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_sends_probes_of_one_event_and_live_traffic_goes_to_the_spool() {
    let setup = Setup::new();
    setup.keep(&names(0..100), 1).await;
    let has_looked = Arc::new(AtomicBool::new(false));
    let looked = Arc::clone(&has_looked);
    let upstream = ScriptedPostHog::new(move |number, _| {
        if number < 8 {
            return later();
        }
        // PostHog is back only when the test has seen the open breaker.
        let deadline = Instant::now() + PATIENCE;
        while !looked.load(Ordering::SeqCst) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        Verdict::Accepted
    });
    let replay = setup.replay(&upstream, ReplaySettings::default());
    let project = setup.until_the_breaker_opens().await;
    assert_eq!(project.admit().await, BatchRoute::Spool);
    has_looked.store(true, Ordering::SeqCst);
    setup.until_empty().await;
    let sizes: Vec<usize> = upstream
        .batches()
        .iter()
        .map(|batch| batch.ids.len())
        .collect();
    assert_eq!(sizes, [100, 100, 100, 1, 1, 1, 1, 1, 1, 99]);
    assert_eq!(project.condition(), BreakerState::Closed);
    assert_eq!(project.admit().await, BatchRoute::Stream);
    replay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_honoured() {
    let setup = Setup::new();
    setup.keep(&names(0..1), 1).await;
    let wait = Duration::from_millis(700);
    let upstream = ScriptedPostHog::new(move |number, _| {
        if number == 0 {
            Verdict::of_status(429, "", Some(wait))
        } else {
            Verdict::Accepted
        }
    });
    let replay = setup.replay(&upstream, ReplaySettings::default());
    setup.until_empty().await;
    replay.stop().await;
    let batches = upstream.batches();
    assert!(batches[1].at - batches[0].at >= wait);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_of_a_recovery_is_bounded() {
    let setup = Setup::new();
    setup.keep(&names(0..300), 1).await;
    let upstream = ScriptedPostHog::new(|_, _| Verdict::Accepted);
    let settings = ReplaySettings {
        batch_events: 10,
        events_per_second: 100,
        ..ReplaySettings::default()
    };
    // From before the first batch: on a busy machine that one may arrive late, and the next ones not.
    let start = Instant::now();
    let replay = setup.replay(&upstream, settings);
    setup.until_empty().await;
    replay.stop().await;
    let batches = upstream.batches();
    let took = batches[batches.len() - 1].at - start;
    // The first second's events have no limit.
    assert!(took >= Duration::from_millis(1_850), "{took:?}");
    assert_eq!(upstream.accepted(), names(0..300));
}
