//! A small HTTP cache for posthog-js's scripts and remote config (posthog-ingestion 6.6).
//!
//! It follows the answer's own headers (RFC 9111) and keeps the last good copy for the time when
//! PostHog is away. Bounded by bytes and by variants; what was asked for longest ago goes first.
//! Pure: requests, answers and the time are handed in.

mod policy;
mod store;

pub use policy::{freshness, Freshness, Storing};
pub use store::{Cache, CacheKey, CacheLookup, CachedAnswer, RequestHeaders};
