//! The spool on NATS JetStream. All proxies share it, and a NATS cluster replicates it.

mod age;
mod ageing;
mod backend;
mod command;
mod connection;
mod denials;
mod faults;
mod fitness;
mod from_settings;
mod inner;
mod limits;
mod message;
mod names;
mod place;
mod presence;
mod project_queue;
mod publishing;
mod settings;
mod store;
mod streams;
mod trouble;
mod watch;

pub(crate) use backend::NatsBackend;
pub use place::{NatsCertificate, NatsLogin, NatsServer};
pub use settings::NatsSettings;
pub use store::NatsSpool;
