//! Decides when to send to PostHog again: back-off with jitter, Retry-After, and a breaker with probes.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The settings of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// The number of failures in a row after which only probes are sent.
    pub threshold: u32,
    /// The wait after the first failure. It doubles with each further failure.
    pub first_wait: Duration,
    /// The longest wait that the doubling reaches.
    pub longest_wait: Duration,
    /// The longest `Retry-After` that is obeyed. A longer one counts as this long.
    pub longest_retry_after: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            threshold: 3,
            first_wait: Duration::from_millis(250),
            longest_wait: Duration::from_secs(60),
            longest_retry_after: Duration::from_secs(900),
        }
    }
}

/// The breaker of one project.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    state: Mutex<BreakerRecord>,
}

#[derive(Debug, Default)]
struct BreakerRecord {
    failures: u32,
    not_before: Option<Instant>,
}

/// The answer of a breaker: what the caller may send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Any batch.
    Go,
    /// One small request, to check whether PostHog is back. The caller that gets this value sends it,
    /// and the others wait meanwhile.
    Probe,
    /// Nothing until this time has passed.
    Wait(Duration),
}

/// The breaker as an operator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Every batch may be sent, after the wait that follows a failure.
    Closed,
    /// Only a probe is sent from time to time.
    Open,
}

/// How long a probe whose outcome is never reported (its request was dropped) prevents other requests.
const PROBE: Duration = Duration::from_secs(30);

impl Breaker {
    /// Creates a closed breaker.
    pub fn new(settings: BreakerSettings) -> Self {
        Self {
            settings,
            state: Mutex::default(),
        }
    }

    /// Returns what may be sent now. After [`Admission::Go`] or [`Admission::Probe`] the caller has to
    /// report the outcome with [`accepted`](Self::accepted) or [`failed`](Self::failed).
    pub fn admit(&self, now: Instant) -> Admission {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wait) = state
            .not_before
            .map(|not_before| not_before.saturating_duration_since(now))
            .filter(|wait| !wait.is_zero())
        {
            return Admission::Wait(wait);
        }
        if state.failures < self.settings.threshold {
            return Admission::Go;
        }
        state.not_before = Some(now + PROBE);
        Admission::Probe
    }

    /// Records that PostHog accepted a batch, or rejected it because of its content. In both cases PostHog
    /// is reachable, so the breaker closes.
    pub fn accepted(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = BreakerRecord::default();
    }

    /// Records that PostHog could not be reached, or requested a retry later. `jitter` is a random number
    /// from 0 to 255. It shortens the wait by up to half, so that the proxies do not all retry at once.
    pub fn failed(&self, now: Instant, retry_after: Option<Duration>, jitter: u8) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let full = self
            .settings
            .first_wait
            .saturating_mul(1 << state.failures.min(20))
            .min(self.settings.longest_wait);
        let backoff = full - full / 2 * u32::from(jitter) / 255;
        // Retry-After is the shortest wait that PostHog accepts, so jitter does not shorten it.
        let requested_wait = retry_after.map_or(Duration::ZERO, |requested_wait| {
            requested_wait.min(self.settings.longest_retry_after)
        });
        state.failures = state.failures.saturating_add(1);
        state.not_before = Some(now + backoff.max(requested_wait));
    }

    /// Opens the breaker at once, even if it has counted fewer failures than the threshold.
    pub fn trip(&self, now: Instant, jitter: u8) {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.failures = state.failures.max(self.settings.threshold);
        }
        self.failed(now, None, jitter);
    }

    /// Returns whether the breaker is open or closed.
    pub fn condition(&self) -> BreakerState {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failures < self.settings.threshold {
            BreakerState::Closed
        } else {
            BreakerState::Open
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(BreakerSettings {
            threshold: 3,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(10),
            longest_retry_after: Duration::from_secs(100),
        })
    }

    fn wait(breaker: &Breaker, now: Instant) -> Duration {
        match breaker.admit(now) {
            Admission::Wait(wait) => wait,
            other => panic!("expected a wait, got {other:?}"),
        }
    }

    #[test]
    fn the_wait_doubles_up_to_its_limit_and_jitter_halves_it_at_most() {
        let now = Instant::now();
        let (slow, quick) = (breaker(), breaker());
        for expected in [1, 2, 4, 8, 10, 10] {
            slow.failed(now, None, 0);
            quick.failed(now, None, 255);
            assert_eq!(wait(&slow, now), Duration::from_secs(expected));
            assert_eq!(wait(&quick, now), Duration::from_secs(expected) / 2);
        }
    }

    #[test]
    fn retry_after_is_the_least_wait_up_to_a_limit() {
        let now = Instant::now();
        for (retry_after, expected) in [(0, 1), (7, 7), (1_000, 100)] {
            let breaker = breaker();
            breaker.failed(now, Some(Duration::from_secs(retry_after)), 0);
            assert_eq!(
                wait(&breaker, now),
                Duration::from_secs(expected),
                "{retry_after}"
            );
        }
    }

    #[test]
    fn an_open_breaker_lets_one_probe_through_at_a_time_and_closes_on_success() {
        let breaker = breaker();
        let mut now = Instant::now();
        for _ in 0..3 {
            assert_eq!(breaker.admit(now), Admission::Go);
            breaker.failed(now, None, 0);
            now += Duration::from_secs(10);
        }
        assert_eq!(breaker.condition(), BreakerState::Open);
        assert_eq!(breaker.admit(now), Admission::Probe);
        assert_eq!(wait(&breaker, now), PROBE);
        assert_eq!(breaker.admit(now + PROBE), Admission::Probe, "it was lost");
        breaker.accepted();
        assert_eq!(breaker.condition(), BreakerState::Closed);
        assert_eq!(breaker.admit(now), Admission::Go);
    }

    #[test]
    fn a_tripped_breaker_is_open() {
        let breaker = breaker();
        breaker.trip(Instant::now(), 0);
        assert_eq!(breaker.condition(), BreakerState::Open);
    }
}
