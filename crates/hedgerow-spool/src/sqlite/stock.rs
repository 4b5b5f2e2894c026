//! What the spool holds beside what waits, for the metrics: the dead letters, and the disk in use.

use super::worker::Worker;
use crate::store::Counters;
use crate::SpoolError;
use std::sync::atomic::Ordering;

/// What the dead letters were last counted by: they are counted again when it has changed.
#[derive(Default)]
pub(super) struct Stock {
    counted: Option<Reason>,
}

/// What changes when letters come or go.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Reason {
    /// Letters that this process has made and dropped.
    own: u64,
    /// What other processes have written: `hedgerow spool`, a predecessor.
    foreign: i64,
}

impl Worker {
    /// Looks at what is there; each second.
    pub(super) fn take_stock(&mut self) {
        if let Err(error) = self.stock() {
            log::debug!("what the spool holds cannot be counted: {error}");
        }
    }

    fn stock(&mut self) -> Result<(), SpoolError> {
        let Some(database) = &self.database else {
            return Ok(());
        };
        let gauges = &self.shared.gauges;
        gauges.set_size(database.used()?, self.settings.max_size);
        let Counters {
            buried,
            expired,
            crowded_out,
            ..
        } = &self.shared.counters;
        let own = [buried, expired, crowded_out].map(|counter| counter.load(Ordering::Relaxed));
        let reason = Some(Reason {
            own: own.iter().sum(),
            foreign: database.foreign_version()?,
        });
        if self.stock.counted != reason {
            gauges.set_dead_letters(&database.letter_counts()?);
            self.stock.counted = reason;
        }
        Ok(())
    }
}
