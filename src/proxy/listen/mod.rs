//! Listeners and their connections, before a request arrives.

mod accept_loop;
pub(crate) mod accepted;
pub(crate) mod balancer;
pub(crate) mod coalescing;
pub(crate) mod connection;
pub(crate) mod direct;
pub(crate) mod drain;
mod extent;
mod http2;
mod idle_timer;
pub(crate) mod listener_group;
pub(crate) mod listener_set;
pub(crate) mod preamble;
pub(crate) mod tls;
