//! Listeners and their connections, before a request is there.

pub(crate) mod balancer;
pub(crate) mod connection;
mod extent;
pub(crate) mod gathered;
pub(crate) mod listener_set;
pub(crate) mod listening;
pub(crate) mod preamble;
pub(crate) mod tls;
