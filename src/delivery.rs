//! The spool, under the name that the configuration uses.

pub use hedgerow_spool::*;
