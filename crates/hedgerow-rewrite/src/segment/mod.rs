//! Segment's side: the routes, write keys and encodings of requests, and the reply that a client expects.
//!
//! Nothing here opens a connection or reads a clock. The facts are those of Segment's tracking API and its
//! SDKs, as docs/protocols describes them (segment-tracking, sections 1 and 2).

mod body;
mod fields;
mod keys;
mod pixel;
mod reply;
mod routes;

pub use body::{BodyError, Decoder};
pub use keys::{KeyFrom, WriteKey, WriteKeys};
pub use pixel::{message_from_query, GIF};
pub use reply::{Answer, Cors, Reply, RequestRefusal};
pub use routes::{recognise, single_slashes, Call, Kind, Recognised};
