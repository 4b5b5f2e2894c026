//! Tests that the spool's queries cost the same for any number of waiting events and dead letters. They
//! count SQLite's own steps and read its query plans.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use super::database::{Database, Opener};
use super::settings::SqliteSettings;
use super::statement_steps::steps_of;
use super::transactions::Append;
use super::worker::{Worker, WorkerShared};
use crate::event::milliseconds;
use crate::event::SpooledEvent;
use crate::store::Refusal;
use crate::store::{PeekLimit, Position};

fn event(number: u64) -> SpooledEvent {
    let text = format!(
        "{{\"uuid\":\"{number}\",\"event\":\"e\",\"distinct_id\":\"p\",\"timestamp\":\"2026-11-23T10:00:00Z\"}}"
    );
    SpooledEvent::new(text.into(), SystemTime::now()).unwrap()
}

/// Creates a spool with `waiting` events and `dead` dead letters in each of three projects.
fn filled(folder: &Path, waiting: u64, dead: u64) {
    let mut database = Database::open(folder, Opener::Proxy).unwrap();
    let now = SystemTime::now();
    let written = database.write(|writing| {
        for project in ["one", "other", "third"] {
            let all: Vec<_> = (0..waiting).map(event).collect();
            writing.append(project, &all, now)?;
            for number in 0..dead {
                let body = event(number).body().to_vec();
                let time = milliseconds(now);
                writing.insert_dead_letter(
                    project,
                    rusqlite::params![time, time, 400, "invalid event", body],
                )?;
            }
        }
        Ok(())
    });
    written.unwrap();
}

/// Creates a worker without its thread.
fn worker(folder: &Path) -> Worker {
    let settings = SqliteSettings {
        recognised: 300,
        ..SqliteSettings::default()
    };
    let shared = Arc::new(WorkerShared::default());
    Worker::new(
        folder.to_owned(),
        settings,
        Arc::new(SystemTime::now),
        shared,
    )
}

/// Opens a spool, does the maintenance of a second, reads, appends and removes events, and makes one a dead
/// letter. Returns the statements of each part with their steps.
fn a_day(folder: &Path) -> Vec<(&'static str, BTreeMap<String, i64>)> {
    let mut worker = worker(folder);
    let mut day = vec![("start", steps_of(|| assert!(worker.open().is_ok())))];
    // The dead letters' share is checked in the first second, not at the start.
    day.push(("first second", steps_of(|| worker.tick())));
    day.push(("second", steps_of(|| worker.tick())));
    let limit = PeekLimit {
        events: 10,
        bytes: 1 << 20,
    };
    let mut first = Vec::new();
    let peek = || first = worker.peek("other", limit).unwrap().events;
    day.push(("peek", steps_of(peek)));
    let append = || {
        let (reply, mut answer) = oneshot::channel();
        worker.append(vec![Append {
            project: "other".to_owned(),
            events: vec![event(1 << 40)],
            reply,
        }]);
        answer.try_recv().unwrap().unwrap();
    };
    day.push(("append", steps_of(append)));
    let positions: Vec<Position> = first.iter().map(|event| event.position).collect();
    let refusal = Refusal {
        status: 400,
        reason: "invalid event".to_owned(),
    };
    let forget = || {
        let (reply, mut answer) = oneshot::channel();
        let delivered = positions[1..].iter().map(|at| (*at, "other".into()));
        worker.delivered.extend(delivered);
        worker.forget(vec![(positions[0], refusal, reply)]);
        answer.try_recv().unwrap().unwrap();
    };
    day.push(("forget", steps_of(forget)));
    day.push(("second after", steps_of(|| worker.tick())));
    day.push(("end", steps_of(|| worker.remember())));
    day
}

#[test]
fn queries_cost_the_same_for_any_number_of_events() {
    let (few, many) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    filled(few.path(), 200, 50);
    filled(many.path(), 4_000, 2_000);
    let mut wrong = Vec::new();
    let mut compared = 0;
    for ((part, few), (_, many)) in a_day(few.path()).into_iter().zip(a_day(many.path())) {
        assert!(!few.is_empty(), "{part}: nothing was asked");
        for (statement, steps) in &many {
            compared += 1;
            let before = few.get(statement).copied().unwrap_or_default();
            // A deeper tree and a page split may add a few steps.
            if *steps > before + before / 8 + 16 {
                wrong.push(format!(
                    "{part}: {before} steps and {steps} of: {statement}"
                ));
            }
        }
    }
    println!("{}", wrong.join("\n"));
    assert!(wrong.is_empty());
    assert!(compared > 30, "{compared} statements");
}

