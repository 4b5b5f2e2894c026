//! The settings of the replay, and whether it continues.

use std::time::Duration;

use hedgerow_rewrite::posthog::BATCH_LIMIT;

use crate::halving::REFUSED_IN_ROW;
use crate::upstream::Encoding;

/// The settings of the replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplaySettings {
    /// The maximum size of one request, in bytes of JSON (posthog-ingestion 5.1).
    pub batch_bytes: usize,
    /// The maximum number of events in one request.
    pub batch_events: usize,
    /// The maximum number of events a second, for each project.
    pub events_per_second: u32,
    /// Whether requests are compressed.
    pub encoding: Encoding,
    /// How long the replay collects events for a larger batch, in mode `spool`.
    pub linger: Duration,
    /// The longest time that a delivery can take: the sum of its timeouts. The replay does not use a
    /// lead that ends earlier.
    pub longest_delivery: Duration,
    /// The number of events that PostHog rejects for good in a row before the replay assumes that the
    /// events are not the cause. From then on they wait instead of becoming dead letters.
    pub refused_in_row: u32,
}

impl Default for ReplaySettings {
    fn default() -> Self {
        Self {
            batch_bytes: BATCH_LIMIT,
            batch_events: 20_000,
            events_per_second: 10_000,
            encoding: Encoding::Gzip,
            linger: Duration::from_millis(200),
            longest_delivery: Duration::from_secs(20),
            refused_in_row: REFUSED_IN_ROW,
        }
    }
}

/// Whether the replay continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunState {
    Running,
    Stopping,
}
