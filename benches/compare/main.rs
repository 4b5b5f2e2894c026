//! The cost of a request in Hedgerow, compared with proxies that only pass bytes on and with others
//! that do the same mapping: `make compare`, which first installs what it needs.
//!
//! All subjects run at the same time and get load in turn, in an order that changes from round to
//! round: a busy machine slows all of them, and the ratios stay. The benchmark checks that each
//! message arrives once and correctly mapped. Linux only: it reads CPU time from `/proc`.
//!
//! ```text
//! cargo bench --bench compare -- [--write] [--short] [--only haproxy,nginx,pingora,lua,node,…]
//! ```
//! `--write` puts the tables into docs/performance.md and README.md. `--short` takes half a minute
//! and only shows that everything works.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

/// The release binary's allocator, because the pass-through is this program.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod http;
mod load;
mod measure;
mod pass_through;
mod process;
mod same;
mod sink;
mod subjects;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod verify;
mod work;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use load::{Pace, Target};
use measure::{slice, Load, Purpose, Sum};
use process::Process;
use sink::Sink;
use subjects::{Kind, Large};
use work::{Pages, Size, Template};

/// After this time no round begins, except the first.
const PATIENCE: Duration = Duration::from_secs(390);

/// The longest slice with every event from another page, so that the whole run stays short.
const OTHER_PAGES: Duration = Duration::from_millis(1_500);

/// A running subject of the comparison.
struct Subject {
    kind: Kind,
    process: Process,
}

/// How long, how often, and of what.
struct Plan {
    rounds: usize,
    /// All durations are divided by this.
    haste: u32,
    write: bool,
    only: Option<String>,
}

impl Plan {
    fn read(arguments: impl Iterator<Item = String>) -> Self {
        let mut plan = Self {
            rounds: 3,
            haste: 1,
            write: false,
            only: None,
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo passes this argument.
                "--bench" => {}
                "--write" => plan.write = true,
                "--short" => (plan.rounds, plan.haste) = (1, 4),
                "--only" => plan.only = arguments.next(),
                other => panic!("{other}: expected --write, --short or --only NAMES"),
            }
        }
        let whole = plan.haste == 1 && plan.only.is_none() && !cfg!(debug_assertions);
        assert!(
            whole || !plan.write,
            "only a whole run of the release may be written into the documents"
        );
        plan
    }

    fn wants(&self, kind: Kind) -> bool {
        let only = self.only.as_deref();
        only.is_none_or(|only| only.split(',').any(|name| name == kind.short()))
    }

    fn length(&self, size: Size) -> Duration {
        let milliseconds = match size {
            Size::One => 2_000,
            Size::Twenty => 1_500,
            Size::ThreeHundred => 2_000,
        };
        Duration::from_millis(milliseconds) / self.haste
    }
}

/// All measurements.
pub struct Results {
    kinds: Vec<Kind>,
    /// At a fixed rate: by size, by subject.
    open: Vec<(Size, usize, Vec<Sum>)>,
    /// The same with every event from another page, for the subjects that get this.
    other_pages: Vec<(Size, usize, Vec<Sum>)>,
    /// At the highest rate: all subjects with one event, and our own with all sizes.
    closed: Vec<(Size, Vec<(Kind, Sum)>)>,
    /// At half the highest rate, one event.
    half: Vec<(Kind, Sum)>,
    large: Vec<(String, Sum)>,
}

fn main() -> ExitCode {
    if let Ok(addresses) = std::env::var(pass_through::PASS_THROUGH) {
        pass_through::run(&addresses, subjects::THREADS);
        return ExitCode::SUCCESS;
    }
    let plan = Plan::read(std::env::args().skip(1));
    let begun = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let mut mistakes = Vec::new();
    let results = measure_all(&plan, begun, folder.path(), &sink, &mut mistakes);
    let text = table::all(&results);
    println!("\n{text}");
    println!("Took {:.0} s.", begun.elapsed().as_secs_f64());
    if !mistakes.is_empty() {
        for mistake in &mistakes {
            println!("*** {mistake}");
        }
        println!("*** Not every message arrived once and as it should be. Nothing is written.");
        return ExitCode::FAILURE;
    }
    if plan.write {
        table::write(&text, &results);
    }
    ExitCode::SUCCESS
}

