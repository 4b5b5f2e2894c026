//! Re-exports the part of the rewriting that knows PostHog.

pub use hedgerow_rewrite::posthog::*;