#[test]
fn a_spool_that_is_read_at_the_start_and_while_it_runs_is_read_by_its_indexes() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 20, 5);
    let day = a_day(folder.path());
    let statements: Vec<&String> = day.iter().flat_map(|(_, run)| run.keys()).collect();
    let database = Database::open(folder.path(), Opener::Proxy).unwrap();
    let (mut scans, mut explained) = (Vec::new(), 0);
    for statement in statements {
        let begin = statement.split_whitespace().next().unwrap_or_default();
        if !["SELECT", "INSERT", "UPDATE", "DELETE"].contains(&begin) {
            continue;
        }
        explained += 1;
        let plan = format!("EXPLAIN QUERY PLAN {statement}");
        let mut plan = database.connection().prepare(&plan).unwrap();
        let unset = vec![rusqlite::types::Null; plan.parameter_count()];
        let lines = plan.query_map(rusqlite::params_from_iter(unset), |row| {
            row.get::<_, String>(3)
        });
        for line in lines.unwrap().map(Result::unwrap) {
            // These scans are small: `project` has one row for each project, `clock` has one row, and a
            // query with LIMIT stops after its first rows.
            let is_small = ["SCAN project", "SCAN clock"]
                .iter()
                .any(|small| line.starts_with(small));
            let is_first = line.starts_with("SCAN") && statement.contains("LIMIT");
            if line.contains("USE TEMP B-TREE") || line.contains("SCAN") && !is_small && !is_first {
                scans.push(format!("{line}: {statement}"));
            }
        }
    }
    println!("{}", scans.join("\n"));
    assert!(scans.is_empty());
    assert!(explained > 15, "{explained} statements");
}

#[test]
fn dead_letters_are_counted_as_they_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 0, 5);
    let mut database = Database::open(folder.path(), Opener::Proxy).unwrap();
    let numbers = database.dead_letter_numbers().unwrap();
    let dropped = database.write(|writing| {
        writing.delete_dead_letter(numbers[0])?;
        writing.requeue(numbers[1], SystemTime::now())?;
        // All bodies have the same size. Thirteen dead letters are left and the limit is eleven, so the
        // two oldest are dropped.
        let one = event(0).body().len() as u64;
        writing.evict_dead_letters(11 * one, 100)
    });
    assert_eq!(dropped.unwrap(), 2);
    let counts = |database: &Database| -> Vec<(u64, u64)> {
        let totals = database.totals().unwrap();
        totals
            .iter()
            .map(|total| (total.events, total.dead_letters))
            .collect()
    };
    assert_eq!(counts(&database), [(1, 1), (0, 5), (0, 5)]);
    // All rows are older than this limit.
    let later = SystemTime::now() + Duration::from_secs(60);
    let removed = database.write(|writing| writing.expire(later, 8)).unwrap();
    assert_eq!((removed.events.len(), removed.letters), (1, 8));
    assert_eq!(counts(&database), [(0, 0), (0, 0), (0, 3)]);
}

#[test]
fn dead_letters_beyond_their_share_go_in_rounds_between_which_others_have_their_turn() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 0, 8_000);
    let mut worker = worker(folder.path());
    worker.settings.max_size = 10_000;
    worker.open().unwrap();
    let mut left = Vec::new();
    for _ in 0..4 {
        worker.tick();
        let totals = worker.database.as_ref().unwrap().totals().unwrap();
        left.push(totals.iter().map(|total| total.dead_letters).sum::<u64>());
        let log = std::fs::metadata(folder.path().join("spool.db-wal"));
        let log = log.unwrap().len();
        assert!(log < 16 << 20, "{log} bytes");
    }
    let share = 1_000 / event(1_000).body().len() as u64;
    assert_eq!(left, [14_000, 4_000, share, share]);
}
