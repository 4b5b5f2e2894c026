//! What a request costs the whole process: CPU time of the release binary with and without a
//! spool, in both mapping modes, beside a proxy of the framework that passes the same bytes through.
//!
//! `cargo bench --bench edge`. All of them run at once and are asked in turns, in an order that
//! changes from round to round; a busy machine makes all of them dearer, the ratios stay. Linux
//! only: CPU time is read from `/proc`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod load;
mod subjects;
#[path = "../support/mod.rs"]
mod support;
mod upstream;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use subjects::{Subject, PASS_THROUGH};

/// How often everything is measured at most; the medians are printed.
const ROUNDS: usize = 9;
/// No round begins after so long, except the first three.
const PATIENCE: Duration = Duration::from_secs(120);

/// One kind of request.
struct Work {
    name: &'static str,
    path: &'static str,
    body: String,
    events: usize,
    /// So many in one round, for each subject.
    requests: usize,
    connections: usize,
}

fn works() -> Vec<Work> {
    let cases = support::cases();
    let track = &cases[0].body;
    let large = 2_000;
    let batch = format!(
        r#"{{"sentAt":"2026-11-23T21:01:34.498Z","batch":[{}]}}"#,
        vec![track.as_str(); large].join(",")
    );
    vec![
        Work {
            name: "one track",
            path: "/hr/v1/t",
            body: track.clone(),
            events: 1,
            requests: 40_000,
            connections: 16,
        },
        Work {
            name: "a batch of 2,000 tracks, three times limits.window",
            path: "/hr/v1/b",
            body: batch,
            events: large,
            requests: 24,
            connections: 4,
        },
    ]
}

fn main() {
    if let Ok(address) = std::env::var(PASS_THROUGH) {
        return subjects::pass_through(address.parse().expect("an address"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let upstream = runtime.block_on(upstream::start());
    let folder = tempfile::tempdir().unwrap();
    let subjects = subjects::start(folder.path(), upstream);
    for work in works() {
        measure(&runtime, &subjects, &work);
    }
}

/// Microseconds of CPU for one event, by subject, in each round.
fn measure(runtime: &tokio::runtime::Runtime, subjects: &[Subject], work: &Work) {
    let ask = |address: SocketAddr, requests| {
        let load = load::run(address, work.path, &work.body, requests, work.connections);
        runtime.block_on(load);
    };
    for subject in subjects {
        ask(subject.address, work.requests.div_ceil(8));
    }
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    let start = Instant::now();
    for round in 0..ROUNDS {
        if round >= 3 && start.elapsed() > PATIENCE {
            break;
        }
        let mut costs = vec![0.0; subjects.len()];
        for turn in 0..subjects.len() {
            let at = (round + turn) % subjects.len();
            let before = subjects[at].cpu();
            ask(subjects[at].address, work.requests);
            let spent = subjects[at].cpu() - before;
            costs[at] = spent.as_secs_f64() * 1e6 / (work.requests * work.events) as f64;
        }
        rounds.push(costs);
    }
    println!(
        "\n{}, {} bytes, {} rounds of {} requests",
        work.name,
        work.body.len(),
        rounds.len(),
        work.requests
    );
    println!(
        "{:<30} {:>14} {:>16} {:>18}",
        "CPU of the process", "µs an event", "to pass-through", "to without spool"
    );
    for (at, subject) in subjects.iter().enumerate() {
        let median_of = |ratio: &dyn Fn(&Vec<f64>) -> f64| median(rounds.iter().map(ratio));
        println!(
            "{:<30} {:>14.2} {:>16.2} {:>18.3}",
            subject.name,
            median_of(&|costs| costs[at]),
            median_of(&|costs| costs[at] / costs[0]),
            median_of(&|costs| costs[at] / costs[subjects::WITHOUT_SPOOL]),
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
