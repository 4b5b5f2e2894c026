//! What the enriched mapping adds to the reference's properties: the building blocks.
//!
//! Everything here is pure: text and times in, values out. Nothing in this folder knows which
//! property a value becomes; a source that is missing or makes no sense yields nothing, and
//! never an error (mapping 5, rule 3).

pub mod cache;
pub mod url;
pub mod user_agent;
