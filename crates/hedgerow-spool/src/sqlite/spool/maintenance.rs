//! The maintenance that the thread does once a second: it drops events that are too old and dead letters
//! beyond their share, and limits the size of the log and the file.

use super::database::Database;
use super::reserve::LOG_BYTES;
use super::worker::{DeadLetterShare, Worker, SMALL_STEP};
use crate::error::SpoolError;
use crate::store::Counters;

/// The maximum number of events, and of dead letters, that one round drops because of their age or their
/// share.
const GONE_AT_ONCE: usize = 10_000;

/// The thread shortens the file of an idle spool if it has more unused pages than this.
const FREE_PAGES: u64 = 64;

/// The maximum number of steps, of 64 pages each, by which one round shortens the file. Appends wait
/// meanwhile.
const STEPS: usize = 32;

impl Worker {
    pub(super) fn tick(&mut self) {
        self.clock.look();
        if let Err(error) = self.open() {
            log::debug!("the spool cannot be opened: {error}");
            return;
        }
        if !self.delivered.is_empty() {
            self.forget(Vec::new());
        }
        if self.clock.is_due(self.settings.max_age) {
            self.remember();
        }
        self.expire();
        self.evict_dead_letters();
        self.bound_the_log();
        self.measure_all();
        if let Err(error) = self.shrink() {
            log::debug!("the spool's file cannot be shortened: {error}");
        }
    }

    /// Returns unused pages to the file system if no event waits, or if the reserve is missing, so that the
    /// reserve can use the space.
    fn shrink(&mut self) -> Result<(), SpoolError> {
        let idle = self.shared.gauges.waiting().is_empty();
        let Some(database) = &self.database else {
            return Ok(());
        };
        let free = database.free_pages()?;
        if idle && free > FREE_PAGES || free > 0 && !self.reserve.is_kept() {
            database.shrink(STEPS)?;
        }
        Ok(())
    }

    /// Writes the spool's time to the file.
    pub(super) fn remember(&mut self) {
        // If the log grew on a full disk, the disk could never be emptied again.
        if self.failed.is_some() || self.database.is_none() || self.checkpoint().is_err() {
            return;
        }
        let now = self.clock.now();
        let Some(database) = &mut self.database else {
            return;
        };
        let written = database.write(|writing| writing.remember(now));
        match written.and_then(|()| database.logged()) {
            Ok(logged) => self.logged = logged,
            Err(error) => log::debug!("the spool's clock cannot be saved: {error}"),
        }
        self.clock.remembered();
    }

    fn evict_dead_letters(&mut self) {
        let (DeadLetterShare::Unchecked, Some(database)) =
            (self.dead_letter_share, &mut self.database)
        else {
            return;
        };
        let limit = self.settings.max_size / 10;
        let max_rows = match self.failed {
            Some(_) => SMALL_STEP,
            None => GONE_AT_ONCE,
        };
        match database.write(|writing| writing.evict_dead_letters(limit, max_rows)) {
            Ok(number) => {
                // If this round reached its limit, the next round drops the rest: appends wait meanwhile.
                if number < max_rows as u64 {
                    self.dead_letter_share = DeadLetterShare::Checked;
                }
                Counters::add(&self.shared.counters.dead_letters_evicted, number);
                if number > 0 {
                    log::error!(
                        "{number} dead letters were dropped: all dead letters together may use a tenth of \
                         `max_size`"
                    );
                }
            }
            Err(error) => log::debug!("the spool cannot be cleaned up: {error}"),
        }
    }

    /// Moves the log into the file if it is large. Dropped rows are written to the log as well, so without
    /// this the log would grow until the next append.
    fn bound_the_log(&mut self) {
        let logged = self.database.as_ref().map(Database::logged);
        if let Some(Ok(logged)) = logged {
            self.logged = logged;
        }
        if let Err(error) = self.checkpoint() {
            log::debug!("the spool's log could not be removed: {error}");
        }
    }

    fn expire(&mut self) {
        let Some(limit) = self.clock.now().checked_sub(self.settings.max_age) else {
            return;
        };
        let Some(database) = &mut self.database else {
            return;
        };
        let max_rows = match self.failed {
            Some(_) => SMALL_STEP,
            None => GONE_AT_ONCE,
        };
        match database.write(|writing| writing.expire(limit, max_rows)) {
            Ok(removed) => {
                let events = removed.events.len() as u64;
                if events + removed.letters > 0 {
                    log::error!(
                        "{events} events and {} dead letters were dropped: they were older than \
                         `max_age`",
                        removed.letters
                    );
                    Counters::add(&self.shared.counters.expired, events + removed.letters);
                    self.forget_keys(&removed.events);
                }
            }
            Err(SpoolError::NoSpace) => {
                self.reserve.release();
                self.logged = LOG_BYTES;
                if let Err(error) = self.checkpoint() {
                    log::debug!("the spool cannot be cleaned up: {error}");
                }
            }
            Err(error) => log::debug!("the spool cannot be cleaned up: {error}"),
        }
    }
}
