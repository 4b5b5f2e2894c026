//! The ledger: fifty clients, PostHog with all kinds of outages, a proxy killed at random moments,
//! and a disk that is full, read-only or damaged. The test compares the acknowledged events with
//! those that arrived.
//!
//! `HEDGEROW_LEDGER_EVENTS` makes the first run longer; `HEDGEROW_LEDGER_SEED` repeats its random
//! choices.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "outage/binary.rs"]
#[allow(dead_code)]
mod binary;
#[path = "ledger/books.rs"]
mod books;
#[path = "ledger/crowd.rs"]
mod crowd;
#[path = "ledger/dice.rs"]
mod dice;
#[path = "outage/relay.rs"]
mod relay;
#[path = "ledger/run.rs"]
mod run;
mod support;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use run::{Disk, Plan};
use support::disk::SmallDisk;

/// One run at a time: each of them needs the whole machine.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The number of events in the long run.
fn events() -> usize {
    let asked = std::env::var("HEDGEROW_LEDGER_EVENTS").ok();
    asked.map_or(100_000, |text| text.parse().expect("a number of events"))
}

/// A disk that works and has enough space.
struct HealthyDisk;

impl Disk for HealthyDisk {}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_event_is_there_in_the_end_and_nothing_else() {
    let _turn = TURN.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        name: "all troubles",
        events: events(),
        // 1,300 events a second on average, so that clients always have requests under way.
        span: Duration::from_millis(events() as u64 * 3 / 4),
        kills: 10.max(events() / 10_000),
        mode: "stream",
    };
    run::run(plan, folder.path(), &HealthyDisk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_before_they_are_sent_and_there_in_the_end_all_the_same() {
    let _turn = TURN.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        name: "mode: spool",
        mode: "spool",
        ..Plan::short()
    };
    run::run(plan, folder.path(), &HealthyDisk).await;
}

/// Whenever the proxy is down, appends the start of an unfinished transaction to its database's
/// log.
struct TornLog;

impl Disk for TornLog {
    fn while_it_is_down(&self, spool: &Path, dice: &mut dice::Dice) {
        let log = spool.join("spool.db-wal");
        let mut tail = std::fs::read(&log).unwrap_or_default();
        // Bytes that look like the start of a record, and bytes that do not.
        tail.truncate(32 + dice.below(4_000) as usize);
        tail.extend((0..dice.below(2_000)).map(|_| dice.below(256) as u8));
        let file = std::fs::OpenOptions::new().append(true).open(&log);
        if let Ok(mut file) = file {
            file.write_all(&tail).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_tail_of_the_log_costs_nothing_that_was_acknowledged() {
    let _turn = TURN.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        name: "torn tail",
        kills: 6,
        ..Plan::short()
    };
    run::run(plan, folder.path(), &TornLog).await;
}

/// A disk that another program repeatedly fills to the last byte.
struct FillingDisk(SmallDisk);

impl Disk for FillingDisk {
    fn turn_bad(&self) {
        let mut other = std::fs::File::create(self.0.at.join("other")).unwrap();
        while other.write_all(&[0; 512]).is_ok() {}
    }

    fn turn_good(&self) {
        let _ = std::fs::remove_file(self.0.at.join("other"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_again_and_again_costs_nothing_that_was_acknowledged() {
    let _turn = TURN.lock().await;
    let Some(disk) = SmallDisk::mount("8m") else {
        return;
    };
    let folder = disk.at.clone();
    let plan = Plan {
        name: "full disk",
        ..Plan::short()
    };
    let refused = run::run(plan, &folder, &FillingDisk(disk)).await;
    assert!(refused > 0, "the disk was never full");
}

/// A disk that is read-only when the proxy starts again, and writable later.
struct ReadOnly(SmallDisk);

impl Disk for ReadOnly {
    fn while_it_is_down(&self, _: &Path, _: &mut dice::Dice) {
        self.0.remount("ro");
    }

    fn turn_good(&self) {
        self.0.remount("rw");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_read_only_at_times_costs_nothing_that_was_acknowledged() {
    let _turn = TURN.lock().await;
    let Some(disk) = SmallDisk::mount("256m") else {
        return;
    };
    let folder = disk.at.clone();
    let plan = Plan {
        name: "read-only disk",
        ..Plan::short()
    };
    let refused = run::run(plan, &folder, &ReadOnly(disk)).await;
    assert!(refused > 0, "the disk was never read-only");
}
