//! The stand-in for PostHog's capture service: it checks requests, answers them, and stores events in
//! memory.
//!
//! It reads requests with strict serde types, as capture does. It shares no code with Hedgerow's own
//! rewriting; otherwise a mistake in shared code would look right in the tests. Source of the rules:
//! posthog-ingestion, sections 1 to 3 and 5.
//!
//! It does not implement session replay (`/s`), flags, remote config, the AI and OTLP endpoints,
//! quotas, the check of tokens against real projects, brotli and zstd on v1, and everything after
//! the queue (persons, groups, sessions). It stores a request completely or not at all; the real
//! queue may store the first events of a batch that it rejects with 413.

mod endpoints;
mod lz;
mod payload;
mod query;
mod refusal;
mod service;
mod shape;
mod store;
mod time;
mod v0;
mod v1;

pub use refusal::{CaptureRefusal, TokenFault};
pub use service::{Capture, CaptureClock, InjectedFault};
pub use shape::Historical;
pub use store::{RefusedRequest, RequestFacts, StoreCapacity, StoredEvent, UuidOrigin};
pub use uuid::Uuid;

#[cfg(test)]
mod tests;
