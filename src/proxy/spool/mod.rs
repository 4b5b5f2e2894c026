//! The spool next to the live traffic, used by one process or by several.

pub(crate) mod backlog;
pub(crate) mod sharing;
