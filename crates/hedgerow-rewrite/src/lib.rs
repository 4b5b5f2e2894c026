//! The rewriting of [Hedgerow]: bodies of Segment's tracking API in, batches for PostHog out.
//!
//! - [`segment`] is what arrives: routes, write keys, encodings, and the reply a client expects.
//! - [`rewrite`] is the way from one to the other.
//! - [`posthog`] is what leaves: hosts, project keys, the batch and capture's limits.
//!
//! Pure: no network, no clock, no framework and no configuration file. Time, client address and
//! random bits are handed in.
//!
//! [Hedgerow]: https://crates.io/crates/hedgerow

pub mod posthog;
pub mod rewrite;
pub mod segment;
