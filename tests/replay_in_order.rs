//! The events in a spool reach PostHog in order, once, and without those that PostHog rejects. The
//! spool is on a real disk; PostHog is a script here, and a socket in other tests.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "replay_in_order/pace.rs"]
mod pace;
#[path = "replay_in_order/refusals.rs"]
mod refusals;

use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use hedgerow::delivery::{
    BatchRoute, BreakerSettings, BreakerState, Delivery, DeliveryMode, Encoding, ListFormat,
    OutgoingBatch, ProjectDelivery, Refusal, Replay, ReplaySettings, Selection, SpoolCommand,
    SpooledEvent, SqliteSettings, SqliteSpool, Store, Upstream, Verdict,
};
use hedgerow::posthog::{ApiKey, Envelope};

/// How long a test waits for something, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// PostHog's answer to a batch with these ids; the number counts the batches.
type Script = Box<dyn Fn(usize, &[String]) -> Verdict + Send + Sync>;

struct ScriptedPostHog {
    script: Script,
    batches: Mutex<Vec<Batch>>,
    under_way: Mutex<HashMap<String, usize>>,
    overlaps: AtomicUsize,
    slow: Duration,
}

#[derive(Clone)]
struct Batch {
    project: String,
    ids: Vec<String>,
    at: Instant,
    verdict: Verdict,
    wire: usize,
    json: usize,
}

impl ScriptedPostHog {
    fn new(script: impl Fn(usize, &[String]) -> Verdict + Send + Sync + 'static) -> Arc<Self> {
        Self::slow(Duration::from_millis(1), script)
    }

    fn slow(
        slow: Duration,
        script: impl Fn(usize, &[String]) -> Verdict + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            script: Box::new(script),
            batches: Mutex::default(),
            under_way: Mutex::default(),
            overlaps: AtomicUsize::new(0),
            slow,
        })
    }

    fn batches(&self) -> Vec<Batch> {
        self.batches.lock().unwrap().clone()
    }

    fn accepted(&self) -> Vec<String> {
        self.batches()
            .into_iter()
            .filter(|batch| batch.verdict == Verdict::Accepted)
            .flat_map(|batch| batch.ids)
            .collect()
    }
}

#[async_trait]
impl Upstream for ScriptedPostHog {
    fn envelope(&self, project: &str) -> Option<Envelope> {
        (project != "unknown").then(|| Envelope::new(&ApiKey::new("phc_a").unwrap()))
    }

    async fn deliver(&self, project: &str, batch: OutgoingBatch) -> Verdict {
        let before = {
            let mut under_way = self.under_way.lock().unwrap();
            let number = under_way.entry(project.to_owned()).or_default();
            *number += 1;
            *number
        };
        if before > 1 {
            self.overlaps.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(self.slow).await;
        let json = match batch.encoding {
            Encoding::Identity => batch.body.to_vec(),
            Encoding::Gzip => {
                let mut json = Vec::new();
                flate2::read::GzDecoder::new(batch.body.as_ref())
                    .read_to_end(&mut json)
                    .unwrap();
                json
            }
        };
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["api_key"], "phc_a");
        let ids: Vec<String> = value["batch"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["uuid"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(ids.len(), batch.events);
        let mut batches = self.batches.lock().unwrap();
        let verdict = (self.script)(batches.len(), &ids);
        batches.push(Batch {
            project: project.to_owned(),
            ids,
            at: Instant::now(),
            verdict: verdict.clone(),
            wire: batch.body.len(),
            json: json.len(),
        });
        *self.under_way.lock().unwrap().get_mut(project).unwrap() -= 1;
        verdict
    }
}

fn later() -> Verdict {
    Verdict::of_status(503, "transient error, please retry", None)
}

fn event(id: &str, padding: usize) -> SpooledEvent {
    let text = format!(
        r#"{{"uuid":"{id}","event":"e","distinct_id":"d","timestamp":"2026-11-23T10:00:00Z","properties":{{"p":"{}"}}}}"#,
        "x".repeat(padding)
    );
    SpooledEvent::new(Bytes::from(text), SystemTime::now()).unwrap()
}

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("n{number}")).collect()
}

struct Setup {
    folder: tempfile::TempDir,
    spool: SqliteSpool,
    delivery: Arc<Delivery>,
}

