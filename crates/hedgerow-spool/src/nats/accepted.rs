//! The values that the settings accept, in words.

/// The values that `url` accepts.
pub(super) const SERVERS: &str = "nats://host:port or tls://host:port, or several of them";
/// The values that `stream` accepts.
pub(super) const STREAM: &str = "a name of 1 to 64 letters, digits, - or _";
