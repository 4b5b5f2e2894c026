//! A measured process: its CPU time with its children's, and its end.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// The CPU time of a process so far.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    /// User and system time of all processes (proc(5), fields 14 and 15), exact to 10 ms.
    ticks: Duration,
    /// The same by the scheduler's clock, for the living threads, exact to the nanosecond.
    scheduled: Duration,
}

impl Cpu {
    /// The CPU time since an earlier moment.
    pub fn since(self, earlier: Self) -> Duration {
        let ticks = self.ticks.saturating_sub(earlier.ticks);
        let scheduled = self.scheduled.saturating_sub(earlier.scheduled);
        // If a thread has ended meanwhile, or the kernel does not count it, the ticks are used.
        let apart = ticks.abs_diff(scheduled);
        if apart <= Duration::from_millis(30) + ticks / 20 {
            scheduled
        } else {
            ticks
        }
    }
}

/// A process that this process has started, and its children.
#[derive(Debug)]
pub struct Process {
    pub name: &'static str,
    pub address: SocketAddr,
    child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        // The main process of nginx ends its workers; a kill would leave them running.
        let _ = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(3) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts the process and waits until it listens.
    pub fn start(
        name: &'static str,
        address: SocketAddr,
        command: &mut Command,
    ) -> Result<Self, String> {
        let child = command.spawn().map_err(|error| error.to_string())?;
        let mut process = Self {
            name,
            address,
            child,
        };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = process.child.try_wait().unwrap() {
                return Err(format!("it has ended at once: {status}"));
            }
            if begun.elapsed() > Duration::from_secs(20) {
                return Err("it does not listen".to_owned());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(process)
    }

    pub fn cpu(&self) -> Cpu {
        let mut ticks = 0;
        let mut scheduled = 0;
        // nginx listens before it has its workers, so they are searched each time.
        for process in family(self.child.id()) {
            let fields = stat(process).unwrap_or_else(|| panic!("{} has ended", self.name));
            ticks += fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
            let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
            for thread in threads.flatten() {
                let account = fs::read_to_string(thread.path().join("schedstat"));
                let account = account.unwrap_or_default();
                let used = account.split(' ').next().unwrap_or_default();
                scheduled += used.parse::<u64>().unwrap_or_default();
            }
        }
        Cpu {
            // USER_HZ is 100 on every Linux system that Rust supports.
            ticks: Duration::from_millis(ticks * 10),
            scheduled: Duration::from_nanos(scheduled),
        }
    }
}

/// The fields after the name of a process: its state, its parent and so on.
fn stat(process: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, behind) = stat.rsplit_once(')')?;
    Some(behind.split_whitespace().map(str::to_owned).collect())
}

/// A process and all its descendants.
fn family(first: u32) -> Vec<u32> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(number) = number {
            if let Some(fields) = stat(number) {
                all.push((number, fields[1].parse::<u32>().unwrap()));
            }
        }
    }
    let mut family = vec![first];
    let mut at = 0;
    while at < family.len() {
        let parent = family[at];
        family.extend(
            all.iter()
                .filter(|(_, of)| *of == parent)
                .map(|(one, _)| *one),
        );
        at += 1;
    }
    family
}

/// A local address on which nothing listens.
pub fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}
