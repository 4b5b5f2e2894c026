//! The spool beside the live traffic, alone or with other processes.

pub(crate) mod backlog;
pub(crate) mod sharing;
