//! Logs that the server behind a route answers again, if its failure was logged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The trouble of one route with the server behind it.
#[derive(Debug, Default)]
pub(super) struct RouteHealth {
    /// Requests that it did not answer since the trouble began; zero when there is none.
    failed: AtomicU64,
    since: Mutex<Option<Instant>>,
}

/// The end of a trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RouteRecovered {
    pub(super) after: Duration,
    pub(super) failed: u64,
}

impl RouteHealth {
    /// A request was not answered as it should be.
    pub(super) fn failed(&self, now: Instant) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.get_or_insert(now);
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was answered; whether that ends a trouble.
    pub(super) fn answered(&self, now: Instant) -> Option<RouteRecovered> {
        // All that a good answer costs.
        if self.failed.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let began = since.take()?;
        Some(RouteRecovered {
            after: now.saturating_duration_since(began),
            failed: self.failed.swap(0, Ordering::Relaxed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_failure_is_reported_once_with_its_length_and_cost() {
        let route_health = RouteHealth::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(route_health.answered(at(0)), None);
        route_health.failed(at(1));
        route_health.failed(at(5));
        let (after, failed) = (Duration::from_secs(9), 2);
        assert_eq!(
            route_health.answered(at(10)),
            Some(RouteRecovered { after, failed })
        );
        assert_eq!(route_health.answered(at(11)), None);
    }
}
