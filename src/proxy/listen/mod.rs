//! Listeners and their connections, before a request is there.

pub(crate) mod accepted;
pub(crate) mod balancer;
pub(crate) mod connection;
pub(crate) mod direct;
pub(crate) mod drain;
mod extent;
pub(crate) mod gathered;
pub(crate) mod listener_set;
pub(crate) mod listening;
pub(crate) mod preamble;
mod reception;
pub(crate) mod tls;