impl Setup {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spool = SqliteSpool::open(folder.path(), SqliteSettings::default()).unwrap();
        let breaker = BreakerSettings {
            first_wait: Duration::from_millis(10),
            longest_wait: Duration::from_millis(80),
            ..BreakerSettings::default()
        };
        let hold = Duration::from_secs(20);
        let delivery = Arc::new(Delivery::new(Arc::new(spool.clone()), breaker, hold));
        Self {
            folder,
            spool,
            delivery,
        }
    }

    async fn keep(&self, ids: &[String], padding: usize) {
        let events = ids.iter().map(|id| event(id, padding)).collect();
        self.delivery.project("shop").keep(events).await.unwrap();
    }

    fn replay(&self, upstream: &Arc<ScriptedPostHog>, settings: ReplaySettings) -> Replay {
        let upstream: Arc<dyn Upstream> = Arc::clone(upstream) as _;
        Replay::start(Arc::clone(&self.delivery), upstream, settings)
    }

    async fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(
                Instant::now() < deadline,
                "{what}: {:?}",
                self.delivery.status()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn until_the_breaker_opens(&self) -> ProjectDelivery {
        let project = self.delivery.project("shop");
        self.until("the breaker opens", || {
            project.condition() == BreakerState::Open
        })
        .await;
        project
    }

    async fn until_empty(&self) {
        let gauge = self.spool.gauges().of("shop");
        self.until("the spool runs empty", || gauge.events() == 0)
            .await;
    }

    fn command(&self, command: &SpoolCommand) -> String {
        let mut out = Vec::new();
        command.run(self.folder.path(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_in_order_through_failures_of_all_kinds() {
    let setup = Setup::new();
    let ids = names(0..3_000);
    for some in ids.chunks(100) {
        setup.keep(some, 200).await;
    }
    let upstream = ScriptedPostHog::new(|number, _| match number % 10 {
        0 => later(),
        1 => Verdict::of_status(429, "", Some(Duration::from_millis(1))),
        4 => Verdict::TryLater {
            retry_after: None,
            why: "connection reset".to_owned(),
        },
        5 => Verdict::of_status(401, "API key is not valid", None),
        _ => Verdict::Accepted,
    });
    let settings = ReplaySettings {
        batch_bytes: 60_000,
        ..ReplaySettings::default()
    };
    let replay = setup.replay(&upstream, settings);
    setup.until_empty().await;
    replay.stop().await;
    assert_eq!(upstream.accepted(), ids);
    assert_eq!(upstream.overlaps.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_large_bounded_and_compressed() {
    let setup = Setup::new();
    let ids = names(0..9_000);
    for some in ids.chunks(1_000) {
        setup.keep(some, 1_000).await;
    }
    let upstream = ScriptedPostHog::new(|_, _| Verdict::Accepted);
    let settings = ReplaySettings {
        events_per_second: 1_000_000,
        ..ReplaySettings::default()
    };
    let replay = setup.replay(&upstream, settings);
    setup.until_empty().await;
    replay.stop().await;
    let batches = upstream.batches();
    for batch in &batches {
        println!(
            "{} events, {} B of JSON, {} B sent",
            batch.ids.len(),
            batch.json,
            batch.wire
        );
        assert!(batch.json < (4 << 20) + 20_000);
        assert!(batch.wire < batch.json / 5);
    }
    assert!(batches.len() <= 4, "{}", batches.len());
    assert_eq!(upstream.accepted(), ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn live_batches_never_overtake_waiting_events_and_the_spool_empties_under_load() {
    let setup = Setup::new();
    let first = names(0..200);
    setup.keep(&first, 100).await;
    let slow = Duration::from_millis(15);
    let upstream = ScriptedPostHog::slow(slow, |number, _| {
        if number < 4 {
            later()
        } else {
            Verdict::Accepted
        }
    });
    let replay = setup.replay(&upstream, ReplaySettings::default());
    // Twenty clients send batch after batch, until some of them stream.
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..20 {
        let (project, upstream) = (setup.delivery.project("shop"), Arc::clone(&upstream));
        clients.spawn(async move {
            let (mut number, mut streamed) = (0, 0);
            let deadline = Instant::now() + PATIENCE;
            while streamed < 20 && Instant::now() < deadline {
                let id = format!("c{client}-{number}");
                match project.admit().await {
                    BatchRoute::Spool => project.keep(vec![event(&id, 100)]).await.unwrap(),
                    BatchRoute::Stream => {
                        streamed += 1;
                        // As the sender does; the test records it as an arrival.
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
    setup.until_empty().await;
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
    let setup = Setup::new();
    let project = setup.delivery.project("shop");
    project.set_mode(DeliveryMode::Spool);
    let upstream = ScriptedPostHog::new(|_, _| Verdict::Accepted);
    let replay = setup.replay(&upstream, ReplaySettings::default());
    let ids = names(0..200);
    for id in &ids {
        assert_eq!(project.admit().await, BatchRoute::Spool);
        setup.keep(std::slice::from_ref(id), 50).await;
    }
    setup.until_empty().await;
    replay.stop().await;
    assert_eq!(upstream.accepted(), ids);
    let requests = upstream.batches().len();
    println!("200 batches became {requests} requests");
    assert!(requests <= 40, "{requests}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_arrived_before_the_clock_was_put_back_does_not_wait_for_its_time() {
    let setup = Setup::new();
    let project = setup.delivery.project("shop");
    project.set_mode(DeliveryMode::Spool);
    let upstream = ScriptedPostHog::new(|_, _| Verdict::Accepted);
    let replay = setup.replay(&upstream, ReplaySettings::default());
    let body = event("n0", 50).body().clone();
    let later = SystemTime::now() + Duration::from_secs(3_600);
    let early = SpooledEvent::new(body, later).unwrap();
    project.keep(vec![early]).await.unwrap();
    setup.until_empty().await;
    replay.stop().await;
    assert_eq!(upstream.accepted(), ["n0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_do_not_wait_for_each_other_and_an_unknown_one_is_kept() {
    let setup = Setup::new();
    for project in ["down", "up", "unknown"] {
        let events = vec![event(project, 1)];
        setup.delivery.project(project).keep(events).await.unwrap();
    }
    let upstream = ScriptedPostHog::new(|_, ids| {
        if ids[0] == "down" {
            later()
        } else {
            Verdict::Accepted
        }
    });
    let replay = setup.replay(&upstream, ReplaySettings::default());
    let gauges = setup.spool.gauges();
    setup
        .until("the other is through", || gauges.of("up").events() == 0)
        .await;
    let down = setup.delivery.project("down");
    setup
        .until("its breaker opens", || {
            down.condition() == BreakerState::Open
        })
        .await;
    assert_eq!(gauges.waiting(), ["down", "unknown"]);
    assert!(upstream
        .batches()
        .iter()
        .all(|batch| batch.project != "unknown"));
    assert_eq!(
        setup.delivery.project("up").admit().await,
        BatchRoute::Stream
    );
    replay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_replay_finishes_its_request_and_its_successor_goes_on() {
    let setup = Setup::new();
    let ids = names(0..100);
    setup.keep(&ids, 1).await;
    let settings = ReplaySettings {
        batch_events: 10,
        ..ReplaySettings::default()
    };
    let upstream = ScriptedPostHog::slow(Duration::from_millis(30), |_, _| Verdict::Accepted);
    // As in an upgrade, the successor starts before the predecessor shuts down.
    let first = setup.replay(&upstream, settings);
    setup
        .until("it has begun", || !upstream.batches().is_empty())
        .await;
    let next = Setup {
        folder: tempfile::tempdir().unwrap(),
        spool: SqliteSpool::open(setup.folder.path(), SqliteSettings::default()).unwrap(),
        delivery: Arc::clone(&setup.delivery),
    };
    let delivery = Arc::new(Delivery::new(
        Arc::new(next.spool.clone()),
        BreakerSettings::default(),
        Duration::from_secs(1),
    ));
    let second = Replay::start(delivery, Arc::clone(&upstream) as _, settings);
    first.stop().await;
    let gauge = next.spool.gauges().of("shop");
    setup
        .until("the successor ends it", || gauge.events() == 0)
        .await;
    second.stop().await;
    assert_eq!(upstream.accepted(), ids);
    assert_eq!(upstream.overlaps.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_stream_reports_that_posthog_is_there() {
    let setup = Setup::new();
    let project = setup.delivery.project("shop");
    for _ in 0..10 {
        project.report(&Verdict::RefusedForGood(Refusal {
            status: 400,
            reason: String::new(),
        }));
        assert_eq!(project.admit().await, BatchRoute::Stream);
    }
    // Longer than any machine needs to ask.
    let wait = Some(Duration::from_secs(60));
    project.report(&Verdict::of_status(503, "", wait));
    assert_eq!(
        project.admit().await,
        BatchRoute::Spool,
        "until the backoff is over"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_posthog_answers_too_late_is_sent_in_smaller_ones() {
    let setup = Setup::new();
    let ids = names(0..3_000);
    for some in ids.chunks(100) {
        setup.keep(some, 1_000).await;
    }
    let upstream = ScriptedPostHog::new(|_, ids| match ids.len() {
        0..=100 => Verdict::Accepted,
        _ => Verdict::TryLater {
            retry_after: None,
            why: "timeout".to_owned(),
        },
    });
    let replay = setup.replay(&upstream, ReplaySettings::default());
    setup.until_empty().await;
    replay.stop().await;
    assert_eq!(upstream.accepted(), ids);
    let batches = upstream.batches().len();
    assert!(batches < 200, "{batches}");
}
