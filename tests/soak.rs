//! Everything at once, for as long as is asked: fifty clients, PostHog in all its troubles, `kill -9`,
//! hand-overs, reloads, certificates that are swapped, a disk that is full at times, and hostile
//! connections. What was acknowledged is there in the end; memory, descriptors and threads stay flat.
//!
//! `HEDGEROW_SOAK_SECONDS` is how long the clients send (30), `HEDGEROW_SOAK_RATE` how many events a second
//! (300), `HEDGEROW_LEDGER_SEED` repeats the choices. `make soak` is an hour of it.
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
#[path = "ledger/books.rs"]
mod books;
#[path = "ledger/crowd.rs"]
mod crowd;
#[path = "ledger/dice.rs"]
mod dice;
#[path = "soak/hostile.rs"]
mod hostile;
#[path = "leaving/process.rs"]
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
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use books::Books;
use crowd::Crowd;
use dice::Dice;
use hedgerow::demo::capture::StoreCapacity;
use process::Process;
use relay::Relay;
use run::{Plan, PATIENCE};
use samples::Samples;
use support::disk::SmallDisk;
use support::proxy::PostHog;
use support::recorder::{refused_port, response, Act, Recorder};
use support::say;
use support::tls::Certificates;

const CLIENTS: usize = 50;

fn asked(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}

/// The doors beside the plain one, and what the configuration says besides.
struct World {
    h2c: SocketAddr,
    secure: SocketAddr,
    folder: tempfile::TempDir,
    rest: String,
}

impl World {
    fn listen(&self) -> String {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        format!(
            "[{{address}}, {{address: \"{}\", h2c: on}}, {{address: \"{}\", tls: {{certificate: \"{}\", key: \"{}\"}}}}]",
            self.h2c,
            self.secure,
            at("certificate.pem"),
            at("key.pem"),
        )
    }

    /// Another certificate instead of the one that is there.
    fn certify(&self) {
        let made = Certificates::new(&["localhost"]);
        for name in ["certificate.pem", "key.pem"] {
            let new = self.folder.path().join("new");
            std::fs::copy(made.file(name), &new).expect("the folder is ours");
            std::fs::rename(&new, self.folder.path().join(name)).expect("the folder is ours");
        }
    }

