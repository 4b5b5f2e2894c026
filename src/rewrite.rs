//! The rewriting of Segment's messages into PostHog's events.

pub use hedgerow_rewrite::rewrite::*;
