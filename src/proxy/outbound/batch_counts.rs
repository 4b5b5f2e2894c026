//! PostHog's answers to a project's batches, for the operator.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::admin::{BatchAnswers, DeliveryFailure, LastError};

use crate::proxy::outbound::outage_tracker::OutageTracker;
use crate::proxy::outbound::verdict::BatchVerdict;

/// PostHog's answers to the batches of a project.
#[derive(Debug, Default)]
pub(crate) struct BatchCounts {
    accepted: AtomicU64,
    key_refused: AtomicU64,
    refused: AtomicU64,
    busy: AtomicU64,
    unreachable: AtomicU64,
    outage_tracker: OutageTracker,
}

impl BatchCounts {
    /// Counts a batch of this project by its outcome, and logs when PostHog is healthy again.
    pub(crate) fn note(&self, project: &str, verdict: BatchVerdict) {
        self.outage_tracker.note(project, verdict);
        let counter = match verdict {
            BatchVerdict::Accepted => &self.accepted,
            BatchVerdict::KeyRefused(_) => &self.key_refused,
            BatchVerdict::Refused(_) | BatchVerdict::Rejected(_) => &self.refused,
            BatchVerdict::Busy { .. } => &self.busy,
            BatchVerdict::Unreachable(_) => &self.unreachable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn is_away(&self) -> bool {
        self.outage_tracker.is_away()
    }

    /// Returns the current failure and the last error, if there are any. `now` is the time from which their
    /// ages are subtracted.
    pub(crate) fn failure_state(
        &self,
        now: SystemTime,
    ) -> (Option<DeliveryFailure>, Option<LastError>) {
        let record = self.outage_tracker.record();
        let before = |ago: Duration| {
            let at = now.checked_sub(ago)?.duration_since(UNIX_EPOCH).ok()?;
            Some(at.as_secs())
        };
        let failure = record.outage.and_then(|(lasts, failed)| {
            let since = before(lasts)?;
            Some(DeliveryFailure { since, failed })
        });
        let last_error = record.last_error.and_then(|(ago, verdict)| {
            let (at, (_, says)) = (before(ago)?, verdict.advice()?);
            Some(LastError { at, says })
        });
        (failure, last_error)
    }

    pub(crate) fn read(&self) -> BatchAnswers {
        BatchAnswers {
            accepted: self.accepted.load(Ordering::Relaxed),
            key_refused: self.key_refused.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            busy: self.busy.load(Ordering::Relaxed),
            unreachable: self.unreachable.load(Ordering::Relaxed),
        }
    }
}