    /// The configuration with another bound, which a reload brings into force.
    fn configure(&self, process: &Process, round: usize) {
        let new = self.folder.path().join("new.yaml");
        let rest = format!("{}limits: {{event: {}kB}}\n", self.rest, 900 + round % 100);
        process::write(
            &new,
            process.address,
            &process.socket,
            &self.listen(),
            &rest,
        );
        std::fs::rename(new, &process.file).expect("the folder is ours");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_all_troubles_at_once_nothing_acknowledged_is_lost_and_nothing_grows() {
    let span = Duration::from_secs(asked("HEDGEROW_SOAK_SECONDS", 30));
    let events = (span.as_secs() * asked("HEDGEROW_SOAK_RATE", 300)) as usize / CLIENTS * CLIENTS;
    let seed = asked(
        "HEDGEROW_LEDGER_SEED",
        chrono::Utc::now().timestamp_micros() as u64,
    );
    println!("HEDGEROW_LEDGER_SEED={seed}");
    let mut dice = Dice::new(seed);
    let plan = Plan {
        name: "soak",
        events,
        span,
        kills: 2.max(span.as_secs() as usize / 120),
        mode: "stream",
    };
    let posthog = PostHog::with(StoreCapacity {
        events: 4_000_000,
        bytes: usize::MAX,
    })
    .await;
    let relay = Relay::start(posthog.address).await;
    let site = Recorder::early(|_| Some(Act::AnswerAndClose(response("200 OK", "", "page")))).await;
    // What a longer run lets wait while PostHog is in trouble has to fit.
    let disk = SmallDisk::mount(match span > Duration::from_secs(60) {
        true => "1g",
        false => "96m",
    });
    let folder = tempfile::tempdir().unwrap();
    let spool = disk
        .as_ref()
        .map_or(folder.path(), |disk| &disk.at)
        .join("spool");
    // A name, so that lookups are a part of it.
    let named = relay.url().replace("127.0.0.1", "localhost");
    let world = World {
        h2c: refused_port().await,
        secure: refused_port().await,
        rest: format!(
            "projects:\n  shop: {{host: \"{named}\", api_key: phc_test}}\n\
             routes:\n  - path: /hr/\n    segment: {{project: shop, write_keys: any}}\n  \
             - {{path: /ph/, posthog: shop}}\n  - {{path: /, origin: \"{}\"}}\n\
             delivery: {{connect_timeout: 1s, timeout: 1s, spool: {{path: \"{}\"}}}}\n",
            site.url(),
            spool.display(),
        ),
        folder,
    };
    world.certify();
    let at = world.folder.path();
    let mut process = Process::start(at, &world.listen(), &world.rest).await;
    let (address, file) = (process.address, process.file.clone());
    let crowd = Crowd::start(CLIENTS, events, span, address, &mut dice);
    let (id, done) = (AtomicU32::new(process.id()), AtomicBool::new(false));
    let (mut books, mut samples) = (Books::default(), Samples::default());
    let (troubling, turning, filling) = (dice.split(1), dice.split(2), dice.split(3));
    let doors = [address, world.h2c, world.secure];
    let counts = tokio::join!(
        async {
            let counts = turn(&mut process, &world, plan, turning, &id).await;
            while !crowd.finished() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            done.store(true, Ordering::Relaxed);
            counts
        },
        run::trouble(&posthog, &relay, plan, troubling, &done),
        hostile::press(doors, dice.split(4), &done),
        fill(disk.as_ref(), filling, &done),
        async {
            while !done.load(Ordering::Relaxed) {
                books.read(&posthog.capture);
                samples.take(id.load(Ordering::Relaxed));
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    );
    let (turns, pressed) = (counts.0, counts.2);
    let tries = std::sync::Arc::clone(&crowd.tries);
    let sent = crowd.acknowledged().await;
    settle(&file, &mut books, &posthog, sent.len()).await;
    let closed = books.close(&sent);
    say(format_args!(
        "soak of {} s: acknowledged {}, arrived {}, duplicates {}, lost {}; {} requests, {} told 503, {} broken \
         off; {turns}; {pressed} hostile connections; {}",
        span.as_secs(),
        sent.len(),
        closed.arrived,
        closed.duplicates,
        closed.lost,
        tries.requests.load(Ordering::Relaxed),
        tries.refused.load(Ordering::Relaxed),
        tries.broken.load(Ordering::Relaxed),
        samples.say(),
    ));
    assert_eq!((closed.lost, closed.wrong), (0, 0));
    assert_eq!(sent.len(), events);
    samples.judge();
    process.signal("-TERM");
    assert_eq!(process.end().await, Some(0));
}

/// In the first half the process is killed and succeeded; in the second it stays, so that its memory
/// can be watched. Reloads and certificates come all the time.
async fn turn(
    process: &mut Process,
    world: &World,
    plan: Plan,
    mut dice: Dice,
    id: &AtomicU32,
) -> String {
    let (start, mut round, mut kills, mut hand_overs) = (Instant::now(), 0, 0, 0);
    let pause = (plan.span / 2).as_millis() as u64 / (2 * plan.kills as u64 + 1);
    let mut next = Duration::from_millis(pause);
    while start.elapsed() < plan.span {
        tokio::time::sleep(Duration::from_millis(dice.between(700, 1_500))).await;
        round += 1;
        world.configure(process, round);
        if round % 3 == 0 {
            world.certify();
        }
        if start.elapsed() >= next && start.elapsed() < plan.span / 2 {
            next += Duration::from_millis(pause);
            if kills <= hand_overs {
                kills += 1;
                process.signal("-KILL");
                process.end().await;
                process.start_again().await;
            } else {
                hand_overs += 1;
                process.hand_over().await;
            }
            id.store(process.id(), Ordering::Relaxed);
        }
    }
    format!("{kills} kills, {hand_overs} hand-overs, {round} configurations")
}

/// Another process takes the whole disk from time to time.
async fn fill(disk: Option<&SmallDisk>, mut dice: Dice, done: &AtomicBool) {
    use std::io::Write;
    let Some(disk) = disk else { return };
    let other = disk.at.join("other");
    while !done.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(dice.between(1_500, 6_000))).await;
        let mut file = std::fs::File::create(&other).expect("the disk is ours");
        while file.write_all(&[0; 4_096]).is_ok() {}
        tokio::time::sleep(Duration::from_millis(dice.between(200, 1_000))).await;
        std::fs::remove_file(&other).expect("the disk is ours");
    }
}

/// Waits until all is at PostHog; what it refused while it was in trouble goes again.
async fn settle(file: &Path, books: &mut Books, posthog: &PostHog, sent: usize) {
    let start = Instant::now();
    loop {
        let (listed, _) = binary::spool(file, &["ls"]);
        if listed.lines().any(|line| line.starts_with("dead")) {
            binary::spool(file, &["retry", "--all"]);
        }
        books.read(&posthog.capture);
        let settled = books.events() >= sent && listed.contains("the spool is empty");
        if settled || start.elapsed() > PATIENCE {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
