//! The operator's tools: admin pages, access log, counters, `doctor`.

pub(crate) mod admin;
#[cfg(feature = "server")]
pub(crate) mod doctor;
pub(crate) mod process;
#[cfg(feature = "server")]
pub(crate) mod running;
pub(crate) mod serve;
#[cfg(feature = "server")]
pub(crate) mod tasks;
pub(crate) mod watcher;
