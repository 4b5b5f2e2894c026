//! Moves a damaged file aside, and copies its readable rows into a new file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rusqlite::{params, Connection, OpenFlags};

use super::database::{Database, Opener};
use super::migration::{FIRST, FIRST_DEAD_LETTERS};
use crate::error::SpoolError;
use crate::event::milliseconds;
use crate::event::SpooledEvent;

/// After this number of unreadable positions in a row, the scan stops.
const MOST_MISSES: u32 = 20_000;

/// The number of events that are copied in one transaction.
const STEP: usize = 1_000;

/// The outcome of a recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecoveryReport {
    /// Where the damaged files are now.
    pub(crate) aside: PathBuf,
    /// The number of events that were copied into the new file.
    pub(crate) events: u64,
    /// The number of dead letters that were copied.
    pub(crate) letters: u64,
}

/// Moves the damaged files of `folder` aside and creates a new spool with the rows that can be read.
pub(crate) fn recover(
    folder: &Path,
    now: SystemTime,
) -> Result<(Database, RecoveryReport), SpoolError> {
    let aside = set_aside(folder, now).map_err(|source| SpoolError::Folder {
        path: folder.to_owned(),
        source: Arc::new(source),
    })?;
    let mut database = Database::open(folder, Opener::Proxy)?;
    let mut recovered = RecoveryReport {
        aside,
        events: 0,
        letters: 0,
    };
    let opened = Connection::open_with_flags(
        recovered.aside.join("spool.db"),
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    );
    if let Ok(source) = opened {
        recovered.events = copy_events(&source, &mut database, now)?;
        recovered.letters = copy_letters(&source, &mut database)?;
    }
    Ok((database, recovered))
}

/// Creates a new file, and copies all rows into it from an open database whose file was deleted.
pub(crate) fn copy_deleted(
    source: &Database,
    folder: &Path,
    now: SystemTime,
) -> Result<Database, SpoolError> {
    let mut database = Database::open(folder, Opener::Proxy)?;
    copy_events(source.connection(), &mut database, now)?;
    copy_letters(source.connection(), &mut database)?;
    Ok(database)
}

fn set_aside(folder: &Path, now: SystemTime) -> io::Result<PathBuf> {
    let aside = folder.join(format!("damaged-{}", milliseconds(now)));
    fs::create_dir_all(&aside)?;
    // The log moves first. If the database moved first and this stopped halfway, a new database at the
    // old path would discard the log.
    for name in ["spool.db-wal", "spool.db-shm", "spool.db"] {
        match fs::rename(folder.join(name), aside.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

fn copy_events(
    source: &Connection,
    target: &mut Database,
    now: SystemTime,
) -> Result<u64, SpoolError> {
    let mut rows = Vec::new();
    let mut copied = 0;
    // A position that was used in the old file must not belong to another event in the new one.
    if let Some(last) = last(source, "event") {
        target.write(|writing| writing.begin_after(last))?;
    }
    // The index may be damaged, so the scan goes by position.
    scan(source, "event", |seq| {
        let found = source
            .prepare_cached(
                "SELECT seq, (SELECT name FROM project WHERE id = event.project), arrived, body
                 FROM event NOT INDEXED WHERE seq > ?1 ORDER BY seq LIMIT 1",
            )
            .and_then(|mut statement| {
                statement.query_row([seq], |row| {
                    Ok((
                        row.get::<_, i64>(0)?,
                        row.get::<_, String>(1)?,
                        row.get::<_, i64>(2)?,
                        row.get::<_, Vec<u8>>(3)?,
                    ))
                })
            });
        let (seq, project, arrived, body) = found?;
        let arrived = crate::event::time_of(arrived);
        if let Ok(event) = SpooledEvent::new(body.into(), arrived) {
            rows.push((project, event));
            copied += 1;
        }
        if rows.len() >= STEP {
            flush(target, &mut rows, now)?;
        }
        Ok(seq)
    })?;
    flush(target, &mut rows, now)?;
    Ok(copied)
}

fn flush(
    target: &mut Database,
    rows: &mut Vec<(String, SpooledEvent)>,
    now: SystemTime,
) -> Result<(), SpoolError> {
    target.write(|writing| {
        for (project, event) in rows.iter() {
            writing.append(project, [event], now)?;
        }
        Ok(())
    })?;
    rows.clear();
    Ok(())
}

fn copy_letters(source: &Connection, target: &mut Database) -> Result<u64, SpoolError> {
    let mut copied = 0;
    let format = source.pragma_query_value(None, "user_version", |row| row.get(0));
    let (table, refused_at) = match format {
        Ok(FIRST) => FIRST_DEAD_LETTERS,
        _ => ("dead_letter", "refused_at"),
    };
    let next = format!(
        "SELECT id, (SELECT name FROM project WHERE id = {table}.project), arrived, {refused_at},
         status, reason, body FROM {table} WHERE id > ?1 ORDER BY id LIMIT 1"
    );
    scan(source, table, |id| {
        let found = source.prepare_cached(&next).and_then(|mut statement| {
            statement.query_row([id], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, i64>(2)?,
                    row.get::<_, i64>(3)?,
                    row.get::<_, i64>(4)?,
                    row.get::<_, String>(5)?,
                    row.get::<_, Vec<u8>>(6)?,
                ))
            })
        });
        let (id, project, arrived, refused_at, status, reason, body) = found?;
        target.write(|writing| {
            writing.insert_dead_letter(&project, params![arrived, refused_at, status, reason, body])
        })?;
        copied += 1;
        Ok(id)
    })?;
    Ok(copied)
}

/// The reason why `scan` got no row after a position.
enum ScanError {
    /// The row cannot be read.
    Source(rusqlite::Error),
    /// The new file cannot be written.
    Target(SpoolError),
}

impl From<rusqlite::Error> for ScanError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Source(error)
    }
}

impl From<SpoolError> for ScanError {
    fn from(error: SpoolError) -> Self {
        Self::Target(error)
    }
}

/// Returns the last position that a table has used, if it can be read.
fn last(source: &Connection, table: &str) -> Option<i64> {
    let query = "SELECT seq FROM sqlite_sequence WHERE name = ?1";
    source.query_row(query, [table], |row| row.get(0)).ok()
}

/// Calls `after` with each position to get the next one, and skips positions that cannot be read.
fn scan(
    source: &Connection,
    table: &str,
    mut after: impl FnMut(i64) -> Result<i64, ScanError>,
) -> Result<(), SpoolError> {
    let last = last(source, table);
    let (mut position, mut misses) = (0, 0);
    while misses < MOST_MISSES && last.is_none_or(|last| position < last) {
        match after(position) {
            Ok(next) => (position, misses) = (next, 0),
            Err(ScanError::Source(rusqlite::Error::QueryReturnedNoRows)) => break,
            Err(ScanError::Source(_)) => (position, misses) = (position + 1, misses + 1),
            Err(ScanError::Target(error)) => return Err(error),
        }
    }
    Ok(())
}
