//! Only one process drains a spool: the lock on a file says which. Two more locks say that a
//! follower exists, and that the leader knows of it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::error::SpoolError;
use crate::store::{Lead, Leadership};

/// The lock is held until it is released or the process ends, however it ends.
const HELD: Duration = Duration::from_secs(365 * 24 * 3600);

/// A lock on `replay.lock` in the spool's folder. During an upgrade both processes append, and the
/// old one drains until it leaves: two that drain could send one person's events in the wrong order.
pub(super) struct FileLease {
    path: PathBuf,
    file: Mutex<Option<File>>,
    /// Held by each follower: `line.lock`.
    follower: SharedLock,
    /// Held by the leader while it knows of a follower: from then on it only appends as well: `aside.lock`.
    known: SharedLock,
}

/// A lock that informs other processes while it is held. Several may hold it.
struct SharedLock {
    path: PathBuf,
    held: Mutex<Option<File>>,
}

impl SharedLock {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            held: Mutex::new(None),
        }
    }

    /// Holds it from now on. Where no lock can be had, no other process learns of this.
    fn hold(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            // A process that looks holds it for a moment, so this waits for no longer than that.
            *held = open(&self.path)
                .ok()
                .filter(|file| file.lock_shared().is_ok());
        }
    }

    fn release(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether another process, or another spool of this one, holds it. To be asked by a process that does
    /// not.
    fn is_held(&self) -> bool {
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
            follower: SharedLock::new(folder.join("line.lock")),
            known: SharedLock::new(folder.join("aside.lock")),
        }
    }

    /// Notifies the leader that a follower exists.
    pub(super) fn announce_follower(&self) {
        self.follower.hold();
    }

    /// Takes that back.
    pub(super) fn withdraw_follower(&self) {
        self.follower.release();
    }

    /// Whether a follower exists.
    pub(super) fn has_follower(&self) -> bool {
        self.follower.is_held()
    }

    /// Tells the follower that this process knows of it, and only appends.
    pub(super) fn acknowledge_follower(&self) {
        self.known.hold();
    }

    /// Takes that back.
    pub(super) fn resume_leading(&self) {
        self.known.release();
    }

    /// Whether the leader only appends.
    pub(super) fn is_follower_known(&self) -> bool {
        self.known.is_held()
    }

    /// # Errors
    /// When the file exists and cannot be opened or locked, so that it is unknown which process
    /// drains.
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
    pub(super) fn leadership(&self) -> Leadership {
        let mut held = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return Leadership::Leader;
        }
        match open(&self.path).map(|file| (file.try_lock(), file)) {
            Ok((Err(TryLockError::WouldBlock), _)) => return Leadership::Follower,
            Ok((Ok(()), file)) => *held = Some(file),
            Ok((Err(TryLockError::Error(_)), _)) | Err(_) => {}
        }
        Leadership::Leader
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
        // Waiting events on a disk that has become read-only can still be sent.
        .or_else(|_| File::open(path))
}
