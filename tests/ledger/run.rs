//! One run: the clients, PostHog's outages, the kills and the state of the disk, each with its own
//! timing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hedgerow::demo::capture::{InjectedFault, StoreCapacity};
use http::StatusCode;

use super::binary::{self, Binary};
use super::books::ArrivedEvents;
use super::crowd::Crowd;
use super::dice::Dice;
use super::relay::{Line, Relay};
use super::support::proxy::{yaml, PostHog};
use super::support::say;

const CLIENTS: usize = 50;

/// How long the stored events may take to arrive after the trouble, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// The settings of a run.
#[derive(Clone, Copy)]
pub struct Plan {
    pub name: &'static str,
    pub events: usize,
    /// The minimum time for the clients.
    pub span: Duration,
    pub kills: usize,
    /// `delivery.mode`.
    pub mode: &'static str,
}

impl Plan {
    /// A few seconds with every kind of trouble.
    pub fn short() -> Self {
        Self {
            name: "",
            events: 10_000,
            span: Duration::from_secs(12),
            kills: 3,
            mode: "stream",
        }
    }
}

/// What happens to the disk.
pub trait Disk {
    /// While the proxy is down, before it starts again.
    fn while_it_is_down(&self, _spool: &Path, _dice: &mut Dice) {}

    /// From time to time while the proxy runs.
    fn turn_bad(&self) {}

    /// For a while after either.
    fn turn_good(&self) {}
}

fn troubles() -> Vec<(Line, InjectedFault)> {
    let status = |code: u16| InjectedFault::Status(StatusCode::from_u16(code).unwrap(), Some(1));
    let lost_answer = InjectedFault::StoredThen(StatusCode::BAD_GATEWAY, None);
    vec![
        (Line::Passes, InjectedFault::None),
        (Line::Refuses, InjectedFault::None),
        (Line::Hangs, InjectedFault::None),
        (Line::Crawls, InjectedFault::None),
        (Line::Passes, status(503)),
        (Line::Passes, status(429)),
        (Line::Passes, InjectedFault::Poison("Poison".into())),
        (Line::Cuts, InjectedFault::None),
        (Line::Resets, InjectedFault::None),
        (Line::Passes, lost_answer),
    ]
}

/// Runs it, prints the ledger and checks it; returns the number of 503 answers.
pub async fn run(plan: Plan, folder: &Path, disk: &dyn Disk) -> usize {
    let seed = match std::env::var("HEDGEROW_LEDGER_SEED") {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => chrono::Utc::now().timestamp_micros() as u64,
    };
    println!("{}: HEDGEROW_LEDGER_SEED={seed}", plan.name);
    let mut dice = Dice::new(seed);
    let posthog = PostHog::with(StoreCapacity {
        // On a busy machine the arrivals are read seldom, and the stand-in stores duplicates twice.
        events: 2_000_000,
        bytes: usize::MAX,
    })
    .await;
    let relay = Relay::start(posthog.address).await;
    let spool = folder.join("spool");
    let mut binary = Binary::new(folder, &configuration(plan, &relay, &spool), "").await;
    let crowd = Crowd::start(
        0..CLIENTS,
        plan.events,
        plan.span,
        binary.address,
        &mut dice,
    );
    let mut books = ArrivedEvents::default();
    let done = AtomicBool::new(false);
    let (killing, troubling, spoiling) = (dice.split(1), dice.split(2), dice.split(3));
    tokio::join!(
        async {
            kill(&mut binary, plan, &spool, disk, killing).await;
            while !crowd.finished() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            done.store(true, Ordering::Relaxed);
        },
        trouble(&posthog, &relay, plan, troubling, &done),
        spoil(disk, plan, spoiling, &done),
        async {
            while !done.load(Ordering::Relaxed) {
                books.read(&posthog.capture);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    );
    let tries = std::sync::Arc::clone(&crowd.tries);
    let sent = crowd.acknowledged().await;
    let start = Instant::now();
    let mut retried = 0;
    loop {
        let (listed, _) = binary::spool(&binary.file, &["ls"]);
        // Sends the rejected events again.
        let dead = listed
            .lines()
            .filter(|line| line.starts_with("dead"))
            .count();
        if dead > 0 {
            retried += dead;
            binary::spool(&binary.file, &["retry", "--all"]);
        }
        books.read(&posthog.capture);
        let settled = books.events() >= sent.len() && listed.contains("the spool is empty");
        if settled || start.elapsed() > PATIENCE {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let closed = books.close(&sent);
    let refused = tries.refused.load(Ordering::Relaxed);
    say(format_args!(
        "{}: sent {} in {} requests ({refused} answered 503, {} without an answer), kills {}, dead letters \
         sent again {retried}; acknowledged {}, arrived {}, duplicates {}, lost {}",
        plan.name,
        plan.events,
        tries.requests.load(Ordering::Relaxed),
        tries.broken.load(Ordering::Relaxed),
        plan.kills,
        sent.len(),
        closed.arrived,
        closed.duplicates,
        closed.lost,
    ));
    assert_eq!((closed.lost, closed.wrong), (0, 0));
    assert_eq!(sent.len(), plan.events);
    assert_eq!(closed.arrived as usize - closed.duplicates, plan.events);
    assert_eq!(binary.terminate().await, Some(0));
    refused
}

fn configuration(plan: Plan, relay: &Relay, spool: &PathBuf) -> String {
    yaml(&relay.url())
        .replace("\"off\"", &format!("{{path: {spool:?}}}"))
        .replace("timeout: 5s", &format!("timeout: 1s, mode: {}", plan.mode))
}

/// Kills the proxy at random moments and starts it again.
async fn kill(binary: &mut Binary, plan: Plan, spool: &Path, disk: &dyn Disk, mut dice: Dice) {
    let mean = plan.span.as_millis() as u64 / (plan.kills as u64 + 1);
    for _ in 0..plan.kills {
        let pause = dice.between(mean / 3, mean * 5 / 3);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        binary.kill();
        disk.while_it_is_down(spool, &mut dice);
        binary.start().await;
    }
}

/// Puts PostHog and the line to it through every kind of trouble, in random order, until the
/// clients are done.
pub async fn trouble(
    posthog: &PostHog,
    relay: &Relay,
    plan: Plan,
    mut dice: Dice,
    done: &AtomicBool,
) {
    let troubles = troubles();
    // Each kind happens at least twice.
    let longest = (plan.span.as_millis() as u64 / troubles.len() as u64).clamp(400, 4_000);
    let is_done = || done.load(Ordering::Relaxed);
    while !is_done() {
        for one in dice.shuffled(troubles.len()) {
            let (line, fault) = &troubles[one];
            posthog.capture.set_fault(fault.clone());
            relay.set(*line);
            let start = Instant::now();
            let pause = Duration::from_millis(dice.between(longest / 10, longest));
            while start.elapsed() < pause && !is_done() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    posthog.capture.set_fault(InjectedFault::None);
    relay.set(Line::Passes);
}

/// Makes the disk fail and work again, repeatedly.
async fn spoil(disk: &dyn Disk, plan: Plan, mut dice: Dice, done: &AtomicBool) {
    let longest = plan.span.as_millis() as u64 / 6;
    while !done.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(dice.between(100, longest))).await;
        disk.turn_bad();
        tokio::time::sleep(Duration::from_millis(dice.between(100, longest))).await;
        disk.turn_good();
    }
    disk.turn_good();
}
