#![doc = include_str!("../README.md")]

#[doc(hidden)]
pub mod posthog;
#[doc(hidden)]
pub mod rewrite;
#[doc(hidden)]
pub mod segment;

pub use posthog::{ApiKey, ApiKeyError, Batch, Envelope};
pub use rewrite::{
    Arrival, Bounds, Fate, Fault, Flow, Mapping, Mode, Notice, Omission, Pulled, Recipient,
    Rewrite, RewriteError, Rewriter, Signals, Timestamp, Watch,
};
pub use segment::{Call, Kind};
