//! A rate limit, so that a recovery does not slow the live traffic down.

use std::time::{Duration, Instant};

/// A bucket of events that fills with time. A batch larger than the bucket passes when the bucket
/// is full, and is paid for afterwards.
#[derive(Debug)]
pub(super) struct RateLimit {
    per_second: f64,
    left: f64,
    at: Instant,
}

impl RateLimit {
    /// This many events a second, and as many at once.
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
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.left = (self.left + passed * self.per_second).min(self.per_second);
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
            // One bucket at the start and one batch at the end are free.
            let slack = (100.0 + 2.0 * batch as f64) / 100.0 + 0.1;
            assert!(
                (expected - slack..=expected + slack).contains(&seconds),
                "{batch}: {seconds}"
            );
        }
    }
}
