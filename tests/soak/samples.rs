//! Measures a process again and again.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    memory: u64,
    descriptors: u64,
    threads: u64,
    tasks: u64,
}

/// All measurements of one run's processes; the last process lives longest.
#[derive(Default)]
pub struct Samples {
    of: BTreeMap<u32, Vec<Sample>>,
    last: u32,
}

impl Samples {
    /// Measures this process, unless it has just ended.
    pub fn take(&mut self, process: u32, admin: SocketAddr) {
        if let Some(sample) = look(process, admin) {
            self.of.entry(process).or_default().push(sample);
            self.last = process;
        }
    }

    /// The maximum of each value in the third and in the last quarter of the last process's life.
    fn late(&self) -> (Sample, Sample) {
        let all = &self.of[&self.last];
        let (early, late) = all.split_at(all.len() / 2).1.split_at(all.len() / 4);
        (most(early), most(late))
    }

    pub fn say(&self) -> String {
        let (before, after) = self.late();
        format!(
            "at most {} kB, {} descriptors, {} threads, {} tasks in the third quarter of the last process, {} kB, \
             {}, {}, {} in the fourth",
            before.memory,
            before.descriptors,
            before.threads,
            before.tasks,
            after.memory,
            after.descriptors,
            after.threads,
            after.tasks
        )
    }

    /// Nothing grows, apart from an allowance for bursts.
    pub fn judge(&self) {
        let (before, after) = self.late();
        let said = self.say();
        assert!(after.memory < before.memory * 5 / 4 + 48 * 1024, "{said}");
        assert!(
            after.descriptors < before.descriptors * 3 / 2 + 100,
            "{said}"
        );
        // Lookups and reloads use threads of their own for a moment.
        assert!(after.threads <= before.threads + 8, "{said}");
        assert!(before.tasks > 0, "{said}");
        assert!(after.tasks < before.tasks * 3 / 2 + 100, "{said}");
    }
}

fn most(samples: &[Sample]) -> Sample {
    let most = |of: fn(&Sample) -> u64| samples.iter().map(of).max().unwrap_or_default();
    Sample {
        memory: most(|sample| sample.memory),
        descriptors: most(|sample| sample.descriptors),
        threads: most(|sample| sample.threads),
        tasks: most(|sample| sample.tasks),
    }
}

fn look(process: u32, admin: SocketAddr) -> Option<Sample> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).ok()?;
    Some(Sample {
        memory: number("VmRSS:")?,
        descriptors: descriptors.count() as u64,
        threads: number("Threads:")?,
        tasks: tasks(admin)?,
    })
}

/// The number of tasks that the process reports.
fn tasks(admin: SocketAddr) -> Option<u64> {
    // A run without measurements fails, also on a busy machine.
    let patience = Duration::from_secs(30);
    let mut stream = TcpStream::connect_timeout(&admin, patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    let mut lines = said.lines();
    lines.find_map(|line| line.strip_prefix("hedgerow_tasks ")?.parse().ok())
}
