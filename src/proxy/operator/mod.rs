//! The operator's tools: admin pages, access log, counters, `doctor`.

pub(crate) mod admin;
#[cfg(feature = "server")]
pub(crate) mod doctor;
#[cfg(feature = "server")]
pub(crate) mod running;
