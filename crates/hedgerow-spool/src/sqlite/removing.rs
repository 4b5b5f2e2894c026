//! How the thread removes what has been delivered, and moves what PostHog refuses to the dead letters.

use tokio::sync::oneshot;

use super::worker::{DeadLetterShare, Worker, LOG_BYTES, SMALL_STEP};
use crate::store::{Counters, Position};
use crate::{Refusal, SpoolError};

/// An event that becomes a dead letter, why, and who waits for it.
pub(super) type DeadLetterRequest = (Position, Refusal, oneshot::Sender<Result<(), SpoolError>>);

impl Worker {
    /// Removes what has been delivered and moves what was refused.
    pub(super) fn forget(&mut self, refused: Vec<DeadLetterRequest>) {
        let mut result = self.forget_some(usize::MAX, &refused);
        if matches!(result, Err(SpoolError::NoSpace)) {
            result = self.forget_on_a_full_disk(&refused);
        }
        if let Err(error) = &result {
            // It is tried again each second: once is enough to say.
            if self.failed.is_none() {
                log::warn!("the spool cannot delete delivered events for now: {error}");
            }
            self.failed(error);
        }
        self.measure();
        for (_, _, reply) in refused {
            let _ = reply.send(result.clone());
        }
    }

    /// With the reserve given up the log can be moved into the file; from then on each small step
    /// reuses the space of the log before it.
    fn forget_on_a_full_disk(&mut self, refused: &[DeadLetterRequest]) -> Result<(), SpoolError> {
        self.reserve.release();
        while !self.delivered.is_empty() {
            self.logged = LOG_BYTES;
            self.forget_some(SMALL_STEP, &[])?;
        }
        self.logged = LOG_BYTES;
        self.forget_some(0, refused)
    }

    fn forget_some(
        &mut self,
        most: usize,
        refused: &[DeadLetterRequest],
    ) -> Result<(), SpoolError> {
        self.open()?;
        self.checkpoint()?;
        let now = self.clock.now();
        let mut leaving: Vec<Position> = self.delivered.keys().copied().collect();
        // Neighbours lie on the same pages.
        leaving.sort_unstable();
        leaving.truncate(most);
        let database = self.database.as_mut().ok_or(SpoolError::Closed)?;
        let gone = database.write(|writing| {
            let mut gone = Vec::new();
            for position in &leaving {
                gone.extend(writing.remove(*position)?);
            }
            for (position, refusal, _) in refused {
                gone.extend(writing.dead_letter(*position, refusal, now)?);
            }
            Ok(gone)
        })?;
        self.logged = database.logged()?;
        self.forget_keys(gone);
        for position in &leaving {
            self.delivered.remove(position);
        }
        if !refused.is_empty() {
            self.dead_letter_share = DeadLetterShare::Unchecked;
        }
        Counters::add(&self.shared.counters.dead_lettered, refused.len() as u64);
        Counters::add(&self.shared.counters.commits, 1);
        Ok(())
    }
}
