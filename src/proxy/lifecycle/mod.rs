//! The life of the process: start, reload, drain, hand-over.

pub(crate) mod descriptors;
pub(crate) mod reload;
pub(crate) mod server;
pub(crate) mod signals;
pub(crate) mod start_check;
pub(crate) mod upgrade;
