//! The building blocks for the values that the enriched mapping adds to the reference's properties.
//!
//! Everything here is pure: functions take texts and times and return values. Nothing in this
//! folder knows which property a value becomes. A source that is missing or invalid gives no value,
//! never an error (mapping 5, rule 3).

pub mod cache;
pub mod edge_session;
pub mod ids;
pub mod meta_ids;
pub mod privacy;
pub mod session;
pub mod url;
pub mod user_agent;
pub mod uuid7;