fn measure_all(
    plan: &Plan,
    begun: Instant,
    folder: &Path,
    sink: &Sink,
    mistakes: &mut Vec<String>,
) -> Results {
    println!("Starting what is compared.");
    let mut subjects = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|kind| plan.wants(*kind)) {
        match kind.start(folder, sink.address) {
            Ok(process) => subjects.push(Subject { kind, process }),
            Err(missing) => println!("*** {} is left out: {missing}.", kind.name()),
        }
    }
    for subject in &subjects {
        mistakes.extend(same::look(subject.kind, &subject.process, sink));
    }
    let mut results = Results {
        kinds: subjects.iter().map(|subject| subject.kind).collect(),
        open: Vec::new(),
        other_pages: Vec::new(),
        closed: Vec::new(),
        half: Vec::new(),
        large: Vec::new(),
    };
    for size in Size::ALL {
        println!("{} events a request, at a fixed rate.", size.events());
        let template = Arc::new(Template::new(size, Pages::Same));
        let load = Load {
            purpose: Purpose::Measurement,
            pace: Pace::Open { rate: size.rate() },
            connections: size.connections(),
            length: plan.length(size),
        };
        let sums = in_turns(plan, begun, &subjects, &template, |_| load, sink);
        results.open.push((size, template.len(), sums));
    }
    let chosen = |one: &&Subject| one.kind.gets_other_pages();
    let with_pages: Vec<&Subject> = subjects.iter().filter(chosen).collect();
    for size in Size::ALL {
        println!(
            "{} events a request, each from another page.",
            size.events()
        );
        let template = Arc::new(Template::new(size, Pages::Another));
        let load = Load {
            purpose: Purpose::Measurement,
            pace: Pace::Open { rate: size.rate() },
            connections: size.connections(),
            length: plan.length(size).min(OTHER_PAGES / plan.haste),
        };
        let sums = in_turns(plan, begun, &with_pages, &template, |_| load, sink);
        results.other_pages.push((size, template.len(), sums));
    }
    for size in Size::ALL {
        println!("{} events a request, as many as go through.", size.events());
        let template = Arc::new(Template::new(size, Pages::Same));
        let chosen = |kind: Kind| size == Size::One || kind.is_hedgerow() || kind == Kind::Pingora;
        let subjects: Vec<&Subject> = subjects.iter().filter(|one| chosen(one.kind)).collect();
        let load = Load {
            purpose: Purpose::Measurement,
            pace: Pace::Closed,
            connections: 64,
            length: Duration::from_secs(1) / plan.haste,
        };
        let sums = in_turns(plan, begun, &subjects, &template, |_| load, sink);
        let kinds = subjects.iter().map(|subject| subject.kind);
        results.closed.push((size, kinds.zip(sums).collect()));
    }
    println!("At half of that.");
    half(plan, begun, &subjects, &mut results, sink);
    for sum in results
        .open
        .iter()
        .chain(&results.other_pages)
        .flat_map(|(_, _, sums)| sums)
        .chain(
            results
                .closed
                .iter()
                .flat_map(|(_, sums)| sums)
                .map(|(_, sum)| sum),
        )
        .chain(results.half.iter().map(|(_, sum)| sum))
    {
        mistakes.extend(sum.mistakes.iter().cloned());
    }
    drop(subjects);
    if plan.only.is_none() {
        println!("Larger configurations.");
        results.large = large(plan, folder, sink);
        let sums = results.large.iter().map(|(_, sum)| sum);
        mistakes.extend(sums.flat_map(|sum| sum.mistakes.iter().cloned()));
    }
    results
}

