//! Detects that the system clock was set, and logs it. Waiting events do not grow older because of it.

use std::time::{Duration, Instant, SystemTime};

use crate::store::Clock;

/// The largest difference between the two clocks, from one check to the next, that is not a jump: a clock
/// that is corrected slowly differs by less.
const TOLERANCE: Duration = Duration::from_secs(10);

/// Compares the time of day with the time that has passed on the monotonic clock.
pub(crate) struct ClockWatch {
    clock: Clock,
    /// The time of both clocks at the last check.
    last_check: (SystemTime, Instant),
}

/// The direction in which the time of day was set, and by how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClockJump {
    Forward(Duration),
    Back(Duration),
}

impl ClockWatch {
    pub(crate) fn new(clock: Clock) -> Self {
        let last_check = (clock(), Instant::now());
        Self { clock, last_check }
    }

    /// Reads the time of day, and logs a warning if it was set since the last check.
    pub(crate) fn look(&mut self) {
        let (seconds, direction) = match self.look_at((self.clock)(), Instant::now()) {
            None => return,
            Some(ClockJump::Forward(by)) => (by.as_secs(), "forward"),
            Some(ClockJump::Back(by)) => (by.as_secs(), "back"),
        };
        log::warn!(
            "the system clock was set {direction} by {seconds} s; waiting events age by elapsed time, so none is dropped because of it"
        );
    }

    fn look_at(&mut self, now: SystemTime, at: Instant) -> Option<ClockJump> {
        let (before, since) = std::mem::replace(&mut self.last_check, (now, at));
        let expected = before + at.saturating_duration_since(since);
        match now.duration_since(expected) {
            Ok(ahead) if ahead > TOLERANCE => Some(ClockJump::Forward(ahead)),
            Err(behind) if behind.duration() > TOLERANCE => {
                Some(ClockJump::Back(behind.duration()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::UNIX_EPOCH;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_clock_that_is_set_is_noticed_once() {
        let wall = UNIX_EPOCH + 20_000 * DAY;
        let mut watch = ClockWatch::new(Arc::new(move || wall));
        let (_, start) = watch.last_check;
        let second = Duration::from_secs(1);
        assert_eq!(watch.look_at(wall + second, start + second), None);
        let set = wall + 30 * DAY;
        assert_eq!(
            watch.look_at(set, start + 2 * second),
            Some(ClockJump::Forward(30 * DAY - 2 * second))
        );
        // Each jump is reported once.
        assert_eq!(watch.look_at(set + second, start + 3 * second), None);
        assert_eq!(
            watch.look_at(wall, start + 3 * second),
            Some(ClockJump::Back(30 * DAY + second))
        );
        // A clock that is corrected slowly does not jump.
        let slow = wall + second + Duration::from_secs(5);
        assert_eq!(watch.look_at(slow, start + 4 * second), None);
    }
}
