//! The bounds of a spool in a folder, and what can be found there.

use std::time::Duration;

/// Bounds of a spool on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqliteSettings {
    /// The maximum disk in use, including dead letters. The log takes a few MiB more, the reserve
    /// 2.5 MiB.
    pub max_size: u64,
    /// How long an event or a dead letter is kept before it is dropped and counted: time during
    /// which a process has the spool open, even if the time of day is set.
    pub max_age: Duration,
    /// After it was full, the spool takes events again once it is down to this many percent.
    pub low_water_percent: u8,
    /// Events that are recognised when they come again while they wait, the newest of each project: 16
    /// bytes of memory each, and some of disk to read at the start.
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
    /// A spool that this version can use.
    Usable,
    /// None yet; it can be made.
    Empty,
}
