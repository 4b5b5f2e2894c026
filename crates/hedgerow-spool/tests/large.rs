//! A spool with very many events starts as quickly as one with few: the test counts the bytes read
//! from the disk. It is the only test of its process, because the system counts by process.
//!
//! `HEDGEROW_SPOOL_EVENTS` is the number of waiting events (300,000). `HEDGEROW_SPOOL_FOLDER` is
//! where the test makes the spool and leaves it, so that a proxy can start with it. `make
//! large-spool` uses five million.
#![cfg(all(feature = "sqlite", target_os = "linux"))]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use hedgerow_spool::{PeekLimit, SpooledEvent, SqliteSettings, SqliteSpool, Store};
use rusqlite::Connection;

/// The number of different events; all others are copies.
const DIFFERENT: usize = 1_000;

fn event(number: usize) -> SpooledEvent {
    let text = format!(
        r#"{{"event":"Product Added","uuid":"0198c0de-0000-7000-8000-{number:012}","distinct_id":"u-{number}","timestamp":"2026-11-23T20:44:51.383Z","properties":{{"product_id":"507f1f77bcf86cd799439011","sku":"G-32","category":"Games","name":"Monopoly: 3rd Edition","brand":"Hasbro","price":18.99,"quantity":1,"currency":"USD","$lib":"analytics.js","$current_url":"https://shop.example.com/products/monopoly","$ip":"203.0.113.7"}}}}"#
    );
    SpooledEvent::new(text.into(), SystemTime::now()).unwrap()
}

fn settings() -> SqliteSettings {
    SqliteSettings {
        max_size: 1 << 40,
        // Fewer than wait in the small spool.
        recognised: 5_000,
        ..SqliteSettings::default()
    }
}

/// The bytes that this process has read from files and elsewhere.
fn read() -> u64 {
    let counts = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = counts.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.unwrap().parse().unwrap()
}

/// Fills the spool with this number of events, and a tenth as many dead letters of another project.
/// SQLite copies the rows, because appends would take minutes.
fn fill(folder: &Path, events: usize) {
    let database = Connection::open(folder.join("spool.db")).unwrap();
    let there: usize = database
        .query_row("SELECT count(*) FROM event", [], |row| row.get(0))
        .unwrap();
    let more = i64::try_from(events.saturating_sub(there)).unwrap();
    let filled = database.execute_batch(&format!(
        "PRAGMA synchronous = OFF;
         PRAGMA cache_size = -65536;
         BEGIN;
         INSERT INTO event (project, arrived, stored_at, crc, dedup_key, body)
         SELECT project, arrived, stored_at, crc, randomblob(16), body
         FROM (SELECT * FROM event ORDER BY seq LIMIT {DIFFERENT})
         JOIN (WITH RECURSIVE round (number) AS
               (SELECT 1 UNION ALL SELECT number + 1 FROM round WHERE number <= {more} / {DIFFERENT})
               SELECT number FROM round)
         LIMIT {more};
         INSERT OR IGNORE INTO project (name) VALUES ('refused');
         INSERT INTO dead_letter (project, arrived, refused_at, status, reason, body)
         SELECT (SELECT id FROM project WHERE name = 'refused'), arrived, stored_at, 400, 'invalid event', body
         FROM event ORDER BY seq LIMIT {more} / 10;
         UPDATE project SET (events, bytes) =
             (SELECT count(*), coalesce(sum(length(body)), 0) FROM event WHERE project = project.id);
         COMMIT;
         PRAGMA wal_checkpoint(TRUNCATE);"
    ));
    filled.unwrap();
}

/// The bytes that a start reads, and its time. The start ends when the counts are known, the oldest
/// events are read and a new event is stored.
async fn start(folder: &Path, new: usize) -> (u64, Duration, u64, u64) {
    let (before, begin) = (read(), Instant::now());
    let spool = SqliteSpool::open(folder, settings()).unwrap();
    let limit = PeekLimit {
        events: 200,
        bytes: 1 << 20,
    };
    let oldest = spool.peek("shop", limit).await.unwrap();
    let kept = spool.append("shop", vec![event(DIFFERENT + new)]).await;
    kept.unwrap();
    let (took, bytes) = (begin.elapsed(), read() - before);
    assert_eq!(oldest.events.len(), limit.events);
    assert_eq!(oldest.events[7].body, *event(7).body());
    let waiting = spool.gauges().of("shop").events();
    (
        bytes,
        took,
        waiting,
        spool.gauges().of("refused").dead_letters(),
    )
}

#[tokio::test]
async fn a_start_reads_the_same_from_a_spool_with_very_much_waiting_as_from_one_with_little() {
    let asked = std::env::var("HEDGEROW_SPOOL_EVENTS").ok();
    let many = asked.map_or(300_000, |text| text.parse().expect("a number of events"));
    let few = 20 * DIFFERENT;
    let temporary = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("HEDGEROW_SPOOL_FOLDER");
    let folder = folder.map_or(temporary.path().to_owned(), PathBuf::from);
    let spool = SqliteSpool::open(&folder, settings()).unwrap();
    let first = (0..DIFFERENT).map(event).collect();
    spool.append("shop", first).await.unwrap();
    drop(spool);

    fill(&folder, few);
    let (little, quick, waiting, dead) = start(&folder, 1).await;
    assert_eq!(
        (waiting, dead),
        (few as u64 + 1, (few - DIFFERENT) as u64 / 10)
    );
    let begin = Instant::now();
    fill(&folder, many);
    println!("filled with {many} in {:?}", begin.elapsed());
    let (much, long, waiting, dead_of_many) = start(&folder, 2).await;
    println!("{few} events: {little} bytes read in {quick:?}; {many}: {much} bytes in {long:?}");
    assert_eq!(waiting, many as u64 + 1);
    assert_eq!(dead_of_many, dead + (many as u64 - few as u64 - 1) / 10);
    // A few tables have a tree that is deeper by a page or two.
    assert!(much < little + 32 * 8192, "{much} bytes, not {little}");
}
