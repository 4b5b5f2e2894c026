//! Records the failures of a route's server, so that its recovery can be logged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The failures of one route's server since it last answered.
#[derive(Debug, Default)]
pub(super) struct RouteHealth {
    /// The requests that have failed since the server last answered.
    failed: AtomicU64,
    since: Mutex<Option<Instant>>,
}

/// The recovery of a route's server: the time since the first failure, and the failed requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RouteRecovered {
    pub(super) after: Duration,
    pub(super) failed: u64,
}

impl RouteHealth {
    /// Records a failed request.
    pub(super) fn failed(&self, now: Instant) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.get_or_insert(now);
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Records a good answer. Returns the recovery if requests had failed before.
    pub(super) fn answered(&self, now: Instant) -> Option<RouteRecovered> {
        // The usual case costs one atomic load.
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
