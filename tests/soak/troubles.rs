//! What fails around the proxies, each with its own timing: the disk, NATS, DNS, the clock.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::time::Duration;

use chrono::TimeDelta;

use super::dice::Dice;
use super::dns::{AnswerMode, Resolver, TROUBLES};
use super::server::Server;
use super::support::disk::SmallDisk;
use super::support::faketime;

async fn pause(dice: &mut Dice, from: u64, to: u64) {
    tokio::time::sleep(Duration::from_millis(dice.between(from, to))).await;
}

/// Another process fills the disk from time to time; returns how often.
pub async fn fill(disk: Option<&SmallDisk>, mut dice: Dice, done: &AtomicBool) -> usize {
    use std::io::Write;
    let Some(disk) = disk else { return 0 };
    let (other, mut times) = (disk.at.join("other"), 0);
    while !done.load(Ordering::Relaxed) {
        pause(&mut dice, 1_500, 6_000).await;
        let mut file = std::fs::File::create(&other).expect("the disk is ours");
        while file.write_all(&[0; 4_096]).is_ok() {}
        times += 1;
        pause(&mut dice, 200, 1_000).await;
        std::fs::remove_file(&other).expect("the disk is ours");
    }
    times
}

/// The NATS server is killed or hangs; returns how often.
pub async fn upset(server: Option<&mut Server>, mut dice: Dice, done: &AtomicBool) -> usize {
    let Some(server) = server else { return 0 };
    let mut times = 0;
    while !done.load(Ordering::Relaxed) {
        pause(&mut dice, 2_000, 6_000).await;
        times += 1;
        if dice.below(2) == 0 {
            server.kill();
            pause(&mut dice, 100, 2_500).await;
            server.start();
        } else {
            server.signal("-STOP");
            pause(&mut dice, 100, 2_500).await;
            server.signal("-CONT");
        }
    }
    times
}

/// The DNS server is silent, broken or gives wrong answers; returns how often.
pub async fn mislead(resolver: Option<&Resolver>, mut dice: Dice, done: &AtomicBool) -> usize {
    let Some(resolver) = resolver else { return 0 };
    let mut times = 0;
    while !done.load(Ordering::Relaxed) {
        pause(&mut dice, 1_000, 5_000).await;
        times += 1;
        resolver.now(TROUBLES[dice.below(TROUBLES.len() as u64) as usize]);
        pause(&mut dice, 200, 3_000).await;
        resolver.now(AnswerMode::Well);
    }
    times
}

/// The clock as the proxies see it.
pub struct TimeOfDay {
    library: PathBuf,
    file: PathBuf,
    shifts: Mutex<Vec<TimeDelta>>,
}

/// How far it is off, in seconds: slow, fast, summer time, days, longer than anything is stored.
const SHIFTS: [i64; 6] = [-7_200, -30, 5, 3_600, 259_200, 31_536_000];

impl TimeOfDay {
    /// The correct clock; `None` if Debian's libfaketime is not installed.
    pub fn right(folder: &Path) -> Option<Self> {
        let time = Self {
            library: faketime::library()?,
            file: folder.join("time"),
            shifts: Mutex::default(),
        };
        time.set(0);
        Some(time)
    }

    /// The environment that gives a process this clock.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }

    fn set(&self, seconds: i64) {
        self.shifts
            .lock()
            .expect("no thread panics with it")
            .push(TimeDelta::seconds(seconds));
        // By a rename, because a half-written number would be another time.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}")).expect("the folder is ours");
        std::fs::rename(new, &self.file).expect("the folder is ours");
    }

    /// The largest deviation so far.
    pub fn shifts(&self) -> Vec<TimeDelta> {
        self.shifts
            .lock()
            .expect("no thread panics with it")
            .clone()
    }
}

/// The clock is set and corrected again; returns how often.
pub async fn jump(time: Option<&TimeOfDay>, mut dice: Dice, done: &AtomicBool) -> usize {
    let Some(time) = time else { return 0 };
    let mut times = 0;
    while !done.load(Ordering::Relaxed) {
        pause(&mut dice, 2_000, 6_000).await;
        times += 1;
        time.set(SHIFTS[dice.below(SHIFTS.len() as u64) as usize]);
        pause(&mut dice, 1_000, 6_000).await;
        time.set(0);
    }
    times
}
