//! Only one process drains a spool: the leader, which holds the lock on a file. Two more locks tell other
//! processes that a follower exists, and that the leader knows of it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::error::SpoolError;
use crate::store::{Lead, Leadership};

/// The time for which a lead is granted. The lock has no time limit: the process holds it until it
/// releases it or ends.
const HELD: Duration = Duration::from_secs(365 * 24 * 3600);

/// A lock on `replay.lock` in the spool's folder. During an upgrade, both processes append, and the old
/// one drains until it ends. If both drained, they could send one person's events in the wrong order.
pub(super) struct FileLease {
    path: PathBuf,
    file: Mutex<Option<File>>,
    /// `line.lock`, which each follower holds.
    follower: SharedLock,
    /// `aside.lock`, which the leader holds while it knows of a follower. During this time the leader
    /// streams no events either: it appends all new events to the spool.
    follower_known: SharedLock,
}

/// A lock that signals a fact to other processes while it is held. Several processes can hold it.
struct SharedLock {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl SharedLock {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: Mutex::new(None),
        }
    }

    /// Takes the lock and keeps it. If that fails, other processes do not see the signal.
    fn hold(&self) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.is_none() {
            // Only `is_held` takes the lock exclusively, and only for a moment, so this waits no longer.
            *file = open(&self.path)
                .ok()
                .filter(|file| file.lock_shared().is_ok());
        }
    }

    fn release(&self) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns whether another process, or another spool in this process, holds the lock. Call it only if
    /// this spool does not hold the lock.
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
            follower_known: SharedLock::new(folder.join("aside.lock")),
        }
    }

    /// Signals to the leader that a follower exists.
    pub(super) fn announce_follower(&self) {
        self.follower.hold();
    }

    /// Withdraws the signal of [`announce_follower`](Self::announce_follower).
    pub(super) fn withdraw_follower(&self) {
        self.follower.release();
    }

    /// Returns whether a follower exists.
    pub(super) fn has_follower(&self) -> bool {
        self.follower.is_held()
    }

    /// Signals to the follower that this process knows of it and appends all new events to the spool.
    pub(super) fn acknowledge_follower(&self) {
        self.follower_known.hold();
    }

    /// Withdraws the signal of [`acknowledge_follower`](Self::acknowledge_follower).
    pub(super) fn resume_leading(&self) {
        self.follower_known.release();
    }

    /// Returns whether the leader knows of a follower and appends all new events to the spool.
    pub(super) fn is_follower_known(&self) -> bool {
        self.follower_known.is_held()
    }

    /// Takes the lock if no other process holds it, and returns which process may drain.
    ///
    /// # Errors
    /// If the file exists but cannot be opened or locked, so that it is unknown which process drains.
    pub(super) fn try_take(&self) -> Result<Lead, SpoolError> {
        let mut locked = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if locked.is_some() {
            return Ok(Lead::Ours(HELD));
        }
        let file = match open(&self.path) {
            Ok(file) => file,
            // The file does not exist and cannot be created, as on a read-only disk. So no process can
            // hold the lock.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lead::Ours(HELD)),
            Err(error) => return Err(error.into()),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Lead::Theirs),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        *locked = Some(file);
        Ok(Lead::Ours(HELD))
    }

    /// Takes the lock if no other process holds it. If the file cannot be opened or locked, this process
    /// counts as the leader.
    pub(super) fn leadership(&self) -> Leadership {
        let mut locked = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if locked.is_some() {
            return Leadership::Leader;
        }
        match open(&self.path).map(|file| (file.try_lock(), file)) {
            Ok((Err(TryLockError::WouldBlock), _)) => return Leadership::Follower,
            Ok((Ok(()), file)) => *locked = Some(file),
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
        // On a disk that has become read-only, a process must still be able to send waiting events.
        .or_else(|_| File::open(path))
}
