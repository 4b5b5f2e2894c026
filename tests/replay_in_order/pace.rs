//! When the replay waits, how fast it goes, and what goes beside it.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn when_posthog_refuses_everything_the_events_wait() {
    let house = House::new();
    let ids = names(0..300);
    house.keep(&ids, 1).await;
    let upstream = Scripted::new(|number, _| {
        if number < 120 {
            Verdict::of_status(400, "failed to decode request", None)
        } else {
            Verdict::Accepted
        }
    });
    let replay = house.replay(&upstream, ReplaySettings::default());
    let project = house.delivery.project("shop");
    house
        .until("the breaker opens", || {
            project.condition() == Condition::Open
        })
        .await;
    house.until_empty().await;
    replay.stop().await;
    let buried = house.spool.counters().buried.load(Ordering::Relaxed);
    let accepted = upstream.accepted();
    println!("{} delivered, {buried} dead letters", accepted.len());
    // One for each probe after the first twenty, not all of them.
    assert!((20..=110).contains(&buried), "{buried}");
    assert_eq!(accepted.len() as u64 + buried, 300);
    assert_eq!(accepted, ids[ids.len() - accepted.len()..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_sends_probes_of_one_event_and_live_traffic_goes_to_the_spool() {
    let house = House::new();
    house.keep(&names(0..100), 1).await;
    let upstream = Scripted::new(|number, _| {
        if number < 8 {
            later()
        } else {
            Verdict::Accepted
        }
    });
    let replay = house.replay(&upstream, ReplaySettings::default());
    let project = house.delivery.project("shop");
    house
        .until("the breaker opens", || {
            project.condition() == Condition::Open
        })
        .await;
    assert_eq!(project.admit().await, Route::Spool);
    house.until_empty().await;
    let sizes: Vec<usize> = upstream
        .batches()
        .iter()
        .map(|batch| batch.ids.len())
        .collect();
    assert_eq!(sizes, [100, 100, 100, 1, 1, 1, 1, 1, 1, 99]);
    assert_eq!(project.condition(), Condition::Closed);
    assert_eq!(project.admit().await, Route::Stream);
    replay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_honoured() {
    let house = House::new();
    house.keep(&names(0..1), 1).await;
    let wait = Duration::from_millis(700);
    let upstream = Scripted::new(move |number, _| {
        if number == 0 {
            Verdict::of_status(429, "", Some(wait))
        } else {
            Verdict::Accepted
        }
    });
    let replay = house.replay(&upstream, ReplaySettings::default());
    house.until_empty().await;
    replay.stop().await;
    let batches = upstream.batches();
    assert!(batches[1].at - batches[0].at >= wait);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_of_a_recovery_is_bounded() {
    let house = House::new();
    house.keep(&names(0..300), 1).await;
    let upstream = Scripted::new(|_, _| Verdict::Accepted);
    let settings = ReplaySettings {
        batch_events: 10,
        events_per_second: 100,
        ..ReplaySettings::default()
    };
    let replay = house.replay(&upstream, settings);
    house.until_empty().await;
    replay.stop().await;
    let batches = upstream.batches();
    let took = batches[batches.len() - 1].at - batches[0].at;
    // The first second's worth is free.
    assert!(took >= Duration::from_millis(1_850), "{took:?}");
    assert_eq!(upstream.accepted(), names(0..300));
}

#[tokio::test(flavor = "multi_thread")]
async fn live_batches_never_overtake_what_waits_and_the_way_gets_free_under_load() {
    let house = House::new();
    let first = names(0..200);
    house.keep(&first, 100).await;
    let slow = Duration::from_millis(15);
    let upstream = Scripted::slow(slow, |number, _| {
        if number < 4 {
            later()
        } else {
            Verdict::Accepted
        }
    });
    let replay = house.replay(&upstream, ReplaySettings::default());
    // Twenty clients without a pause between their batches, until some of them stream.
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..20 {
        let (project, upstream) = (house.delivery.project("shop"), Arc::clone(&upstream));
        clients.spawn(async move {
            let (mut number, mut streamed) = (0, 0);
            let deadline = Instant::now() + Duration::from_secs(60);
            while streamed < 20 && Instant::now() < deadline {
                let id = format!("c{client}-{number}");
                match project.admit().await {
                    Route::Spool => project.keep(vec![event(&id, 100)]).await.unwrap(),
                    Route::Stream => {
                        streamed += 1;
                        // What the sender does; recorded as one of the arrivals.
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        upstream.batches.lock().unwrap().push(Batch {
                            project: "shop".to_owned(),
                            ids: vec![id],
                            at: Instant::now(),
                            verdict: Verdict::Accepted,
                            wire: 0,
                            json: 0,
                        });
                        project.report(&Verdict::Accepted);
                    }
                }
                number += 1;
            }
            (number, streamed)
        });
    }
    let mut sent = 200;
    while let Some(done) = clients.join_next().await {
        let (number, streamed) = done.unwrap();
        assert_eq!(streamed, 20, "the way never got free");
        sent += number;
    }
    house.until_empty().await;
    replay.stop().await;
    let accepted = upstream.accepted();
    assert_eq!(accepted.len(), sent);
    assert_eq!(accepted[..200], first);
    let mut newest: HashMap<&str, i64> = HashMap::new();
    for id in &accepted[200..] {
        let (client, number) = id.split_once('-').unwrap();
        let number: i64 = number.parse().unwrap();
        let before = newest.insert(client, number).unwrap_or(-1);
        assert_eq!(number, before + 1, "{id} is out of order");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spool_mode_forwards_fewer_and_larger_batches() {
    let house = House::new();
    let project = house.delivery.project("shop");
    project.set_mode(Mode::Spool);
    let upstream = Scripted::new(|_, _| Verdict::Accepted);
    let replay = house.replay(&upstream, ReplaySettings::default());
    let ids = names(0..200);
    for id in &ids {
        assert_eq!(project.admit().await, Route::Spool);
        house.keep(std::slice::from_ref(id), 50).await;
    }
    house.until_empty().await;
    replay.stop().await;
    assert_eq!(upstream.accepted(), ids);
    let requests = upstream.batches().len();
    println!("200 batches became {requests} requests");
    assert!(requests <= 40, "{requests}");
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_do_not_wait_for_each_other_and_an_unknown_one_is_kept() {
    let house = House::new();
    for project in ["down", "up", "unknown"] {
        let events = vec![event(project, 1)];
        house.delivery.project(project).keep(events).await.unwrap();
    }
    let upstream = Scripted::new(|_, ids| {
        if ids[0] == "down" {
            later()
        } else {
            Verdict::Accepted
        }
    });
    let replay = house.replay(&upstream, ReplaySettings::default());
    let gauges = house.spool.gauges();
    house
        .until("the other is through", || gauges.of("up").events() == 0)
        .await;
    let down = house.delivery.project("down");
    house
        .until("its breaker opens", || down.condition() == Condition::Open)
        .await;
    assert_eq!(gauges.waiting(), ["down", "unknown"]);
    assert!(upstream
        .batches()
        .iter()
        .all(|batch| batch.project != "unknown"));
    assert_eq!(house.delivery.project("up").admit().await, Route::Stream);
    replay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_replay_finishes_its_request_and_its_successor_goes_on() {
    let house = House::new();
    let ids = names(0..100);
    house.keep(&ids, 1).await;
    let settings = ReplaySettings {
        batch_events: 10,
        ..ReplaySettings::default()
    };
    let upstream = Scripted::slow(Duration::from_millis(30), |_, _| Verdict::Accepted);
    // The successor is there before the predecessor leaves, as in an upgrade.
    let first = house.replay(&upstream, settings);
    house
        .until("it has begun", || !upstream.batches().is_empty())
        .await;
    let next = House {
        folder: tempfile::tempdir().unwrap(),
        spool: Spool::open(house.folder.path(), SpoolSettings::default()).unwrap(),
        delivery: Arc::clone(&house.delivery),
    };
    let delivery = Arc::new(Delivery::new(
        Arc::new(next.spool.clone()),
        BreakerSettings::default(),
        Duration::from_secs(1),
    ));
    let second = Replay::start(delivery, Arc::clone(&upstream) as _, settings);
    first.stop().await;
    let gauge = next.spool.gauges().of("shop");
    house
        .until("the successor ends it", || gauge.events() == 0)
        .await;
    second.stop().await;
    assert_eq!(upstream.accepted(), ids);
    assert_eq!(upstream.overlaps.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_stream_reports_that_posthog_is_there() {
    let house = House::new();
    let project = house.delivery.project("shop");
    for _ in 0..10 {
        project.report(&Verdict::RefusedForGood(Refusal {
            status: 400,
            reason: String::new(),
        }));
        assert_eq!(project.admit().await, Route::Stream);
    }
    project.report(&later());
    assert_eq!(
        project.admit().await,
        Route::Spool,
        "until the backoff is over"
    );
}
