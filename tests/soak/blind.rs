//! The times in which a process serves without knowing what waits in NATS, as its log says. New events
//! overtake in them what waits there; docs/delivery.md says why.

use std::io::{BufRead, BufReader, Write};
use std::process::ChildStderr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The line with which it begins, and the one that ends it.
const BEGINS: &str = "the distributed spool did not report its waiting events within";
const ENDS: &str = "the distributed spool has reported its waiting events";

/// How long a line may be on its way from the process to here.
const DELAY: Duration = Duration::from_secs(2);

/// From when to when.
pub type Span = (Instant, Instant);

#[derive(Default)]
pub struct BlindTimes(Mutex<Vec<(Instant, Option<Instant>)>>);

impl BlindTimes {
    /// Reads what a process says on a thread of its own, and hands it on, until the process ends.
    pub fn read(self: &Arc<Self>, said: ChildStderr) {
        let times = Arc::clone(self);
        std::thread::spawn(move || {
            let mut said = BufReader::new(said);
            let (mut line, mut open) = (Vec::new(), None);
            while said
                .read_until(b'\n', &mut line)
                .is_ok_and(|length| length > 0)
            {
                let text = String::from_utf8_lossy(&line);
                if text.contains(BEGINS) {
                    open = Some(times.begin());
                } else if text.contains(ENDS) {
                    times.end(open.take());
                }
                let _ = std::io::stderr().write_all(&line);
                line.clear();
            }
            times.end(open);
        });
    }

    fn begin(&self) -> usize {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        times.push((now.checked_sub(DELAY).unwrap_or(now), None));
        times.len() - 1
    }

    fn end(&self, open: Option<usize>) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, end)) = open.and_then(|open| times.get_mut(open)) {
            *end = Some(Instant::now());
        }
    }

    /// All of them until now.
    pub fn all(&self) -> Vec<Span> {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let times = times.iter();
        times
            .map(|(begin, end)| (*begin, end.unwrap_or_else(Instant::now)))
            .collect()
    }
}
