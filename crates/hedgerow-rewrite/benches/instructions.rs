//! The number of instructions that the rewriting needs for one event, counted by Valgrind. Unlike
//! times, they are the same on a busy machine.
//!
//! `cargo bench -p hedgerow-rewrite --bench instructions` prints them. With `-- --check` it fails
//! if a count has grown by more than 3 % over `benches/instructions.txt`, or if the benchmark and
//! that file do not have the same cases; `-- --write` writes the file. Each case runs twice with
//! different numbers of rounds; the difference excludes work that is done once.
//!
//! An event must not cost more in a large batch than in a small one. The benchmark compares these
//! within one run, without the file.
//!
//! Other compilers generate other code from the same source, so the file names its compiler.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "../../../benches/support/mod.rs"]
mod support;
// The metrics' histogram of durations, which is counted here as well.
#[path = "../../../src/admin/times.rs"]
#[allow(dead_code, unused_imports)]
mod times;
#[path = "../../../benches/valgrind/mod.rs"]
mod valgrind;
#[path = "../../../benches/written/mod.rs"]
mod written;

use std::process::Command;
use std::time::Duration;

use support::{batch_of, cases, Case, Way, Work};

/// Set for the counted runs: way, case and rounds. A case is a number, or [`MANY`] and the number
/// of events.
const RUN: &str = "HEDGEROW_BENCH_RUN";

/// Set if the rounds are counted by `scripts/steps`: each begins with a system call, by which it is found.
const YIELD: &str = "HEDGEROW_BENCH_YIELD";

const MANY: &str = "many-";

/// The batch sizes in which an event must cost the same, and how much more it may cost in a larger
/// one, in hundredths.
const SIZES: [usize; 5] = [1, 10, 100, 1000, 10_000];
const UNEVEN: u64 = 5;

/// The file with the counts.
const WRITTEN: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../benches/instructions.txt"
);

fn main() {
    if let Ok(run) = std::env::var(RUN) {
        return rounds(&run);
    }
    println!(
        "{:<22} {:>12} {:>12} {:>12}",
        "instructions an event", "reference", "enriched", "sessions"
    );
    let mut counted = Vec::new();
    for (index, case) in cases().iter().enumerate() {
        let counts = Way::ALL.map(|(_, way)| instructions(way, &index.to_string(), case.events));
        let [reference, rest @ ..] = counts;
        let ratio = |count: u64| format!("{count} ({:.2})", count as f64 / reference as f64);
        let [enriched, sessions] = rest.map(ratio);
        println!(
            "{:<22} {reference:>12} {enriched:>12} {sessions:>12}",
            case.name
        );
        for ((_, way), count) in Way::ALL.into_iter().zip(counts) {
            counted.push((format!("{}, {way}", case.name), count));
        }
    }
    let observation = counted_by_valgrind(OBSERVATIONS, 1);
    println!("one observation of the metrics: {observation}");
    counted.push((OBSERVATIONS.to_owned(), observation));
    let asked = |flag: &str| std::env::args().any(|argument| argument == flag);
    let uneven = uneven();
    if asked("--write") {
        write(&counted);
    }
    if asked("--check") {
        check(&counted);
    }
    if uneven > 0 {
        std::process::exit(1);
    }
}

/// Prints the cost of an event in batches of all sizes, and returns how often it is higher than in
/// a smaller batch.
fn uneven() -> usize {
    let mut uneven = 0;
    // With sessions, a batch of one has the visitor of its cookie; a larger one has other visitors
    // too.
    let ways = Way::ALL
        .into_iter()
        .filter(|(way, _)| *way != Way::Sessions);
    for (_, way) in ways {
        let count = |size: &usize| instructions(way, &format!("{MANY}{size}"), *size);
        let counts: Vec<u64> = SIZES.iter().map(count).collect();
        println!("a short event in a batch of {SIZES:?}, {way}: {counts:?}");
        for (at, count) in counts.iter().enumerate() {
            let smaller = counts.iter().take(at);
            let least = smaller.min().unwrap_or(count);
            if count * 100 > least * (100 + UNEVEN) {
                println!("{way}: {count} in a batch of {}, and {least}", SIZES[at]);
                uneven += 1;
            }
        }
    }
    uneven
}

fn compiler() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output = Command::new(rustc).arg("--version").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn write(counted: &[(String, u64)]) {
    let mut text = format!("{}: {}\n", written::COMPILER, compiler());
    for (what, count) in counted {
        text.push_str(&format!("{what}: {count}\n"));
    }
    std::fs::write(WRITTEN, text).unwrap();
}

/// Compares with the file; prints everything that is wrong before it fails.
fn check(counted: &[(String, u64)]) {
    let text = std::fs::read_to_string(WRITTEN).unwrap();
    let then = written::value_of(&text, written::COMPILER).unwrap_or("unknown");
    let now = compiler();
    if then != now {
        println!("the counts in {WRITTEN} are of {then}; this is {now}");
    }
    let mistakes = written::mistakes(&text, counted);
    for mistake in &mistakes {
        println!("{mistake}");
    }
    if !mistakes.is_empty() {
        println!(
            "if that is meant: cargo bench -p hedgerow-rewrite --bench instructions -- --write"
        );
        std::process::exit(1);
    }
}

/// Counted in addition to the rewriting: an observation of the duration in a histogram.
const OBSERVATIONS: &str = "observation";

fn rounds(run: &str) {
    let parts: Vec<&str> = run.split(' ').collect();
    if parts[0] == OBSERVATIONS {
        let timing = times::DurationHistogram::of_waiting();
        for round in 0..parts[1].parse::<u64>().unwrap() {
            timing.observe(Duration::from_millis(std::hint::black_box(round % 100)));
        }
        assert!(timing.read().number() > 0);
        return;
    }
    let (way, _) = Way::ALL
        .into_iter()
        .find(|(_, name)| *name == parts[0])
        .unwrap();
    let case: Case = match parts[1].strip_prefix(MANY) {
        Some(events) => batch_of(events.parse().unwrap()),
        None => cases().swap_remove(parts[1].parse().unwrap()),
    };
    let work = Work::new(way, &case);
    let yields = std::env::var_os(YIELD).is_some();
    for round in 0..parts[2].parse::<u32>().unwrap() {
        if yields {
            std::thread::yield_now();
        }
        std::hint::black_box(work.run_round(std::hint::black_box(&case), round));
    }
}

fn instructions(way: &str, case: &str, events: usize) -> u64 {
    counted_by_valgrind(&format!("{way} {case}"), events)
}

/// The instructions of one round of this run, divided by its events.
fn counted_by_valgrind(run: &str, events: usize) -> u64 {
    let few = 20.min(1 + 6000 / events as u64);
    let many = few + (600 / events as u64).max(1);
    let count = |rounds: u64| valgrind::instructions(&[(RUN, format!("{run} {rounds}"))]);
    (count(many) - count(few)) / (many - few) / events as u64
}
