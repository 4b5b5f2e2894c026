//! The connection to the spool's SQLite file. This module contains no policy and no threads.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row};

use super::lease::FileLease;
use super::migration;
use super::schema::{self, FORMAT, PAGE};
use super::writing::{used, Writing};
use crate::error::SpoolError;
use crate::store::Leadership;

pub(super) const FILE: &str = "spool.db";

/// The size of a frame in the log, in bytes: a header of 24 bytes and a page.
const FRAME: usize = PAGE + 24;

/// How long a statement waits while another process writes: the predecessor in an upgrade, or
/// `hedgerow spool`.
const BUSY: Duration = Duration::from_secs(5);

/// One connection to the spool's file.
pub(crate) struct Database {
    connection: Connection,
    file: PathBuf,
    inode: (u64, u64),
    projects: HashMap<String, i64>,
    damaged: Cell<bool>,
}

/// The kind of process that opens a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opener {
    /// A proxy. It creates missing parts and converts old formats.
    Proxy,
    /// A command that runs beside a proxy. A missing spool is an error. A spool of an old format that a
    /// proxy uses is also an error: after a conversion, that proxy would no longer find its tables.
    Command,
}

impl Database {
    pub(crate) fn open(folder: &Path, opener: Opener) -> Result<Self, SpoolError> {
        let file = folder.join(FILE);
        if opener == Opener::Command && !file.exists() {
            return Err(SpoolError::Missing(folder.to_owned()));
        }
        prepare(folder, &file).map_err(|source| match SpoolError::from(source) {
            SpoolError::File(source) => SpoolError::Folder {
                path: folder.to_owned(),
                source,
            },
            other => other,
        })?;
        let connection = Connection::open_with_flags(
            &file,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        #[cfg(test)]
        let connection = super::statement_steps::watched(connection)?;
        connection.busy_timeout(BUSY)?;
        // Keeps the log and its index when the last connection closes. On a full or read-only disk, the
        // next connection could not create them, and without them it cannot read.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let format: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if format == 0 {
            // Only a new file needs these pragmas. They write, and an existing file must stay readable on
            // a read-only disk.
            connection.execute_batch(&format!(
                "PRAGMA page_size = {PAGE}; PRAGMA auto_vacuum = INCREMENTAL;"
            ))?;
        }
        // In WAL mode, a commit waits for the disk only with `synchronous = FULL`.
        connection.execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA wal_autocheckpoint = 0;
             PRAGMA journal_size_limit = 8388608;
             PRAGMA cache_size = -8192;
             PRAGMA temp_store = MEMORY;
             PRAGMA trusted_schema = OFF;",
        )?;
        let mut database = Self {
            connection,
            inode: inode(&file).unwrap_or_default(),
            file,
            projects: HashMap::new(),
            damaged: Cell::new(false),
        };
        match format {
            FORMAT => {}
            0 => database.write(|writing| writing.change_format(0, &schema::NEW, FORMAT))?,
            old if migration::knows(old) && (opener == Opener::Proxy || is_free(folder)) => {
                database.write(|writing| migration::run(writing, old))?;
            }
            found => {
                return Err(SpoolError::Format {
                    found,
                    known: FORMAT,
                })
            }
        }
        Ok(database)
    }

    /// Returns whether the file of this connection is still the file at its path. If it was deleted,
    /// everything that is written to it is lost.
    pub(crate) fn is_in_place(&self) -> bool {
        inode(&self.file).is_ok_and(|inode| inode == self.inode)
    }

    /// Returns whether SQLite has reported a damaged file since this connection was opened.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.get()
    }

    /// Runs `work` in one transaction. The changes are durable when this returns `Ok`; after an error,
    /// nothing has changed.
    pub(crate) fn write<R>(
        &mut self,
        work: impl FnOnce(&mut Writing<'_>) -> Result<R, rusqlite::Error>,
    ) -> Result<R, SpoolError> {
        // A transaction that begins with a read cannot wait for other writers later, so it begins
        // IMMEDIATE.
        let result = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .and_then(|transaction| {
                let mut writing = Writing::new(transaction, &mut self.projects);
                let result = work(&mut writing)?;
                writing.commit()?;
                Ok(result)
            });
        result.map_err(|error| {
            // The cache may contain the number of a project that was rolled back.
            self.projects.clear();
            self.fault(error)
        })
    }

    fn fault(&self, error: rusqlite::Error) -> SpoolError {
        if matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        ) {
            self.damaged.set(true);
        }
        error.into()
    }

    /// Returns the bytes of the file's pages that are in use.
    pub(crate) fn used(&self) -> Result<u64, SpoolError> {
        used(&self.connection).map_err(|error| self.fault(error))
    }

    /// Moves the log's content into the file, so that the log can be written from its start again. It
    /// fails if the file has to grow and cannot; then the content stays safe in the log.
    pub(crate) fn checkpoint(&self) -> Result<(), SpoolError> {
        self.each("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(NextRow::Row))
    }

    /// Returns the bytes of the log that are not in the file yet. Every commit writes whole pages to the
    /// log, so this is many times the size of the events.
    pub(crate) fn logged(&self) -> Result<usize, SpoolError> {
        let mut frames = 0;
        self.each("PRAGMA wal_checkpoint(NOOP)", [], |row| {
            let (all, moved): (i64, i64) = (row.get(1)?, row.get(2)?);
            frames = if all == moved { 0 } else { all };
            Ok(NextRow::Row)
        })?;
        Ok(usize::try_from(frames).unwrap_or(0) * FRAME)
    }

    /// Returns the number of unused pages in the file.
    pub(crate) fn free_pages(&self) -> Result<u64, SpoolError> {
        self.connection
            .pragma_query_value(None, "freelist_count", |row| row.get::<_, u64>(0))
            .map_err(|error| self.fault(error))
    }

    /// Returns unused pages to the file system, in small steps so that each needs little log.
    pub(crate) fn shrink(&self, steps: usize) -> Result<(), SpoolError> {
        for _ in 0..steps {
            if self.free_pages()? == 0 {
                break;
            }
            // Each step of this statement frees one page, so `each` steps it to its end.
            self.each("PRAGMA incremental_vacuum(64)", [], |_| Ok(NextRow::Row))?;
            self.checkpoint()?;
        }
        self.each("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(NextRow::Row))
    }

    /// Runs a query and calls `visit` for each row, until `visit` returns [`NextRow::Enough`].
    pub(super) fn each(
        &self,
        query: &str,
        values: impl rusqlite::Params,
        mut visit: impl FnMut(&Row<'_>) -> Result<NextRow, rusqlite::Error>,
    ) -> Result<(), SpoolError> {
        let run = || {
            let mut statement = self.connection.prepare_cached(query)?;
            let mut rows = statement.query(values)?;
            while let Some(row) = rows.next()? {
                match visit(row)? {
                    NextRow::Row => {}
                    NextRow::Enough => break,
                }
            }
            Ok(())
        };
        run().map_err(|error| self.fault(error))
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// Moves the log's content into the file, unless other processes use it or it cannot be written.
impl Drop for Database {
    fn drop(&mut self) {
        if let Err(error) = self.checkpoint() {
            log::debug!("the write-ahead log stays beside the spool's file: {error}");
        }
    }
}

/// Whether a query continues with the next row.
pub(super) enum NextRow {
    Row,
    Enough,
}

/// Returns whether no other process drains the spool in this folder.
fn is_free(folder: &Path) -> bool {
    FileLease::new(folder).leadership() == Leadership::Leader
}

fn inode(file: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(file)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Creates the folder and an empty file. Only this user can access them, because events contain personal
/// data. SQLite gives its other files the same mode.
fn prepare(folder: &Path, file: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    if !file.exists() {
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(file)?
            .sync_all()?;
        // The new directory entry must also survive a power cut.
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
