//! The spool's acknowledged events survive: real files, real processes, real signals.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use hedgerow::delivery::{
    outlive_file_size_limit, Availability, Lead, PeekLimit, Position, QueuedEvent, Refusal,
    SpoolCommand, SpoolError, SpooledEvent, SqliteSettings, SqliteSpool, Store,
};

#[path = "spool_survives/bounds.rs"]
mod bounds;
#[path = "spool_survives/clock.rs"]
mod clock;
#[path = "spool_survives/damage.rs"]
mod damage;
#[path = "spool_survives/disks.rs"]
mod disks;
mod support;

use support::disk::SmallDisk;

/// How long a test waits for something, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

const EVERYTHING: PeekLimit = PeekLimit {
    events: usize::MAX,
    bytes: usize::MAX,
};

fn event(id: &str, padding: usize) -> SpooledEvent {
    let text = format!(
        r#"{{"uuid":"{id}","event":"e","distinct_id":"d","timestamp":"2026-11-23T10:00:00Z","properties":{{"p":"{}"}}}}"#,
        "x".repeat(padding)
    );
    SpooledEvent::new(Bytes::from(text), SystemTime::now()).unwrap()
}

fn id(held: &QueuedEvent) -> String {
    let value: serde_json::Value = serde_json::from_slice(&held.body).unwrap();
    value["uuid"].as_str().unwrap().to_owned()
}

fn ids(held: &[QueuedEvent]) -> Vec<String> {
    held.iter().map(id).collect()
}

/// The events `a`, `b` and `c` of one project; the first is a dead letter.
async fn keep_three_and_refuse_the_first(spool: &SqliteSpool) {
    let events = vec![event("a", 1), event("b", 1), event("c", 1)];
    spool.append("shop", events).await.unwrap();
    let first = all(spool).await[0].position;
    let refusal = Refusal {
        status: 400,
        reason: "no".to_owned(),
    };
    spool.dead_letter("shop", first, refusal).await.unwrap();
}

async fn all(spool: &SqliteSpool) -> Vec<QueuedEvent> {
    spool.peek("shop", EVERYTHING).await.unwrap().events
}

/// Repeats until it works, because a spool recovers by itself after a moment.
async fn append_until_taken(spool: &SqliteSpool, id: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match spool.append("shop", vec![event(id, 10)]).await {
            Ok(()) => return,
            Err(error) if Instant::now() > deadline => panic!("not recovered: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Runs this test binary again as a separate process that appends and prints the acknowledged
/// events.
fn child(folder: &Path, round: usize, shell_prefix: &str) -> Child {
    let binary = std::env::current_exe().unwrap();
    Command::new("sh")
        .arg("-c")
        .arg(format!(
            "{shell_prefix} exec \"$0\" --exact the_child_appends --nocapture --test-threads 1"
        ))
        .arg(binary)
        .env("SPOOL_CHILD", folder)
        .env("SPOOL_ROUND", round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// The other process: eight writers with a person each append until the process is killed or
/// refused.
#[test]
fn the_child_appends() {
    let Some(folder) = std::env::var_os("SPOOL_CHILD") else {
        return;
    };
    let round = std::env::var("SPOOL_ROUND").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        outlive_file_size_limit().unwrap();
        let settings = SqliteSettings {
            max_size: 1 << 30,
            ..SqliteSettings::default()
        };
        let spool = SqliteSpool::open(Path::new(&folder), settings).unwrap();
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..8 {
            let (spool, round) = (spool.clone(), round.clone());
            writers.spawn(async move {
                let mut number = 0;
                loop {
                    let many = 1 + (number * 7 + writer) % 20;
                    let ids: Vec<String> = (number..number + many)
                        .map(|number| format!("{round}-{writer}-{number}"))
                        .collect();
                    let events = ids.iter().map(|id| event(id, 300)).collect();
                    if let Err(error) = spool.append("shop", events).await {
                        println!("refused {}", error.code());
                        return;
                    }
                    // One write for each line, so that a kill cannot cut the line of an
                    // acknowledged event.
                    let line = ids
                        .iter()
                        .map(|id| format!("acknowledged {id}\n"))
                        .collect::<String>();
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                    number += many;
                }
            });
        }
        while writers.join_next().await.is_some() {}
    });
}

/// Kills the child a random moment after it has acknowledged so many events. Returns the
/// acknowledged events.
fn kill_after(mut child: Child, least: usize) -> BTreeSet<String> {
    let mut byte = [0];
    getrandom::fill(&mut byte).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = BTreeSet::new();
    let take = |line: String, acknowledged: &mut BTreeSet<String>| {
        if let Some((_, id)) = line.split_once("acknowledged ") {
            acknowledged.insert(id.to_owned());
        }
        assert!(!line.contains("refused"), "{line}");
    };
    while acknowledged.len() < least {
        take(
            lines.next().expect("the child has ended").unwrap(),
            &mut acknowledged,
        );
    }
    let pid = child.id().to_string();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(u64::from(byte[0])));
        Command::new("kill").args(["-9", &pid]).status().unwrap()
    });
    for line in lines {
        take(line.unwrap(), &mut acknowledged);
    }
    assert!(killer.join().unwrap().success());
    child.wait().unwrap();
    acknowledged
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_event_survives_kill_9_at_ten_random_moments() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..10 {
        let more = kill_after(child(folder.path(), round, ""), 101);
        println!("round {round}: {} acknowledged", more.len());
        acknowledged.extend(more);
        let spool = SqliteSpool::open(folder.path(), SqliteSettings::default()).unwrap();
        let found = ids(&all(&spool).await);
        let once: BTreeSet<&String> = found.iter().collect();
        let lost: Vec<_> = acknowledged
            .iter()
            .filter(|id| !once.contains(id))
            .collect();
        println!("{} found, {} lost: {lost:?}", found.len(), lost.len());
        assert_eq!(once.len(), found.len(), "some are there twice");
        assert!(lost.is_empty());
        let mut newest: BTreeMap<String, i64> = BTreeMap::new();
        for id in &found {
            let (person, number) = id.rsplit_once('-').unwrap();
            let number: i64 = number.parse().unwrap();
            let before = newest.insert(person.to_owned(), number).unwrap_or(-1);
            assert_eq!(number, before + 1, "{id} is out of order");
        }
    }
    assert!(acknowledged.len() > 1_000, "{}", acknowledged.len());
}

