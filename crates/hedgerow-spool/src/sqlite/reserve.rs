//! A little space that is held back, so that a full disk can still be emptied.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::transactions::PACK_BYTES;
use super::worker::LOG_BYTES;

/// The space by which the file may have to grow when the log is moved into it, and a little more.
const SIZE: usize = LOG_BYTES + PACK_BYTES + (1 << 19);

/// A file of zeros. SQLite moves its log into its file before pages become free, and writes a log
/// before it frees any; where no byte is left, a full disk could never be emptied.
pub(super) struct Reserve {
    file: PathBuf,
}

impl Reserve {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            file: folder.join("reserve"),
        }
    }

    /// Whether the space is held back.
    pub(super) fn is_kept(&self) -> bool {
        fs::metadata(&self.file).is_ok_and(|about| about.len() == SIZE as u64)
    }

    /// Creates the file unless it exists.
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

    /// Gives the space to the write that needs it now.
    pub(super) fn release(&self) {
        if let Err(error) = fs::remove_file(&self.file) {
            log::debug!("there is no reserve to delete: {error}");
        }
    }
}
