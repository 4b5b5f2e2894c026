//! Whether what waits for a project is being drained, and since when it is not.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::SpoolError;

/// A trouble that is over by then is not worth a line: a cluster that changes its leader.
const DOUBT: Duration = Duration::from_secs(1);

/// A trouble after so long without one is another one: nothing may have waited meanwhile.
const GAP: Duration = Duration::from_secs(60);

/// How often it is said again.
const REMINDER: Duration = Duration::from_secs(60);

/// Whether what waits in the spool is being brought to PostHog, as far as that is the spool's part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Draining {
    /// Nothing is known to be in the way.
    #[default]
    Undisturbed,
    /// The spool cannot be drained.
    Not {
        /// Since when.
        since: SystemTime,
        /// What the spool said last.
        reason: String,
    },
}

/// The state behind [`Draining`], and what the log is told of it.
#[derive(Debug, Default)]
pub(super) struct Stall(Mutex<Option<Stalled>>);

#[derive(Debug)]
struct Stalled {
    since: SystemTime,
    begun: Instant,
    last: Instant,
    said: Option<Instant>,
    reason: String,
}

impl Stall {
    /// The spool could not do its part.
    pub(super) fn begin(&self, project: &str, error: &SpoolError, now: Instant) {
        let mut stalled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stalled
            .as_ref()
            .is_some_and(|before| now.saturating_duration_since(before.last) > GAP)
        {
            *stalled = None;
        }
        let stalled = stalled.get_or_insert_with(|| Stalled {
            since: SystemTime::now(),
            begun: now,
            last: now,
            said: None,
            reason: String::new(),
        });
        stalled.last = now;
        stalled.reason = error.to_string();
        let lasted = now.saturating_duration_since(stalled.begun);
        let due = match stalled.said {
            None => lasted >= DOUBT,
            Some(said) => now.saturating_duration_since(said) >= REMINDER,
        };
        if due {
            stalled.said = Some(now);
            log::error!(
                "project {project}: what waits has not been drained for {} s: {error}",
                lasted.as_secs()
            );
        }
    }

    /// It has done its part.
    pub(super) fn end(&self, project: &str, now: Instant) {
        let stalled = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(stalled) = stalled else { return };
        if stalled.said.is_some() {
            log::info!(
                "project {project}: what waits is drained again, after {} s",
                now.saturating_duration_since(stalled.begun).as_secs()
            );
        }
    }

    pub(super) fn draining(&self) -> Draining {
        let stalled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*stalled {
            None => Draining::Undisturbed,
            Some(stalled) => Draining::Not {
                since: stalled.since,
                reason: stalled.reason.clone(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_has_one_beginning_and_its_last_reason_until_it_ends() {
        let (stall, start) = (Stall::default(), Instant::now());
        assert_eq!(stall.draining(), Draining::Undisturbed);
        stall.begin("shop", &SpoolError::ReadOnly, start);
        let Draining::Not { since, .. } = stall.draining() else {
            panic!("it is stalled");
        };
        stall.begin("shop", &SpoolError::Closed, start + REMINDER);
        let reason = SpoolError::Closed.to_string();
        assert_eq!(stall.draining(), Draining::Not { since, reason });
        stall.end("shop", start + REMINDER);
        assert_eq!(stall.draining(), Draining::Undisturbed);
    }
}
