//! The life of the process: start, reload, drain, hand-over.

pub(crate) mod compile;
pub(crate) mod descriptors;
pub(crate) mod drain;
pub(crate) mod process;
pub(crate) mod reload;
pub(crate) mod server;
pub(crate) mod signals;
pub(crate) mod startable;
pub(crate) mod tasks;
pub(crate) mod upgrade;
