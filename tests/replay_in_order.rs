//! What waits in a spool reaches PostHog: in order, once, and without the events PostHog refuses.
//! The spool is a real one on disk; PostHog is a script here, and a socket in other tests.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "replay_in_order/pace.rs"]
mod pace;

use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use hedgerow::delivery::{
    BreakerSettings, Condition, Delivery, Encoding, Mode, Parcel, Refusal, Replay, ReplaySettings,
    Route, Spool, SpoolCommand, SpoolSettings, SpooledEvent, Store, Upstream, Verdict,
};
use hedgerow::posthog::{ApiKey, Envelope};

/// What PostHog answers to a batch with these ids; the number counts the batches.
type Script = Box<dyn Fn(usize, &[String]) -> Verdict + Send + Sync>;

struct Scripted {
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

impl Scripted {
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
impl Upstream for Scripted {
    fn envelope(&self, project: &str) -> Option<Envelope> {
        (project != "unknown").then(|| Envelope::new(&ApiKey::new("phc_a").unwrap()))
    }

    async fn deliver(&self, project: &str, parcel: Parcel) -> Verdict {
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
        let json = match parcel.encoding {
            Encoding::Identity => parcel.body.to_vec(),
            Encoding::Gzip => {
                let mut json = Vec::new();
                flate2::read::GzDecoder::new(parcel.body.as_ref())
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
        assert_eq!(ids.len(), parcel.events);
        let mut batches = self.batches.lock().unwrap();
        let verdict = (self.script)(batches.len(), &ids);
        batches.push(Batch {
            project: project.to_owned(),
            ids,
            at: Instant::now(),
            verdict: verdict.clone(),
            wire: parcel.body.len(),
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

struct House {
    folder: tempfile::TempDir,
    spool: Spool,
    delivery: Arc<Delivery>,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), SpoolSettings::default()).unwrap();
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

    fn replay(&self, upstream: &Arc<Scripted>, settings: ReplaySettings) -> Replay {
        let upstream: Arc<dyn Upstream> = Arc::clone(upstream) as _;
        Replay::start(Arc::clone(&self.delivery), upstream, settings)
    }

    async fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !done() {
            assert!(
                Instant::now() < deadline,
                "{what}: {:?}",
                self.delivery.status()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
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
    let house = House::new();
    let ids = names(0..3_000);
    for some in ids.chunks(100) {
        house.keep(some, 200).await;
    }
    let upstream = Scripted::new(|number, _| match number % 10 {
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
    let replay = house.replay(&upstream, settings);
    house.until_empty().await;
    replay.stop().await;
    assert_eq!(upstream.accepted(), ids);
    assert_eq!(upstream.overlaps.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_large_bounded_and_compressed() {
    let house = House::new();
    let ids = names(0..9_000);
    for some in ids.chunks(1_000) {
        house.keep(some, 1_000).await;
    }
    let upstream = Scripted::new(|_, _| Verdict::Accepted);
    let settings = ReplaySettings {
        events_per_second: 1_000_000,
        ..ReplaySettings::default()
    };
    let replay = house.replay(&upstream, settings);
    house.until_empty().await;
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
async fn a_culprit_becomes_a_dead_letter_and_the_rest_is_delivered_in_order() {
    for status in [400, 413] {
        let house = House::new();
        let ids = names(0..500);
        house.keep(&ids, 50).await;
        let culprits = ["n0", "n123", "n124", "n499"];
        let upstream = Scripted::new(move |_, ids| {
            if ids.iter().any(|id| culprits.contains(&id.as_str())) {
                Verdict::of_status(status, "event submitted with an empty event name", None)
            } else {
                Verdict::Accepted
            }
        });
        let replay = house.replay(&upstream, ReplaySettings::default());
        house.until_empty().await;
        let expected: Vec<String> = ids
            .iter()
            .filter(|id| !culprits.contains(&id.as_str()))
            .cloned()
            .collect();
        assert_eq!(upstream.accepted(), expected);
        println!("{status}: {} requests", upstream.batches().len());
        let listed = house.command(&SpoolCommand::Ls);
        println!("{listed}");
        for (culprit, line) in culprits.iter().zip(listed.lines()) {
            assert!(line.starts_with("dead "), "{line}");
            assert!(line.ends_with(culprit), "{line}");
            let reason = format!("{status} event submitted with an empty event name");
            assert!(line.contains(&reason), "{line}");
        }
        replay.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_shown_retried_and_dropped_while_the_replay_runs() {
    use clap::Parser;
    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: SpoolCommand,
    }
    let parse = |line: &str| {
        Line::try_parse_from(["spool"].into_iter().chain(line.split(' ')))
            .map(|line| line.command)
            .map_err(|error| error.kind())
    };
    let house = House::new();
    house.keep(&names(0..4), 1).await;
    let mended = Arc::new(AtomicUsize::new(0));
    let state = Arc::clone(&mended);
    let upstream = Scripted::new(move |_, ids| {
        let mended = state.load(Ordering::Relaxed) == 1;
        if mended || ids.iter().all(|id| id == "n3") {
            Verdict::Accepted
        } else {
            Verdict::of_status(400, "no", None)
        }
    });
    let replay = house.replay(&upstream, ReplaySettings::default());
    house.until_empty().await;
    assert_eq!(upstream.accepted(), ["n3"]);
    let shown = house.command(&parse("show 2").unwrap());
    assert_eq!(shown.trim_end().as_bytes(), event("n1", 1).body());
    mended.store(1, Ordering::Relaxed);
    assert_eq!(
        house.command(&parse("retry 1 2").unwrap()),
        "2 back in the queue\n"
    );
    house
        .until("the retried arrive", || upstream.accepted().len() == 3)
        .await;
    assert_eq!(upstream.accepted(), ["n3", "n0", "n1"]);
    // Arrived is not yet settled: for a moment they are still listed as waiting.
    house
        .until("only the third is left", || {
            house.command(&parse("ls").unwrap()).starts_with("dead 3\t")
        })
        .await;
    assert_eq!(house.command(&parse("drop --all").unwrap()), "1 dropped\n");
    assert!(house
        .command(&parse("ls").unwrap())
        .starts_with("the spool is empty"));
    for wrong in ["drop", "drop 1 --all", "retry", "show", "show x"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
    let error = parse("drop 9")
        .unwrap()
        .run(house.folder.path(), &mut Vec::new());
    assert_eq!(error.unwrap_err().to_string(), "there is no dead letter 9");
    let nowhere = house.folder.path().join("nowhere");
    assert!(parse("ls").unwrap().run(&nowhere, &mut Vec::new()).is_err());
    assert!(!nowhere.exists(), "looking makes no spool");
    replay.stop().await;
}
