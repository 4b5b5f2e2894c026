//! Only one process drains a spool: the lock on a file says which. Two more say that another process
//! has come to it, and that the first one knows.

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
    /// Held by each process that is not the first.
    line: Sign,
    /// Held by the first while another one stands in line: from then on it only appends as well.
    aside: Sign,
}

/// A lock that says something as long as it is held. Several may hold it.
struct Sign {
    path: PathBuf,
    held: Mutex<Option<File>>,
}

impl Sign {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            held: Mutex::new(None),
        }
    }

    /// Holds it from now on. Where no lock can be had, no other process learns of this.
    fn raise(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            // One who looks holds it for a moment, so this waits for no longer than that.
            *held = open(&self.path)
                .ok()
                .filter(|file| file.lock_shared().is_ok());
        }
    }

    fn lower(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether another process, or another spool of this one, holds it. To be asked by one that does
    /// not.
    fn is_up(&self) -> bool {
        let file = File::open(&self.path);
        matches!(
            file.map(|file| file.try_lock()),
            Ok(Err(TryLockError::WouldBlock))
        )
    }
}

impl FileLease {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            path: folder.join("replay.lock"),
            file: Mutex::new(None),
            line: Sign::new(folder.join("line.lock")),
            aside: Sign::new(folder.join("aside.lock")),
        }
    }

    /// Says to the first process that this one is there.
    pub(super) fn stand_in_line(&self) {
        self.line.raise();
    }

    /// Takes that back.
    pub(super) fn leave_line(&self) {
        self.line.lower();
    }

    /// Whether another process stands in line.
    pub(super) fn is_awaited(&self) -> bool {
        self.line.is_up()
    }

    /// Says that this process knows of another one, and only appends.
    pub(super) fn step_aside(&self) {
        self.aside.raise();
    }

    /// Takes that back.
    pub(super) fn step_forth(&self) {
        self.aside.lower();
    }

    /// Whether the first process only appends.
    pub(super) fn is_aside(&self) -> bool {
        self.aside.is_up()
    }

    /// # Errors
    /// When the file is there and cannot be opened or locked, so that it is unknown which process drains.
    pub(super) fn try_take(&self) -> Result<Lead, SpoolError> {
        let mut held = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return Ok(Lead::Ours(HELD));
        }
        let file = match open(&self.path) {
            Ok(file) => file,
            // It is not there and cannot be made: on a read-only disk no process can have locked it.
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

    /// Takes the lock if no other process has it. Where there is no file to lock, none has.
    pub(super) fn rank(&self) -> Rank {
        let mut held = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return Rank::First;
        }
        match open(&self.path).map(|file| (file.try_lock(), file)) {
            Ok((Err(TryLockError::WouldBlock), _)) => return Rank::Behind,
            Ok((Ok(()), file)) => *held = Some(file),
            Ok((Err(TryLockError::Error(_)), _)) | Err(_) => {}
        }
        Rank::First
    }

    pub(super) fn release(&self) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        // What waits on a disk that has become read-only can be sent all the same.
        .or_else(|_| File::open(path))
}