#[tokio::test]
async fn concurrent_appends_share_their_commits() {
    let folder = tempfile::tempdir().unwrap();
    let spool = SqliteSpool::open(folder.path(), SqliteSettings::default()).unwrap();
    let mut appends = tokio::task::JoinSet::new();
    for number in 0..500 {
        let spool = spool.clone();
        appends.spawn(async move {
            let events = vec![event(&number.to_string(), 100)];
            spool.append("shop", events).await.unwrap();
        });
    }
    while let Some(done) = appends.join_next().await {
        done.unwrap();
    }
    let commits = spool.counters().commits.load(Ordering::Relaxed);
    println!("500 appends in {commits} commits");
    assert!(commits < 250, "{commits}");
    assert_eq!(spool.gauges().of("shop").events(), 500);
    assert_eq!(all(&spool).await.len(), 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_again_while_it_waits_is_kept_once() {
    let folder = tempfile::tempdir().unwrap();
    {
        let spool = SqliteSpool::open(folder.path(), SqliteSettings::default()).unwrap();
        let twice = || vec![event("a", 1), event("a", 1), event("b", 1)];
        spool.append("shop", twice()).await.unwrap();
        spool.append("shop", twice()).await.unwrap();
        spool.append("other", vec![event("a", 1)]).await.unwrap();
    }
    let spool = SqliteSpool::open(folder.path(), SqliteSettings::default()).unwrap();
    spool.append("shop", vec![event("b", 1)]).await.unwrap();
    let held = all(&spool).await;
    assert_eq!(ids(&held), ["a", "b"]);
    let other = spool.peek("other", EVERYTHING).await.unwrap().events;
    assert_eq!(
        ids(&other),
        ["a"],
        "another project's event is another event"
    );
    // A sent event may come again: PostHog removes the duplicate.
    spool.acknowledge("shop", vec![held[0].position]).await;
    spool.append("shop", vec![event("a", 1)]).await.unwrap();
    assert_eq!(ids(&all(&spool).await), ["b", "a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_can_append_while_only_one_leads() {
    use hedgerow::delivery::Lead;
    let folder = tempfile::tempdir().unwrap();
    let old = SqliteSpool::open(folder.path(), SqliteSettings::default()).unwrap();
    let new = SqliteSpool::open(folder.path(), SqliteSettings::default()).unwrap();
    assert!(matches!(old.lead("shop").await, Ok(Lead::Ours(_))));
    assert_eq!(new.lead("shop").await.unwrap(), Lead::Theirs);
    old.append("shop", vec![event("a", 1)]).await.unwrap();
    new.append("shop", vec![event("b", 1)]).await.unwrap();
    old.append("shop", vec![event("c", 1)]).await.unwrap();
    old.resign().await;
    drop(old);
    assert!(matches!(new.lead("shop").await, Ok(Lead::Ours(_))));
    assert_eq!(ids(&all(&new).await), ["a", "b", "c"]);
    let deadline = Instant::now() + PATIENCE;
    while new.gauges().of("shop").events() != 3 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
