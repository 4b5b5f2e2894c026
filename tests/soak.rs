//! Everything at once, for as long as you choose: fifty clients send through two proxies, one with
//! its spool on a disk and one on NATS. Meanwhile PostHog fails in many ways, processes get `kill
//! -9`, hand-overs, reloads and new certificates, a disk is full at times, a NATS server is killed
//! or hangs, DNS is silent or gives wrong answers, the clock jumps, and hostile connections come.
//! In the end every acknowledged event has arrived, and memory, descriptors and threads have not
//! grown.
//!
//! `HEDGEROW_SOAK_SECONDS` is how long the clients send (20), `HEDGEROW_SOAK_RATE` the events a
//! second (300); `HEDGEROW_LEDGER_SEED` repeats the random choices. `make soak` runs an hour.
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
#[path = "soak/blind.rs"]
mod blind;
#[path = "ledger/books.rs"]
mod books;
#[path = "ledger/crowd.rs"]
mod crowd;
#[path = "ledger/dice.rs"]
mod dice;
#[path = "faults/dns.rs"]
#[allow(dead_code)]
mod dns;
#[path = "soak/hostile.rs"]
mod hostile;
#[path = "soak/installation.rs"]
mod installation;
#[path = "shutdown/process.rs"]
#[allow(dead_code)]
mod process;
#[path = "outage/relay.rs"]
#[allow(dead_code)]
mod relay;
#[path = "ledger/run.rs"]
#[allow(dead_code)]
mod run;
#[path = "soak/samples.rs"]
mod samples;
#[path = "nats_spool/server.rs"]
#[allow(dead_code)]
mod server;
#[path = "faults/setup.rs"]
#[allow(dead_code)]
mod setup;
mod support;
#[path = "soak/troubles.rs"]
mod troubles;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blind::BlindTimes;
use books::{ArrivedEvents, Excuses};
use crowd::Crowd;
use dice::Dice;
use dns::Resolver;
use hedgerow::demo::capture::StoreCapacity;
use installation::Installation;
use process::ProcessEnvironment;
use relay::Relay;
use run::{Plan, PATIENCE};
use samples::Samples;
use server::Server;
use support::disk::SmallDisk;
use support::proxy::PostHog;
use support::recorder::{response, Act, Recorder};
use support::say;
use troubles::TimeOfDay;

/// For the proxy with a disk, and for the proxy with NATS.
const CLIENTS: [usize; 2] = [38, 12];

