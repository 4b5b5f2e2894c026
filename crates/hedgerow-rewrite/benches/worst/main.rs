//! The cost of the worst bodies that a client can send, compared with an ordinary body: processor
//! time for each byte, the longest time without a pause for other requests, and the result.
//! docs/hostile.md has the table.
//!
//! `cargo bench -p hedgerow-rewrite --bench worst`. With `-- --check` it fails if a byte of a case
//! costs more than five times as much; any other argument selects cases by a part of their names.
//! Times are processor times, the shortest of several runs. Other work on the machine empties the
//! processor's caches, so each case is compared with ordinary messages measured just before, in
//! pieces of about the same length; a case that seems too slow is measured more often.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod cases;
mod outside;
mod table;

use std::time::Duration;

use cases::{Case, Work};

/// How many times the cost of an ordinary byte is allowed.
const MOST: f64 = 5.0;
const RUNS: usize = 5;
/// The number of runs if the cost seems higher.
const MORE_RUNS: usize = 30;

/// The processor time of this thread.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The cost of a case.
struct Cost {
    whole: Duration,
    longest: Duration,
    ended: String,
}

fn run(case: &Case) -> Cost {
    let mut work = (case.begin)();
    let (mut whole, mut longest) = (Duration::ZERO, Duration::ZERO);
    loop {
        let before = processor_time();
        let step = work();
        let took = processor_time() - before;
        whole += took;
        longest = longest.max(took);
        if let Work::Ended(ended) = step {
            return Cost {
                whole,
                longest,
                ended,
            };
        }
    }
}

/// The shortest of several runs, and the ratio of its cost for a byte to that of an ordinary body
/// measured beside it.
fn cost(case: &Case, ordinary: &Case) -> (Cost, f64) {
    let each = |cost: &Cost, case: &Case| cost.whole.as_nanos() as f64 / case.bytes as f64;
    let mut base = f64::INFINITY;
    let mut least = run(case);
    let mut times = f64::INFINITY;
    for round in 0..MORE_RUNS {
        if round >= RUNS && times <= MOST {
            break;
        }
        base = base.min(each(&run(ordinary), ordinary));
        let cost = run(case);
        if cost.whole < least.whole {
            least = cost;
        }
        times = each(&least, case) / base;
    }
    (least, times)
}

fn main() {
    let checks = std::env::args().any(|argument| argument == "--check");
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    println!(
        "| {:<52} | {:>9} | {:>7} | {:>5} | {:>8} | result |",
        "body", "bytes", "ns/byte", "times", "step, ms"
    );
    println!("| --- | ---: | ---: | ---: | ---: | --- |");
    let ordinary = table::ordinary();
    let mut wrong = Vec::new();
    for case in table::all() {
        let is_wanted = wanted
            .as_ref()
            .is_none_or(|wanted| case.name.contains(wanted.as_str()));
        if !is_wanted {
            continue;
        }
        let (cost, times) = cost(&case, &ordinary);
        let each = cost.whole.as_nanos() as f64 / case.bytes as f64;
        println!(
            "| {:<52} | {:>9} | {each:>7.1} | {times:>5.1} | {:>8.2} | {} |",
            case.name,
            case.bytes,
            cost.longest.as_secs_f64() * 1000.0,
            cost.ended
        );
        if times > MOST {
            wrong.push(format!("{}: {times:.1} times", case.name));
        }
    }
    assert!(!checks || wrong.is_empty(), "{}", wrong.join("\n"));
}
