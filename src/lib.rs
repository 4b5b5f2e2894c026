//! Hedgerow: Segment traffic in, PostHog events out, one call in any Pingora proxy.

pub mod config;
pub mod demo;
pub mod posthog;
pub mod proxy;
pub mod rewrite;
pub mod segment;

pub use proxy::Hedgerow;
