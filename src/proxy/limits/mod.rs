//! What a client, and all of them together, may take: requests, connections, memory.

pub(crate) mod body_rate;
pub(crate) mod budget;
pub(crate) mod connection_limits;
pub(crate) mod log_limit;
pub(crate) mod rates;
