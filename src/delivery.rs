//! Re-exports the spool's crate under the name that the configuration uses.

pub use hedgerow_spool::*;
