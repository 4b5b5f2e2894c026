//! Limits the rate of a recovery, so that it does not slow down the live traffic.

use std::time::{Duration, Instant};

/// A token bucket with one token per event. A batch passes as soon as the bucket is not below zero, and
/// may take more tokens than there are. Later batches wait until the bucket has refilled.
#[derive(Debug)]
pub(super) struct RateLimit {
    per_second: f64,
    left: f64,
    at: Instant,
}

impl RateLimit {
    /// Allows this many events per second. A full bucket holds the events of one second.
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self {
            per_second,
            left: per_second,
            at: now,
        }
    }

    /// Takes this number of events, and returns how long to wait before they are sent.
    pub(super) fn take(&mut self, events: usize, now: Instant) -> Duration {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.left = (self.left + elapsed * self.per_second).min(self.per_second);
        let owed = -self.left;
        self.left -= events as f64;
        Duration::try_from_secs_f64(owed.max(0.0) / self.per_second).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_over_time_whatever_the_batches() {
        let start = Instant::now();
        for batch in [1, 30, 250] {
            let mut rate_limit = RateLimit::new(100, start);
            let (mut now, mut sent) = (start, 0);
            while sent < 10_000 {
                now += rate_limit.take(batch, now);
                sent += batch;
            }
            let seconds = (now - start).as_secs_f64();
            let expected = 10_000.0 / 100.0;
            // One bucket at the start and one batch at the end need no wait.
            let slack = (100.0 + 2.0 * batch as f64) / 100.0 + 0.1;
            assert!(
                (expected - slack..=expected + slack).contains(&seconds),
                "{batch}: {seconds}"
            );
        }
    }
}
