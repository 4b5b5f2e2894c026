//! Records the outages of PostHog, and logs the end of each: how long it lasted, and how many batches
//! failed meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::Level;

use crate::proxy::limits::log_limit::LogLimit;
use crate::proxy::outbound::verdict::is_about_events;
use crate::proxy::outbound::verdict::BatchVerdict;

/// The failures of one project's PostHog.
#[derive(Debug, Default)]
pub(crate) struct OutageTracker {
    /// Batches that failed since the outage began; zero when there is none.
    failed: AtomicU64,
    outage: Mutex<Option<OutageSpan>>,
    last_error: Mutex<Option<(Instant, BatchVerdict)>>,
    log_limit: LogLimit,
}

/// When an outage began, and when the last batch failed.
#[derive(Debug, Clone, Copy)]
struct OutageSpan {
    began: Instant,
    last: Instant,
}

/// An outage that has not ended, and the last error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutageRecord {
    /// For how long batches have failed, and how many.
    pub(crate) outage: Option<(Duration, u64)>,
    /// How long ago it happened, and the verdict.
    pub(crate) last_error: Option<(Duration, BatchVerdict)>,
}

/// The number of failures in a row after which the next batch is expected to fail too.
const IN_ROW: u64 = 3;
/// How long after the last failure this is expected. Without this limit, a process that
/// gets no requests because it is not ready would never become ready again.
const RECENT: Duration = Duration::from_secs(10);

/// The end of an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OutageEnd {
    after: Duration,
    failed: u64,
}

impl OutageTracker {
    /// Returns whether the next batch would most likely fail too.
    pub(crate) fn is_away(&self) -> bool {
        let outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = outage.is_some_and(|outage| outage.last.elapsed() < RECENT);
        is_recent && self.failed.load(Ordering::Relaxed) >= IN_ROW
    }

    /// Returns the current outage and the last error, for the operator.
    pub(crate) fn record(&self) -> OutageRecord {
        let outage = *self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        let last_error = self.last_error.lock();
        let last_error = *last_error.unwrap_or_else(PoisonError::into_inner);
        let failed = self.failed.load(Ordering::Relaxed);
        OutageRecord {
            outage: outage.map(|outage| (outage.began.elapsed(), failed)),
            last_error: last_error.map(|(at, verdict)| (at.elapsed(), verdict)),
        }
    }

    /// Records the outcome of a batch, and logs the end of an outage.
    pub(crate) fn note(&self, project: &str, verdict: BatchVerdict) {
        let Some(OutageEnd { after, failed }) = self.noted(verdict, Instant::now()) else {
            return;
        };
        let line = format!(
            "project {project}: PostHog accepts events again, after {}; it did not accept {failed} \
             batches in that time",
            format_duration(after)
        );
        match self.log_limit.pass(project, "recovered") {
            Some(more) => log::info!("{line}{more}"),
            None => self.log_limit.keep(project, "recovered", Level::Info, line),
        }
    }

    fn noted(&self, verdict: BatchVerdict, now: Instant) -> Option<OutageEnd> {
        if verdict == BatchVerdict::Accepted {
            // The usual case needs no lock.
            if self.failed.load(Ordering::Relaxed) == 0 {
                return None;
            }
            let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
            let began = outage.take()?.began;
            return Some(OutageEnd {
                after: now.saturating_duration_since(began),
                failed: self.failed.swap(0, Ordering::Relaxed),
            });
        }
        let last_error = self.last_error.lock();
        *last_error.unwrap_or_else(PoisonError::into_inner) = Some((now, verdict));
        // A rejected event does not describe the state of PostHog itself.
        if !is_about_events(verdict) {
            let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
            let began = outage.map_or(now, |outage| outage.began);
            *outage = Some(OutageSpan { began, last: now });
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        None
    }
}

/// Formats a duration in its one or two largest units.
pub(crate) fn format_duration(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        seconds @ 1..=59 => format!("{seconds} s"),
        seconds @ 60..=3599 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::outbound::verdict::NoAnswerReason;

    #[test]
    fn the_end_of_a_failure_is_reported_once_with_its_length_and_cost() {
        let tracker = OutageTracker::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(tracker.noted(BatchVerdict::Accepted, at(0)), None);
        // The refusal of an event neither begins an outage nor ends one.
        assert_eq!(tracker.noted(BatchVerdict::Refused(400), at(1)), None);
        assert_eq!(tracker.noted(BatchVerdict::Accepted, at(2)), None);
        let away = BatchVerdict::Unreachable(NoAnswerReason::Connect);
        let key = BatchVerdict::KeyRefused(401);
        for (second, verdict) in [(3, away), (4, BatchVerdict::Refused(400)), (5, key)] {
            assert_eq!(tracker.noted(verdict, at(second)), None);
        }
        let (after, failed) = (Duration::from_secs(90), 2);
        let end = Some(OutageEnd { after, failed });
        assert_eq!(tracker.noted(BatchVerdict::Accepted, at(93)), end);
        assert_eq!(tracker.noted(BatchVerdict::Accepted, at(94)), None);
    }

    #[test]
    fn durations_are_printed_in_common_units() {
        for (millis, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (59_999, "59 s"),
            (61_000, "1 min 1 s"),
            (3_600_000, "1 h 0 min"),
            (90_061_000, "25 h 1 min"),
        ] {
            assert_eq!(format_duration(Duration::from_millis(millis)), text);
        }
    }
}
