//! What the enriched mapping adds to the reference's properties: the building blocks.
//!
//! Everything here is pure: text and times in, values out. Nothing in this folder knows which
//! property a value becomes; a source that is missing or makes no sense yields nothing, and
//! never an error (mapping 5, rule 3).

use super::time::Timestamp;

pub mod cache;
pub mod edge_session;
pub mod ids;
pub mod meta_ids;
pub mod privacy;
pub mod session;
pub mod url;
pub mod user_agent;
pub mod uuid7;

/// A time in milliseconds since 1970.
fn millis(time: Timestamp) -> i64 {
    time.millis()
}
