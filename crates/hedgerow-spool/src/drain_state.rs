//! Whether what waits for a project is being drained, and since when it is not.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::error::SpoolError;

/// A trouble that is over by then is not logged: a cluster that changes its leader.
const REPORT_AFTER: Duration = Duration::from_secs(1);

/// A failure after this time without one begins another trouble: nothing may have waited meanwhile.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// The interval of repeated log lines.
const REMINDER: Duration = Duration::from_secs(60);

/// Whether what waits in the spool is being brought to PostHog, as far as that is the spool's part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Draining {
    /// No problem is known.
    #[default]
    Normal,
    /// The spool cannot be drained.
    Blocked {
        /// Since when.
        since: SystemTime,
        /// The last message of the spool.
        reason: String,
    },
}

/// The state behind [`Draining`], and what has been logged about it.
#[derive(Debug, Default)]
pub(super) struct DrainState(Mutex<Option<Blocked>>);

#[derive(Debug)]
struct Blocked {
    since: SystemTime,
    begun: Instant,
    last: Instant,
    said: Option<Instant>,
    reason: String,
}

impl DrainState {
    /// The spool could not do its part.
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
            said: None,
            reason: String::new(),
        });
        blocked.last = now;
        blocked.reason = error.to_string();
        let lasted = now.saturating_duration_since(blocked.begun);
        let due = match blocked.said {
            None => lasted >= REPORT_AFTER,
            Some(said) => now.saturating_duration_since(said) >= REMINDER,
        };
        if due {
            blocked.said = Some(now);
            log::error!(
                "project {project}: waiting events have not been drained for {} s: {error}",
                lasted.as_secs()
            );
        }
    }

    /// It has done its part.
    pub(super) fn end(&self, project: &str, now: Instant) {
        let blocked = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(blocked) = blocked else { return };
        if blocked.said.is_some() {
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