/// Loads the subjects in turn for the planned rounds.
fn in_turns<S: std::borrow::Borrow<Subject>>(
    plan: &Plan,
    begun: Instant,
    subjects: &[S],
    template: &Arc<Template>,
    load: impl Fn(usize) -> Load,
    sink: &Sink,
) -> Vec<Sum> {
    let mut sums: Vec<Sum> = subjects.iter().map(|_| Sum::default()).collect();
    for (at, subject) in subjects.iter().enumerate() {
        let Subject { kind, process } = subject.borrow();
        let target = Target::new(process.address);
        let mut load = load(at);
        load.purpose = Purpose::WarmUp;
        load.length = Duration::from_millis(300);
        slice(
            &mut sums[at],
            process,
            &target,
            kind.carries(),
            template,
            load,
            sink,
        );
    }
    for round in 0..plan.rounds {
        if round > 0 && begun.elapsed() > PATIENCE {
            break;
        }
        for turn in 0..subjects.len() {
            let at = (round + turn) % subjects.len();
            let Subject { kind, process } = subjects[at].borrow();
            let target = Target::new(process.address);
            let carries = kind.carries();
            slice(
                &mut sums[at],
                process,
                &target,
                carries,
                template,
                load(at),
                sink,
            );
        }
    }
    sums
}

/// The latency at half of each subject's highest rate.
fn half(plan: &Plan, begun: Instant, subjects: &[Subject], results: &mut Results, sink: &Sink) {
    let Some((_, closed)) = results.closed.first() else {
        return;
    };
    let chosen = |kind: Kind| kind.is_hedgerow() || kind == Kind::Pingora;
    let subjects: Vec<&Subject> = subjects.iter().filter(|one| chosen(one.kind)).collect();
    let template = Arc::new(Template::new(Size::One, Pages::Same));
    let load = |at: usize| {
        let most = closed.iter().find(|(kind, _)| *kind == subjects[at].kind);
        let most = most.map_or(2_000.0, |(_, sum)| sum.events_per_second());
        Load {
            purpose: Purpose::Measurement,
            pace: Pace::Open { rate: most / 2.0 },
            connections: 64,
            length: Duration::from_secs(1) / plan.haste,
        }
    };
    let sums = in_turns(plan, begun, &subjects, &template, load, sink);
    let kinds = subjects.iter().map(|subject| subject.kind);
    results.half = kinds.zip(sums).collect();
}

/// Whether the cost of an event grows with the configuration or the number of clients.
fn large(plan: &Plan, folder: &Path, sink: &Sink) -> Vec<(String, Sum)> {
    let template = Arc::new(Template::new(Size::One, Pages::Same));
    let processes = Large::ALL.map(|large| (large, large.start(folder, sink.address)));
    let plain = &processes[0].1;
    let mut cases = Vec::new();
    for (large, process) in &processes {
        let target = Target {
            routes: large.routes().into(),
            keys: large.keys(),
            ..Target::new(process.address)
        };
        cases.push((
            format!("{}, 16 connections", large.name()),
            process,
            target,
            16,
        ));
    }
    for connections in [1, 64] {
        let name = match connections {
            1 => "the same with 1 connection".to_owned(),
            many => format!("the same with {many} connections"),
        };
        let target = Target::new(plain.address);
        cases.insert(cases.len() - 3, (name, plain, target, connections));
    }
    let mut sums: Vec<Sum> = cases.iter().map(|_| Sum::default()).collect();
    for round in 0..=plan.rounds {
        for turn in 0..cases.len() {
            let at = (round + turn) % cases.len();
            let (_, process, target, connections) = &cases[at];
            let load = Load {
                purpose: match round {
                    0 => Purpose::WarmUp,
                    _ => Purpose::Measurement,
                },
                // Slow enough for one connection.
                pace: Pace::Open { rate: 1_000.0 },
                connections: *connections,
                length: Duration::from_secs(1) / plan.haste,
            };
            // The first round warms everything up.
            let carries = verify::Carries::Reference;
            slice(
                &mut sums[at],
                process,
                target,
                carries,
                &template,
                load,
                sink,
            );
        }
    }
    let names = cases.into_iter().map(|(name, ..)| name);
    names.zip(sums).collect()
}
