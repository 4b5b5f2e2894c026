//! Records whether the waiting events of a project are being drained, and since when they are not.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::error::SpoolError;

/// A problem that ends within this time is not logged, such as a cluster that changes its leader.
const REPORT_AFTER: Duration = Duration::from_secs(1);

/// After this time without a failure, the next failure counts as a new problem: perhaps nothing waited in
/// between.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// The interval of repeated log lines.
const REMINDER: Duration = Duration::from_secs(60);

/// Whether the spool does its part in delivering the waiting events to PostHog.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Draining {
    /// No problem is known.
    #[default]
    Normal,
    /// The spool cannot be drained.
    Blocked {
        /// The time of the first failure.
        since: SystemTime,
        /// The message of the spool's last error.
        reason: String,
    },
}

/// The state from which [`Draining`] is built, and the time of the last log line about it.
#[derive(Debug, Default)]
pub(super) struct DrainState(Mutex<Option<Blocked>>);

#[derive(Debug)]
struct Blocked {
    since: SystemTime,
    begun: Instant,
    last: Instant,
    logged: Option<Instant>,
    reason: String,
}

impl DrainState {
    /// Records that the spool failed, and logs it if that is due.
    pub(super) fn failed(&self, project: &str, error: &SpoolError, now: Instant) {
        let mut blocked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if blocked
            .as_ref()
            .is_some_and(|before| now.saturating_duration_since(before.last) > FORGET_AFTER)
        {
            *blocked = None;
        }
        let blocked = blocked.get_or_insert_with(|| Blocked {
            since: SystemTime::now(),
            begun: now,
            last: now,
            logged: None,
            reason: String::new(),
        });
        blocked.last = now;
        blocked.reason = error.to_string();
        let lasted = now.saturating_duration_since(blocked.begun);
        let due = match blocked.logged {
            None => lasted >= REPORT_AFTER,
            Some(logged) => now.saturating_duration_since(logged) >= REMINDER,
        };
        if due {
            blocked.logged = Some(now);
            log::error!(
                "project {project}: waiting events have not been drained for {} s: {error}",
                lasted.as_secs()
            );
        }
    }

    /// Records that the spool works again, and logs it if the failure was logged.
    pub(super) fn end(&self, project: &str, now: Instant) {
        let blocked = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(blocked) = blocked else { return };
        if blocked.logged.is_some() {
            log::info!(
                "project {project}: waiting events are drained again, after {} s",
                now.saturating_duration_since(blocked.begun).as_secs()
            );
        }
    }

    pub(super) fn draining(&self) -> Draining {
        let blocked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*blocked {
            None => Draining::Normal,
            Some(blocked) => Draining::Blocked {
                since: blocked.since,
                reason: blocked.reason.clone(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_has_one_beginning_and_its_last_reason_until_it_ends() {
        let (drain_state, start) = (DrainState::default(), Instant::now());
        assert_eq!(drain_state.draining(), Draining::Normal);
        drain_state.failed("shop", &SpoolError::ReadOnly, start);
        let Draining::Blocked { since, .. } = drain_state.draining() else {
            panic!("it is blocked");
        };
        drain_state.failed("shop", &SpoolError::Closed, start + REMINDER);
        let reason = SpoolError::Closed.to_string();
        assert_eq!(drain_state.draining(), Draining::Blocked { since, reason });
        drain_state.end("shop", start + REMINDER);
        assert_eq!(drain_state.draining(), Draining::Normal);
    }
}
