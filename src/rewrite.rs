//! The rewriting itself.

pub use hedgerow_rewrite::rewrite::*;
