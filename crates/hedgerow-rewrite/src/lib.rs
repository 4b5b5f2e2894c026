#![doc = include_str!("../README.md")]

// The public API consists of the items that the crate's documentation page shows. The hidden modules
// are public only for Hedgerow's other crates and tests; they change without notice.

#[doc(hidden)]
pub mod posthog;
#[doc(hidden)]
pub mod rewrite;
#[doc(hidden)]
pub mod segment;

pub use posthog::{ApiKey, ApiKeyError, Batch, Envelope, ProjectId};
pub use rewrite::enrich::edge_session::Transport;
pub use rewrite::mapping::*;
pub use rewrite::privacy::{ClickIds, Privacy, Pseudonym, Secret, ShortSecret, Signal, Treatment};
pub use rewrite::rules::{Rule, RuleAction};
pub use rewrite::{
    AnnouncedLength, Arrival, Body, Bounds, Ended, Explanations, Fault, Flow, MessageOutcome,
    Notice, Omission, Pulled, Recipient, Rewrite, RewriteError, Rewriter, SessionKeeper, Signals,
    Timestamp, Watch, WrittenKey,
};
pub use segment::{Call, Kind};
