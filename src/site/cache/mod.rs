//! A small HTTP cache for posthog-js's scripts and remote config (posthog-ingestion 6.6).
//!
//! It follows the answer's own headers (RFC 9111) and keeps the last good copy for the time when
//! PostHog is unreachable. It limits the bytes in total and the variants of each address; the least
//! recently used copy is removed first.
//! Pure: the caller passes in requests, answers and the time.

mod policy;
mod store;

pub use policy::{freshness, Freshness, Storability};
pub use store::{Cache, CacheKey, CacheLookup, CachedAnswer, RequestHeaders};
