//! The spool's own time, by which it measures the age of its events.
//!
//! The time of day can be set; events that were acknowledged a moment ago would then be a year old.
//! So the age of an event counts only the time during which a process had the spool open. The thread
//! writes the spool's time to the file at intervals. While no process runs, no event grows older.

use std::time::{Duration, Instant, SystemTime};

use crate::clock_watch::ClockWatch;
use crate::store::Clock;

/// The spool's own time. It starts at the time of day when the file is created. After that, a change of
/// the time of day does not affect it.
pub(super) struct SpoolClock {
    watch: ClockWatch,
    /// The spool's time, and the instant at which it had this value.
    base: (SystemTime, Instant),
    /// Whether the time stored in the file has been read.
    memory: WakeMemory,
    /// When the time was last written to the file.
    remembered: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WakeMemory {
    NotAsked,
    Asked,
}

impl SpoolClock {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            base: (clock(), Instant::now()),
            watch: ClockWatch::new(clock),
            memory: WakeMemory::NotAsked,
            remembered: None,
        }
    }

    pub(super) fn now(&self) -> SystemTime {
        self.at(Instant::now())
    }

    fn at(&self, at: Instant) -> SystemTime {
        let (time, since) = self.base;
        time + at.saturating_duration_since(since)
    }

    /// Continues from the time that the file stores. Without a stored time, the clock keeps its value: at
    /// the start, the time of day.
    pub(super) fn resume(&mut self, remembered: Option<SystemTime>) {
        let at = Instant::now();
        let time = match (self.memory, remembered) {
            (_, None) => self.at(at),
            (WakeMemory::NotAsked, Some(time)) => time,
            // The time never goes back, but another process may have stored a later one.
            (WakeMemory::Asked, Some(time)) => time.max(self.at(at)),
        };
        self.memory = WakeMemory::Asked;
        self.base = (time, at);
    }

    /// Checks the time of day, and logs if it was set.
    pub(super) fn look(&mut self) {
        self.watch.look();
    }

    /// Returns whether the time must be written to the file again. The interval is a hundredth of
    /// `max_age`, but from a second to an hour, so a crash loses only a small part of `max_age`.
    pub(super) fn is_due(&self, max_age: Duration) -> bool {
        let every = (max_age / 100).clamp(Duration::from_secs(1), Duration::from_secs(3600));
        self.remembered.is_none_or(|at| at.elapsed() >= every)
    }

    pub(super) fn remembered(&mut self) {
        self.remembered = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use std::time::UNIX_EPOCH;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn the_clock_continues_from_the_file_at_any_time_of_day() {
        let (wall, left) = (UNIX_EPOCH + 20_000 * DAY, UNIX_EPOCH + 19_000 * DAY);
        let mut clock = SpoolClock::new(Arc::new(move || wall));
        clock.resume(Some(left));
        let now = clock.now();
        assert!(now >= left && now < left + DAY);
        // The clock never goes back when it resumes again.
        clock.resume(Some(left - DAY));
        assert!(clock.now() >= now);
        clock.resume(Some(left + DAY));
        assert!(clock.now() >= left + DAY);
        let mut fresh = SpoolClock::new(Arc::new(move || wall));
        fresh.resume(None);
        assert!(fresh.now() >= wall);
    }
}
