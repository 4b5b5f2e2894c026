//! The spool, by the name of what the configuration calls it.

pub use hedgerow_spool::*;
