//! Only one process drains a spool: the lock on a file says which.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::store::{Lead, Rank};
use super::SpoolError;

/// The lock is held until it is released or the process ends, however it ends.
const HELD: Duration = Duration::from_secs(365 * 24 * 3600);

/// A lock on `replay.lock` in the spool's folder. During an upgrade both processes append, and the
/// old one drains until it leaves: two that drain could send one person's events in the wrong order.
pub(super) struct FileLease {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl FileLease {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            path: folder.join("replay.lock"),
            file: Mutex::new(None),
        }
    }

    /// # Errors
    /// When the file is there and cannot be opened or locked, so that nobody can say who drains.
    pub(super) fn try_take(&self) -> Result<Lead, SpoolError> {
        let mut held = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return Ok(Lead::Ours(HELD));
        }
        let opened = self.open();
        let file = match opened {
            Ok(file) => file,
            // It is not there and cannot be made: on a read-only disk nobody can have locked it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lead::Ours(HELD)),
            Err(error) => return Err(error.into()),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Lead::Theirs),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        *held = Some(file);
        Ok(Lead::Ours(HELD))
    }

    /// Takes the lock if nobody else has it. Where there is no file to lock, nobody has.
    pub(super) fn rank(&self) -> Rank {
        let mut held = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return Rank::First;
        }
        match self.open().map(|file| (file.try_lock(), file)) {
            Ok((Err(TryLockError::WouldBlock), _)) => return Rank::Behind,
            Ok((Ok(()), file)) => *held = Some(file),
            Ok((Err(TryLockError::Error(_)), _)) | Err(_) => {}
        }
        Rank::First
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&self.path)
            // What waits on a disk that has become read-only can be sent all the same.
            .or_else(|_| File::open(&self.path))
    }

    pub(super) fn release(&self) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
