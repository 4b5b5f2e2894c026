//! What arrives: Segment's routes, write keys, encodings, and the reply each client expects.
//!
//! Pure: nothing here opens a connection or reads a clock. Source of the facts: Segment's tracking
//! API and its SDKs, as docs/protocols has them (segment-tracking, sections 1 and 2).

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
