//! Listeners and their connections, before a request is there.

pub(crate) mod balancer;
pub(crate) mod connection;
pub(crate) mod direct;
mod extent;
pub(crate) mod gathered;
mod idle_timer;
pub(crate) mod listener_set;
pub(crate) mod listening;
pub(crate) mod preamble;
mod reception;
pub(crate) mod tls;
