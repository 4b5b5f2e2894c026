//! A spool in a folder of this machine, as far as it needs no storage: its bounds, and what there is
//! in the place of the storage where a build has none.

use std::time::Duration;

/// Bounds of a spool on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolSettings {
    /// Bytes of disk in use at most, dead letters included. The log beside the file takes a few MiB
    /// more, the reserve 2.5 MiB.
    pub max_size: u64,
    /// How long an event waits, or lies among the dead letters, before it is dropped and counted:
    /// time that passes while a process has the spool open, also when the time of day is set.
    pub max_age: Duration,
    /// After it was full, the spool takes events again once it is down to this many percent.
    pub low_water_percent: u8,
}

impl Default for SpoolSettings {
    fn default() -> Self {
        Self {
            max_size: 1 << 30,
            max_age: Duration::from_secs(7 * 24 * 3600),
            low_water_percent: 80,
        }
    }
}

/// What there is in a spool's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderState {
    /// A spool that this version can use.
    Usable,
    /// None yet; it can be made.
    Empty,
}

/// The spool of a build without the feature `sqlite`: there is never one.
#[cfg(not(feature = "sqlite"))]
mod none {
    use std::path::Path;

    use super::FolderState;
    use crate::{Clock, Leadership, SpoolError, SpoolSettings, Store};

    const NOT_BUILT_IN: SpoolError = SpoolError::NotBuiltIn("sqlite");

    /// A spool on disk, which this build does not have.
    #[derive(Clone)]
    pub enum Spool {}

    impl Spool {
        /// Opens none.
        ///
        /// # Errors
        /// Always [`SpoolError::NotBuiltIn`].
        pub fn open_with_clock(_: &Path, _: SpoolSettings, _: Clock) -> Result<Self, SpoolError> {
            Err(NOT_BUILT_IN)
        }

        /// The folder.
        pub fn folder(&self) -> &Path {
            match *self {}
        }

        /// Whether this process drains the spool.
        pub fn leadership(&self) -> Leadership {
            match *self {}
        }

        /// Says that this process waits to drain the spool.
        pub fn announce_follower(&self) {
            match *self {}
        }

        /// Whether the process that drains it knows of this one.
        pub fn is_follower_known(&self) -> bool {
            match *self {}
        }

        /// Takes back that another process is there.
        pub fn withdraw_follower(&self) {
            match *self {}
        }

        /// Whether another process uses this spool beside the one that drains it.
        pub fn has_follower(&self) -> bool {
            match *self {}
        }

        /// Says that this process knows of another one.
        pub fn acknowledge_follower(&self) {
            match *self {}
        }

        /// Takes that back.
        pub fn resume_leading(&self) {
            match *self {}
        }

        /// Learns from the file what waits.
        pub async fn reload(&self) {
            match *self {}
        }

        /// The spool as any other.
        pub fn as_store(&self) -> std::sync::Arc<dyn Store> {
            match *self {}
        }
    }

    /// Looks for nothing.
    ///
    /// # Errors
    /// Always [`SpoolError::NotBuiltIn`].
    pub fn inspect_folder(_: &Path) -> Result<FolderState, SpoolError> {
        Err(NOT_BUILT_IN)
    }
}

#[cfg(not(feature = "sqlite"))]
pub use none::{inspect_folder, Spool};
