//! Reserves a little disk space, so that a spool on a full disk can still be emptied.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::transactions::PACK_BYTES;

/// When the log has this size in bytes, it is moved into the file.
pub(super) const LOG_BYTES: usize = 1 << 20;

/// The size of the reserve in bytes: what the file may have to grow by when the log is moved into it, and
/// a little more.
const SIZE: usize = LOG_BYTES + PACK_BYTES + (1 << 19);

/// A file of zeros that is deleted when the disk is full. To delete events, SQLite first writes to its
/// log, and later moves the log into the file. Both need space, so a disk without a free byte could never
/// be emptied.
pub(super) struct Reserve {
    file: PathBuf,
}

impl Reserve {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            file: folder.join("reserve"),
        }
    }

    /// Returns whether the reserve exists in full size.
    pub(super) fn is_kept(&self) -> bool {
        fs::metadata(&self.file).is_ok_and(|metadata| metadata.len() == SIZE as u64)
    }

    /// Creates the file unless it exists in full size.
    pub(super) fn keep(&self) -> io::Result<()> {
        if self.is_kept() {
            return Ok(());
        }
        self.write().inspect_err(|_| self.release())
    }

    fn write(&self) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&self.file)?;
        file.write_all(&vec![0; SIZE])?;
        file.sync_all()
    }

    /// Deletes the file, so that a write can use its space.
    pub(super) fn release(&self) {
        if let Err(error) = fs::remove_file(&self.file) {
            log::debug!("there is no reserve to delete: {error}");
        }
    }
}
