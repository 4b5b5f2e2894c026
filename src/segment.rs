//! Segment's side of the rewriting.

pub use hedgerow_rewrite::segment::*;
