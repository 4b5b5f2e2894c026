//! Hedgerow: Segment traffic in, PostHog events out, one call in any Pingora proxy.
//!
//! - [`Hedgerow`] is that call: `hedgerow.intercept(session).await?` in a `request_filter`.
//! - [`rewrite`] is what it does to a body, pure and without a proxy around it.
//! - [`config`] is the YAML that both are built from.

pub mod config;
pub mod demo;
pub mod posthog;
pub mod proxy;
pub mod rewrite;
pub mod segment;
pub mod site;

pub use config::Config;
pub use proxy::Hedgerow;
pub use rewrite::Rewriter;
