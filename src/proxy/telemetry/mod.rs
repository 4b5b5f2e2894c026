//! What is counted and measured, and the pages that show it.

pub(crate) mod pages;
pub(crate) mod process;
#[cfg(feature = "server")]
pub(crate) mod tasks;
pub(crate) mod watcher;
