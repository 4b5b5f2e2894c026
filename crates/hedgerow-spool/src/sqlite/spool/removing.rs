//! The thread removes delivered events here, and moves rejected ones to the dead letters.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::reserve::LOG_BYTES;
use super::worker::{DeadLetterShare, Worker, SMALL_STEP};
use crate::error::SpoolError;
use crate::store::Refusal;
use crate::store::{Counters, Position};

/// The position of an event that becomes a dead letter, the reason, and the channel for the reply.
pub(super) type DeadLetterRequest = (Position, Refusal, oneshot::Sender<Result<(), SpoolError>>);

impl Worker {
    /// Removes delivered events from the file, and moves rejected ones to the dead letters.
    pub(super) fn forget(&mut self, refused: Vec<DeadLetterRequest>) {
        let mut projects: HashSet<Arc<str>> = self.delivered.values().cloned().collect();
        let mut result = self.remove_batch(usize::MAX, &refused);
        if matches!(result, Err(SpoolError::NoSpace)) {
            result = self.remove_on_a_full_disk(&refused);
        }
        let refused_of = result.as_deref().unwrap_or_default();
        projects.extend(
            refused_of
                .iter()
                .map(|(project, _)| project.as_str().into()),
        );
        let result = result.map(drop);
        if let Err(error) = &result {
            // The thread retries each second; it logs only the first failure.
            if self.failed.is_none() {
                log::warn!("the spool cannot delete delivered events for now: {error}");
            }
            self.failed(error);
        }
        self.measure(&projects);
        for (_, _, reply) in refused {
            let _ = reply.send(result.clone());
        }
    }

    /// Deletes the reserve, so that there is space to move the log into the file. Then removes the events
    /// in small steps; each step reuses the log space of the step before.
    fn remove_on_a_full_disk(
        &mut self,
        refused: &[DeadLetterRequest],
    ) -> Result<Vec<(String, u128)>, SpoolError> {
        self.reserve.release();
        while !self.delivered.is_empty() {
            self.logged = LOG_BYTES;
            self.remove_batch(SMALL_STEP, &[])?;
        }
        self.logged = LOG_BYTES;
        self.remove_batch(0, refused)
    }

    /// Removes at most `max_events` delivered events and moves the rejected ones, in one transaction. Returns the
    /// projects and deduplication keys of the new dead letters.
    fn remove_batch(
        &mut self,
        max_events: usize,
        refused: &[DeadLetterRequest],
    ) -> Result<Vec<(String, u128)>, SpoolError> {
        self.open()?;
        self.checkpoint()?;
        let now = self.clock.now();
        let mut positions: Vec<Position> = self.delivered.keys().copied().collect();
        // Events with adjacent positions share pages, so fewer pages change.
        positions.sort_unstable();
        positions.truncate(max_events);
        let database = self.database.as_mut().ok_or(SpoolError::Closed)?;
        let (removed, dead_lettered) = database.write(|writing| {
            let (mut removed, mut dead_lettered) = (Vec::new(), Vec::new());
            for position in &positions {
                removed.extend(writing.remove(*position)?);
            }
            for (position, refusal, _) in refused {
                dead_lettered.extend(writing.dead_letter(*position, refusal, now)?);
            }
            Ok((removed, dead_lettered))
        })?;
        self.logged = database.logged()?;
        self.forget_keys(&removed);
        self.forget_keys(&dead_lettered);
        for position in &positions {
            self.delivered.remove(position);
        }
        if !refused.is_empty() {
            self.dead_letter_share = DeadLetterShare::Unchecked;
        }
        Counters::add(&self.shared.counters.dead_lettered, refused.len() as u64);
        Counters::add(&self.shared.counters.commits, 1);
        Ok(dead_lettered)
    }
}
