#![doc = include_str!("../README.md")]

// What is public is what this page shows. The modules are open to Hedgerow's other crates and tests;
// they change without notice.

#[doc(hidden)]
pub mod posthog;
#[doc(hidden)]
pub mod rewrite;
#[doc(hidden)]
pub mod segment;

pub use posthog::{ApiKey, ApiKeyError, Batch, Envelope};
pub use rewrite::enrich::edge_session::Transport;
pub use rewrite::privacy::{ClickIds, Privacy, Pseudonym, Secret, ShortSecret, Signal, Treatment};
pub use rewrite::rules::{Rule, RuleAction};
pub use rewrite::{
    Arrival, Bookkeeping, Bounds, ContextTraits, DeviceTypes, EventUuidForm, Fate, Fault, Flow,
    GroupTypeFrom, Integrations, Mapping, Mode, Noise, Notice, Omission, PersonProfiles, PostHogJs,
    Pulled, Recipient, Repeats, Rewrite, RewriteError, Rewriter, SameAnonymousId, SecondIdentify,
    SessionKeeper, Signals, Timestamp, Watch, WrittenKey,
};
pub use segment::{Call, Kind};
