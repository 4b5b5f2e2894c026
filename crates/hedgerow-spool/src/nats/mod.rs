//! A spool on NATS JetStream: where it is, and (feature `nats`) the spool itself.

mod place;
#[cfg(feature = "nats")]
mod spool;

pub use place::{
    NatsCertificate, NatsLogin, NatsPlace, NatsServer, NatsServerError, NatsTransport,
};
#[cfg(feature = "nats")]
pub(crate) use spool::NatsBackend;
#[cfg(feature = "nats")]
pub use spool::{NatsSettings, NatsSpool};
