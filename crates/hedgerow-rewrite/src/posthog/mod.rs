//! The outgoing side: PostHog's hosts and project keys, the batch envelope, and capture's limits.
//!
//! This module opens no connections. Its facts about PostHog's capture service are from docs/protocols
//! (posthog-ingestion, sections 1 to 5).

mod api_key;
mod batch;
mod host;
mod outline;
mod project_id;

pub use api_key::{ApiKey, ApiKeyError};
pub use batch::{
    events_within, join, Address, Batch, BatchFacts, Envelope, EventFacts, Keep, Mark, BATCH_PATH,
};
pub use host::{Host, HostError, Misdirection, Scheme};
pub(crate) use outline::EventParts;
pub use outline::{BatchOutline, EventView, Location};
pub use project_id::ProjectId;

/// Capture's default limit for one event in its queue, minus a margin, in bytes
/// (posthog-ingestion 5.1: budget for a proxy).
pub const DEFAULT_EVENT_LIMIT: usize = 900_000;

/// The largest uncompressed batch that is sent in one request, in bytes (posthog-ingestion 5.1).
pub const BATCH_LIMIT: usize = 4 << 20;

/// The deepest nesting of arrays and objects that capture's JSON parser accepts, counted from the top
/// of the document (posthog-ingestion 1.6: a property value of a batched event may be 123 arrays deep).
pub const NESTING_LIMIT: usize = 127;
