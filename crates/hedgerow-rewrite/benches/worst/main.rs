//! What the worst that a client can send costs beside an ordinary body: processor time for each
//! byte, the longest time between two points at which other requests have their turn, and how it
//! ends. docs/hostile.md has the table.
//!
//! `cargo bench -p hedgerow-rewrite --bench worst`; with `-- --check` it fails where a case costs
//! more than five times as much for a byte, and any other word is a part of the names of the cases that
//! are wanted. Times are those of the processor, the least of several runs. Other work on the machine
//! takes its caches away, so that each case is compared with ordinary messages that have just had their
//! turn, in pieces of about the same length; one that seems too dear is looked at more often.
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

/// How much more a byte may cost than an ordinary one.
const MOST: f64 = 5.0;
const RUNS: usize = 5;
/// And so many if it seems to cost more than that.
const MORE_RUNS: usize = 30;

/// The time that this thread has had of a processor.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What a case costs.
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

/// The least of several runs, and how many times as much a byte costs as an ordinary one beside it.
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
        "| {:<52} | {:>9} | {:>7} | {:>5} | {:>8} | how it ends |",
        "what comes", "bytes", "ns/byte", "times", "step, ms"
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
