//! The counters and measurements, and the pages that show them.

pub(crate) mod pages;
pub(crate) mod process;
#[cfg(feature = "server")]
pub(crate) mod tasks;
pub(crate) mod watcher;
