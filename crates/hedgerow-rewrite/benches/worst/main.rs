//! What the worst that a client can send costs beside an ordinary body: processor time for each
//! byte, the longest time between two points at which other requests have their turn, and how it
//! ends. docs/hostile.md has the table.
//!
//! `cargo bench -p hedgerow-rewrite --bench worst`; with `-- --check` it fails where a case costs
//! more than five times as much for a byte. Times are those of the processor, the least of several
//! runs, so that other work on the machine does not count.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod cases;
mod table;

use std::time::Duration;

use cases::{Case, Work};

/// How much more a byte may cost than an ordinary one.
const MOST: f64 = 5.0;
const RUNS: usize = 5;

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

fn cost(case: &Case) -> Cost {
    let mut least: Option<Cost> = None;
    for _ in 0..RUNS {
        let mut work = (case.begin)();
        let (mut whole, mut longest) = (Duration::ZERO, Duration::ZERO);
        let ended = loop {
            let before = processor_time();
            let step = work();
            let took = processor_time() - before;
            whole += took;
            longest = longest.max(took);
            if let Work::Ended(how) = step {
                break how;
            }
        };
        if least.as_ref().is_none_or(|least| whole < least.whole) {
            least = Some(Cost {
                whole,
                longest,
                ended,
            });
        }
    }
    least.unwrap()
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
    let mut ordinary = None;
    let mut wrong = Vec::new();
    for case in table::all() {
        let is_wanted = wanted
            .as_ref()
            .is_none_or(|wanted| case.name.contains(wanted.as_str()));
        if !is_wanted && ordinary.is_some() {
            continue;
        }
        let cost = cost(&case);
        let each = cost.whole.as_nanos() as f64 / case.bytes as f64;
        let ordinary = *ordinary.get_or_insert(each);
        let times = each / ordinary;
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
