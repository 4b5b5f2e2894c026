//! The limits of one client, and of all clients together: requests, connections, memory.

pub(crate) mod body_rate;
pub(crate) mod budget;
pub(crate) mod connection_limits;
pub(crate) mod log_limit;
pub(crate) mod rates;
