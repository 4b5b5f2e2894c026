//! A little space that is held back, so that a full disk can still be emptied.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Enough for the log of a transaction that forgets one batch of 4 MiB.
const SIZE: usize = 1 << 20;

/// A file of zeros. SQLite writes a log before it frees pages; where no byte is left, it could
/// never free any.
pub(super) struct Reserve {
    file: PathBuf,
}

impl Reserve {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            file: folder.join("reserve"),
        }
    }

    /// Makes the file unless it is there. If it cannot be made now, then at a later call.
    pub(super) fn keep(&self) {
        let complete = fs::metadata(&self.file).is_ok_and(|about| about.len() == SIZE as u64);
        if !complete {
            if let Err(error) = self.write() {
                log::debug!("the spool's reserve cannot be made: {error}");
                self.release();
            }
        }
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

    /// Gives the space to whoever needs it now; whether there was any.
    pub(super) fn release(&self) -> bool {
        fs::remove_file(&self.file).is_ok()
    }
}