fn asked(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_all_troubles_at_once_nothing_acknowledged_is_lost_and_nothing_grows() {
    let span = Duration::from_secs(asked("HEDGEROW_SOAK_SECONDS", 20));
    let each = (span.as_secs() * asked("HEDGEROW_SOAK_RATE", 300)) as usize / 50;
    let seed = asked(
        "HEDGEROW_LEDGER_SEED",
        chrono::Utc::now().timestamp_micros() as u64,
    );
    println!("HEDGEROW_LEDGER_SEED={seed}");
    let mut dice = Dice::new(seed);
    let posthog = PostHog::with(StoreCapacity {
        // The test reads them five times a second.
        events: 200_000,
        bytes: usize::MAX,
    })
    .await;
    let relay = Relay::start(posthog.address).await;
    let site = Recorder::early(|_| Some(Act::AnswerAndClose(response("200 OK", "", "page")))).await;
    // Large enough for the events that wait in a longer run while PostHog fails.
    let disk = SmallDisk::mount(match span > Duration::from_secs(60) {
        true => "1g",
        false => "96m",
    });
    let folder = tempfile::tempdir().unwrap();
    let (time, resolver) = (TimeOfDay::right(folder.path()), Resolver::start());
    let mut nats = Server::single().filter(|_| cfg!(feature = "nats"));
    let around = ProcessEnvironment {
        wrapper: resolver.as_ref().map(Resolver::wrapper).unwrap_or_default(),
        variables: time.as_ref().map(TimeOfDay::variables).unwrap_or_default(),
        log: None,
    };
    // A host name, so that the run includes lookups.
    let name = match resolver {
        Some(_) => "posthog.hedgerow.example",
        None => "localhost",
    };
    let named = relay.url().replace("127.0.0.1", name);
    let spool = disk.as_ref().map_or(folder.path(), |disk| &disk.at);
    let spool = format!("{{path: \"{}\"}}", spool.join("spool").display());
    let places = [named.as_str(), &site.url(), &spool];
    let mut proxies = vec![Installation::start("disk", around.clone(), places).await];
    let blind = Arc::new(BlindTimes::default());
    if let Some(nats) = &nats {
        let shared = format!("{{nats: {{url: \"{}\"}}}}", nats.url());
        let places = [named.as_str(), &site.url(), &shared];
        let reading = Arc::clone(&blind);
        let mut around = ProcessEnvironment {
            log: Some(Arc::new(move |said| reading.read(said))),
            ..around
        };
        // When it knows what waits is said there.
        let level = "warn,hedgerow_spool::nats=info".to_owned();
        around.variables.push(("RUST_LOG", level));
        proxies.push(Installation::start("NATS", around, places).await);
    }
    let (mut crowds, mut plans, mut first) = (Vec::new(), Vec::new(), 0);
    for (proxy, clients) in proxies.iter().zip(CLIENTS) {
        let numbers = first..first + clients;
        first = numbers.end;
        let (events, address) = (each * clients, proxy.process.address);
        crowds.push(Crowd::start(numbers, events, span, address, &mut dice));
        plans.push(Plan {
            name: proxy.name,
            events,
            span,
            kills: 2.max(span.as_secs() as usize / 120),
            mode: "stream",
        });
    }
    let done = AtomicBool::new(false);
    let mut books = ArrivedEvents::default();
    let mut samples: Vec<Samples> = proxies.iter().map(|_| Samples::default()).collect();
    let watched: Vec<_> = proxies
        .iter()
        .map(|proxy| (proxy.id.clone(), proxy.admin))
        .collect();
    let addresses: Vec<_> = proxies.iter().flat_map(Installation::addresses).collect();
    let mut ways: Vec<Dice> = (1..=8).map(|number| dice.split(number)).collect();
    let mut way = || ways.pop().expect("one for each");
    let (mut turns, one, two) = (Vec::new(), way(), way());
    let plan = plans[0];
    let counts = tokio::join!(
        async {
            let turning = proxies.iter_mut().zip(&plans).zip([one, two]);
            let turning = turning.map(|((proxy, plan), dice)| proxy.turn(*plan, dice));
            turns = futures_util::future::join_all(turning).await;
            while !crowds.iter().all(Crowd::finished) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            done.store(true, Ordering::Relaxed);
        },
        run::trouble(&posthog, &relay, plan, way(), &done),
        hostile::press(&addresses, way(), &done),
        troubles::fill(disk.as_ref(), way(), &done),
        troubles::upset(nats.as_mut(), way(), &done),
        troubles::mislead(resolver.as_ref(), way(), &done),
        troubles::jump(time.as_ref(), way(), &done),
        async {
            while !done.load(Ordering::Relaxed) {
                books.read(&posthog.capture);
                for (samples, (id, admin)) in samples.iter_mut().zip(&watched) {
                    let (id, admin) = (id.load(Ordering::Relaxed), *admin);
                    tokio::task::block_in_place(|| samples.take(id, admin));
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
    );
    let (_, _, pressed, fills, upsets, misled, jumps, ()) = counts;
    let (mut sent, mut told) = (Vec::new(), [0; 3]);
    for crowd in crowds {
        let tries = std::sync::Arc::clone(&crowd.tries);
        sent.extend(crowd.acknowledged().await);
        let all = [&tries.requests, &tries.refused, &tries.broken];
        for (sum, one) in told.iter_mut().zip(all) {
            *sum += one.load(Ordering::Relaxed);
        }
    }
    let files: Vec<&Path> = proxies.iter().map(Installation::file).collect();
    settle(&files, &mut books, &posthog, sent.len()).await;
    if let Some(time) = &time {
        books.forgive(time.shifts());
    }
    let times = blind.all();
    let blind_starts = times.len();
    // Only what NATS holds can be overtaken like this.
    books.excuse(Excuses {
        clients: CLIENTS[0]..CLIENTS[0] + CLIENTS[1],
        times,
    });
    let closed = books.close(&sent);
    let [requests, refused, broken] = told;
    say(format_args!(
        "soak of {} s: acknowledged {}, arrived {}, duplicates {}, lost {}; {requests} requests, {refused} answered \
         503, {broken} without an answer; {pressed} hostile connections; times of failures: disk full {fills}, \
         NATS {upsets}, DNS {misled}, clock set {jumps}",
        span.as_secs(),
        sent.len(),
        closed.arrived,
        closed.duplicates,
        closed.lost,
    ));
    say(format_args!(
        "{} starts served before NATS had reported its waiting events; {} pairs of events are out of order \
         because of that; {} other mistakes",
        blind_starts, closed.excused, closed.wrong
    ));
    for ((proxy, turned), samples) in proxies.iter().zip(&turns).zip(&samples) {
        say(format_args!("{}: {turned}; {}", proxy.name, samples.say()));
    }
    assert_eq!((closed.lost, closed.wrong), (0, 0));
    let events: usize = plans.iter().map(|plan| plan.events).sum();
    assert_eq!(sent.len(), events);
    for samples in &samples {
        samples.judge();
    }
    for proxy in &mut proxies {
        proxy.process.signal("-TERM");
        assert_eq!(proxy.process.end().await, Some(0), "{}", proxy.name);
    }
}

/// Waits until PostHog has all events; sends those again that it rejected while it failed.
async fn settle(files: &[&Path], books: &mut ArrivedEvents, posthog: &PostHog, sent: usize) {
    let (mut there, mut since) = (0, Instant::now());
    loop {
        let mut empty = 0;
        for file in files {
            let (listed, _) = binary::spool(file, &["ls"]);
            if listed.lines().any(|line| line.starts_with("dead")) {
                binary::spool(file, &["retry", "--all"]);
            }
            empty += usize::from(listed.contains("the spool is empty"));
        }
        books.read(&posthog.capture);
        let settled = books.events() >= sent && empty == files.len();
        // After an hour, many events may wait.
        if books.events() > there {
            (there, since) = (books.events(), Instant::now());
        }
        if settled || since.elapsed() > PATIENCE {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
