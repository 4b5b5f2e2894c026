//! How the thread comes by its file, and what it learns from it: also after damage, and on a disk
//! that can only be read.

use super::database::{Absent, Database};
use super::salvage::{rescue, salvage};
use super::worker::{of_project, Worker, KNOWN};
use crate::SpoolError;

impl Worker {
    /// Opens the file if it is not open. Its error is that of the moment: the next call tries
    /// again.
    pub(super) fn open(&mut self) -> Result<&mut Database, SpoolError> {
        let now = self.passing.now();
        let damaged = self.database.as_ref().is_some_and(Database::is_damaged);
        let misplaced = self.database.as_ref().filter(|open| !open.is_in_place());
        if let (false, Some(old)) = (damaged, misplaced) {
            log::error!("the spool's file has been deleted; what it held is written anew");
            self.database = Some(rescue(old, &self.folder, now)?);
            self.settled.clear();
        }
        if damaged {
            self.database = None;
            let (database, salvaged) = salvage(&self.folder, now)?;
            log::error!(
                "the spool's file is damaged: {} events and {} dead letters could be read and are \
                 kept; the damaged files are in {}",
                salvaged.events,
                salvaged.letters,
                salvaged.aside.display()
            );
            self.settled.clear();
            self.database = Some(database);
            self.learn();
        }
        if self.database.is_none() {
            let opened = match Database::open(&self.folder, Absent::Create) {
                Err(SpoolError::Storage(error)) if error.downcast_ref().is_some_and(is_damage) => {
                    let (database, salvaged) = salvage(&self.folder, now)?;
                    log::error!(
                        "the spool's file cannot be read: {} events could be kept; the damaged \
                         files are in {}",
                        salvaged.events,
                        salvaged.aside.display()
                    );
                    database
                }
                other => other?,
            };
            match opened.age() {
                Ok(age) => self.passing.resume(age),
                // Damage is dealt with when the file is opened the next time.
                Err(error) => log::warn!("the spool's age cannot be read: {error}"),
            }
            self.database = Some(opened);
            self.learn();
        }
        self.database.as_mut().ok_or(SpoolError::Closed)
    }

    pub(super) fn learn(&mut self) {
        let Some(database) = &self.database else {
            return;
        };
        match database.collapses(KNOWN) {
            Ok(all) => {
                self.known = all
                    .into_iter()
                    .map(|(project, collapse)| of_project(&project, collapse))
                    .collect();
            }
            Err(error) => log::warn!("the spool's index cannot be read: {error}"),
        }
        self.measure();
    }

    /// These do not wait any more: when they come again, they are to be kept.
    pub(super) fn unlearn(&mut self, gone: Vec<(String, u128)>) {
        for (project, collapse) in gone {
            self.known.remove(&of_project(&project, collapse));
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
                let settled = self.settled.values().filter(|name| ***name == *project);
                let events = events.saturating_sub(settled.count() as u64);
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
