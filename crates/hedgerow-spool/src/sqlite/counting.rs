//! What the spool holds beside what waits, for the metrics: the dead letters, and the disk in use.

use super::worker::Worker;
use crate::store::Counters;
use crate::SpoolError;
use std::sync::atomic::Ordering;

/// What the dead letters were last counted by: they are counted again when it has changed.
#[derive(Default)]
pub(super) struct LetterCount {
    counted: Option<CountVersion>,
}

/// What changes when dead letters come or go.
#[derive(Clone, Copy, PartialEq, Eq)]
struct CountVersion {
    /// Dead letters that this process has made and dropped.
    own: u64,
    /// What other processes have written: `hedgerow spool`, a predecessor.
    foreign: i64,
}

impl Worker {
    /// Looks at what is there; each second.
    pub(super) fn update_gauges(&mut self) {
        if let Err(error) = self.count() {
            log::debug!("what the spool holds cannot be counted: {error}");
        }
    }

    fn count(&mut self) -> Result<(), SpoolError> {
        let Some(database) = &self.database else {
            return Ok(());
        };
        let gauges = &self.shared.gauges;
        gauges.set_size(database.used()?, self.settings.max_size);
        let Counters {
            dead_lettered,
            expired,
            dead_letters_evicted,
            ..
        } = &self.shared.counters;
        let own = [dead_lettered, expired, dead_letters_evicted]
            .map(|counter| counter.load(Ordering::Relaxed));
        let reason = Some(CountVersion {
            own: own.iter().sum(),
            foreign: database.foreign_version()?,
        });
        if self.letter_count.counted != reason {
            gauges.set_dead_letters(&database.dead_letter_counts()?);
            self.letter_count.counted = reason;
        }
        Ok(())
    }
}
