//! How the thread opens its file, and what it reads from it first: also after damage, and on a disk
//! that can only be read.

use super::appending::project_key;
use super::database::{Database, Opener};
use super::recovery::{copy_deleted, recover};
use super::worker::{Worker, KNOWN};
use crate::SpoolError;

impl Worker {
    /// Opens the file if it is not open. Its error is that of the moment: the next call tries
    /// again.
    pub(super) fn open(&mut self) -> Result<&mut Database, SpoolError> {
        let now = self.clock.now();
        let damaged = self.database.as_ref().is_some_and(Database::is_damaged);
        let misplaced = self.database.as_ref().filter(|open| !open.is_in_place());
        if let (false, Some(old)) = (damaged, misplaced) {
            log::error!("the spool's file was deleted; its events are written again");
            self.database = Some(copy_deleted(old, &self.folder, now)?);
            self.delivered.clear();
        }
        if damaged {
            self.database = None;
            let (database, recovered) = recover(&self.folder, now)?;
            log::error!(
                "the spool's file is damaged: {} events and {} dead letters could be read and are \
                 kept; the damaged files are in {}",
                recovered.events,
                recovered.letters,
                recovered.aside.display()
            );
            self.delivered.clear();
            self.database = Some(database);
            self.reload();
        }
        if self.database.is_none() {
            let opened = match Database::open(&self.folder, Opener::Proxy) {
                Err(SpoolError::Storage(error)) if error.downcast_ref().is_some_and(is_damage) => {
                    let (database, recovered) = recover(&self.folder, now)?;
                    log::error!(
                        "the spool's file cannot be read: {} events could be kept; the damaged \
                         files are in {}",
                        recovered.events,
                        recovered.aside.display()
                    );
                    database
                }
                // A new file, or one of the old format, needs a little space.
                Err(SpoolError::NoSpace) if self.reserve.is_kept() => {
                    self.reserve.release();
                    Database::open(&self.folder, Opener::Proxy)?
                }
                other => other?,
            };
            match opened.time() {
                Ok(time) => self.clock.resume(time),
                // Damage is dealt with when the file is opened the next time.
                Err(error) => log::warn!("the spool's clock cannot be read: {error}"),
            }
            self.database = Some(opened);
            self.reload();
        }
        self.database.as_mut().ok_or(SpoolError::Closed)
    }

    pub(super) fn reload(&mut self) {
        let Some(database) = &self.database else {
            return;
        };
        match database.dedup_keys(KNOWN) {
            Ok(all) => {
                self.known = all
                    .into_iter()
                    .map(|(project, dedup_key)| project_key(&project, dedup_key))
                    .collect();
            }
            Err(error) => log::warn!("the spool's index cannot be read: {error}"),
        }
        self.measure();
    }

    /// These do not wait any more: when they come again, they are to be kept.
    pub(super) fn forget_keys(&mut self, gone: Vec<(String, u128)>) {
        for (project, dedup_key) in gone {
            self.known.remove(&project_key(&project, dedup_key));
        }
    }

    /// Brings the gauges up to date with the file, which other processes write as well.
    pub(super) fn measure(&mut self) {
        let Some(database) = &self.database else {
            return;
        };
        if let Ok(totals) = database.totals() {
            for (project, events, bytes) in totals {
                // Delivered events that the file cannot forget yet do not wait any more.
                let delivered = self.delivered.values().filter(|name| ***name == *project);
                let events = events.saturating_sub(delivered.count() as u64);
                let bytes = if events == 0 { 0 } else { bytes };
                self.shared.gauges.of(&project).set(events, bytes);
            }
        }
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
    )
}
