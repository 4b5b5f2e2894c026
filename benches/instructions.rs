//! How many instructions one event takes in the rewriting, counted by Valgrind: unlike times they
//! are the same on a busy machine.
//!
//! `cargo bench --bench instructions`. Each case runs twice with different counts of rounds; the
//! difference leaves out what is done once.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::process::Command;

use support::{cases, Case, Way, Work};

/// Set for the runs that are counted: way, case and rounds.
const RUN: &str = "HEDGEROW_BENCH_RUN";

fn main() {
    if let Ok(run) = std::env::var(RUN) {
        return rounds(&run);
    }
    println!(
        "{:<22} {:>12} {:>12} {:>12}",
        "instructions an event", "reference", "enriched", "sessions"
    );
    for (index, case) in cases().iter().enumerate() {
        let counts = Way::ALL.map(|(_, way)| instructions(way, index, case.events));
        let [reference, rest @ ..] = counts;
        let ratio = |count: u64| format!("{count} ({:.2})", count as f64 / reference as f64);
        let [enriched, sessions] = rest.map(ratio);
        println!(
            "{:<22} {reference:>12} {enriched:>12} {sessions:>12}",
            case.name
        );
    }
}

fn rounds(run: &str) {
    let parts: Vec<&str> = run.split(' ').collect();
    let (way, _) = Way::ALL
        .into_iter()
        .find(|(_, name)| *name == parts[0])
        .unwrap();
    let case: &Case = &cases()[parts[1].parse::<usize>().unwrap()];
    let work = Work::new(way, case);
    for _ in 0..parts[2].parse::<u32>().unwrap() {
        std::hint::black_box(work.run(std::hint::black_box(case)));
    }
}

fn instructions(way: &str, case: usize, events: usize) -> u64 {
    let (few, many) = (20, 20 + 600 / events as u64);
    let count = |rounds: u64| {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(std::env::current_exe().unwrap())
            .env(RUN, format!("{way} {case} {rounds}"))
            .output()
            .expect("valgrind is needed to count instructions");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let collected = said.split("Collected : ").nth(1);
        let digits = collected.and_then(|rest| rest.split_whitespace().next());
        digits
            .unwrap_or_else(|| panic!("{said}"))
            .parse::<u64>()
            .unwrap()
    };
    (count(many) - count(few)) / (many - few) / events as u64
}
