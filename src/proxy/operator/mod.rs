//! What the operator sees: admin pages, access log, counters, `doctor`.

pub(crate) mod access;
pub(crate) mod admin;
pub(crate) mod doctor;
pub(crate) mod log_limit;
pub(crate) mod running;
pub(crate) mod serve;
pub(crate) mod watcher;
