//! What the spool does by itself once a second: age, the dead letters' share, the size of its file.

use std::time::SystemTime;

use super::worker::{Letters, Worker, TICK};
use crate::delivery::store::Counters;

/// Events or letters that one round drops for their age.
const EXPIRED_AT_ONCE: i64 = 10_000;

impl Worker {
    pub(super) fn tick(&mut self) {
        if let Err(error) = self.open() {
            log::debug!("the spool cannot be opened: {error}");
            return;
        }
        if !self.settled.is_empty() {
            self.forget(Vec::new());
        }
        self.expire();
        self.crowd_out();
        self.measure();
        if self
            .failed
            .as_ref()
            .is_none_or(|(at, _)| at.elapsed() > 4 * TICK)
        {
            self.reserve.keep();
        }
        let idle = self.shared.gauges.waiting().is_empty();
        if let (true, Some(database)) = (idle, &self.database) {
            if database.has_free_pages().unwrap_or_default() {
                if let Err(error) = database.shrink() {
                    log::debug!("the spool's file cannot be shortened: {error}");
                }
            }
        }
    }

    fn crowd_out(&mut self) {
        let (Letters::Changed, Some(database)) = (self.letters, &mut self.database) else {
            return;
        };
        let limit = self.settings.max_size / 10;
        match database.write(|writing| writing.crowd_out(limit)) {
            Ok(number) => {
                self.letters = Letters::Counted;
                Counters::add(&self.shared.counters.crowded_out, number);
                if number > 0 {
                    log::error!(
                        "{number} dead letters were dropped: they may hold a tenth of max_size"
                    );
                }
            }
            Err(error) => log::debug!("the spool cannot be tidied up: {error}"),
        }
    }

    fn expire(&mut self) {
        let Some(limit) = SystemTime::now().checked_sub(self.settings.max_age) else {
            return;
        };
        let Some(database) = &mut self.database else {
            return;
        };
        match database.write(|writing| writing.expire(limit, EXPIRED_AT_ONCE)) {
            Ok(gone) if gone.events + gone.letters > 0 => {
                log::error!(
                    "{} events and {} dead letters were dropped: they are older than max_age",
                    gone.events,
                    gone.letters
                );
                Counters::add(&self.shared.counters.expired, gone.events + gone.letters);
            }
            Ok(_) => {}
            Err(error) => log::debug!("the spool cannot be tidied up: {error}"),
        }
    }
}
