//! The limits of a spool in a folder, and the states of the folder.

use std::time::Duration;

/// The limits of a spool on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqliteSettings {
    /// The maximum disk space in use, in bytes, including dead letters. The log takes a few MiB more, and
    /// the reserve 2.5 MiB.
    pub max_size: u64,
    /// How long an event or a dead letter is stored before it is dropped and counted. Only time during
    /// which a process has the spool open counts; a change of the time of day has no effect.
    pub max_age: Duration,
    /// A full spool accepts events again when its used space has fallen to this percentage of `max_size`.
    pub low_water_percent: u8,
    /// The number of waiting events that the spool recognises when they arrive again. At its start, it
    /// reads the keys of the newest events of each project from disk. Each key takes 16 bytes of memory.
    pub recognised: usize,
}

impl Default for SqliteSettings {
    fn default() -> Self {
        Self {
            max_size: 1 << 30,
            max_age: Duration::from_secs(7 * 24 * 3600),
            low_water_percent: 80,
            recognised: 500_000,
        }
    }
}

/// The content of a spool's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FolderState {
    /// The folder contains a spool that this version can use.
    Usable,
    /// The folder contains no spool yet, and one can be created.
    Empty,
}
