//! Listeners and their connections, before a request arrives.

pub(crate) mod accept_loop;
pub(crate) mod accepted;
mod answer_head;
pub(crate) mod balancer;
pub(crate) mod coalescing;
pub(crate) mod connection;
pub(crate) mod detect_protocol;
pub(crate) mod direct;
pub(crate) mod drain;
mod extent;
mod http2;
mod http2_heads;
mod http2_session;
mod http_clock;
mod idle_timer;
pub(crate) mod listener_group;
pub(crate) mod listener_set;
mod same_host;
pub(crate) mod tls;
mod written_answer;
