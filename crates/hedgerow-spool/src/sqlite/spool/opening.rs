//! The thread opens its file here and reads the keys and totals. It can do so after damage, and on a
//! read-only disk.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::appending::project_key;
use super::database::{Database, Opener};
use super::reading::ProjectTotal;
use super::recovery::{copy_deleted, recover};
use super::worker::Worker;
use crate::error::SpoolError;

impl Worker {
    /// Opens the file if it is not open. After an error, the next call tries again.
    pub(super) fn open(&mut self) -> Result<&mut Database, SpoolError> {
        let now = self.clock.now();
        let damaged = self.database.as_ref().is_some_and(Database::is_damaged);
        let misplaced = self.database.as_ref().filter(|open| !open.is_in_place());
        if let (false, Some(old)) = (damaged, misplaced) {
            log::error!("the spool's file was deleted; Hedgerow writes its events into a new file");
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
                // A new file, or the conversion of an old one, needs a little space.
                Err(SpoolError::NoSpace) if self.reserve.is_kept() => {
                    self.reserve.release();
                    Database::open(&self.folder, Opener::Proxy)?
                }
                other => other?,
            };
            match opened.time() {
                Ok(time) => self.clock.resume(time),
                // If the file is damaged, the next call of `open` recovers it.
                Err(error) => log::warn!("the time that the spool stores cannot be read: {error}"),
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
        let mut dedup_keys = HashSet::new();
        let read = database.newest_dedup_keys(self.settings.recognised, |project, dedup_key| {
            dedup_keys.insert(project_key(project, dedup_key));
        });
        match read {
            Ok(()) => self.dedup_keys = dedup_keys,
            Err(error) => log::warn!("the spool's index cannot be read: {error}"),
        }
        self.measure_all();
    }

    /// Removes the keys of events that no longer wait. If such an event arrives again, it is stored.
    pub(super) fn forget_keys(&mut self, removed: &[(String, u128)]) {
        for (project, dedup_key) in removed {
            self.dedup_keys.remove(&project_key(project, *dedup_key));
        }
    }

    /// Updates the gauges of all projects from the file, which other processes write as well.
    pub(super) fn measure_all(&self) {
        let Some(database) = &self.database else {
            return;
        };
        match database.totals() {
            Ok(totals) => self.set_gauges(&totals),
            Err(error) => log::debug!("what the spool holds cannot be read: {error}"),
        }
        match database.used() {
            Ok(used) => self.shared.gauges.set_size(used, self.settings.max_size),
            Err(error) => log::debug!("the spool's size cannot be read: {error}"),
        }
    }

    /// Updates the gauges of these projects only.
    pub(super) fn measure(&self, projects: &HashSet<Arc<str>>) {
        let Some(database) = &self.database else {
            return;
        };
        let totals = projects.iter().map(|project| database.total(project));
        match totals.collect::<Result<Vec<_>, _>>() {
            Ok(totals) => self.set_gauges(&totals.into_iter().flatten().collect::<Vec<_>>()),
            Err(error) => log::debug!("what the spool holds cannot be read: {error}"),
        }
    }

    fn set_gauges(&self, totals: &[ProjectTotal]) {
        // Delivered events that could not be removed from the file yet do not wait any more.
        let mut delivered: HashMap<&str, u64> = HashMap::new();
        for project in self.delivered.values() {
            *delivered.entry(project).or_default() += 1;
        }
        for total in totals {
            let delivered = delivered.get(&*total.project).copied().unwrap_or_default();
            let events = total.events.saturating_sub(delivered);
            let bytes = if events == 0 { 0 } else { total.bytes };
            let gauge = self.shared.gauges.of(&total.project);
            gauge.set(events, bytes);
            gauge.set_dead_letters(total.dead_letters);
        }
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
    )
}
