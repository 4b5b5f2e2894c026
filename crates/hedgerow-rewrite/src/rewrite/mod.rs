//! Segment bytes in, PostHog bytes out: split, normalise, map, check.
//!
//! Pure: no I/O, no clock, no framework. Time, client address and randomness are handed in with
//! an [`Arrival`]. The same bytes give the same events, however they were cut into chunks.
//!
//! ```
//! use std::sync::Arc;
//! use hedgerow_rewrite::posthog::{ApiKey, Batch, Envelope};
//! use hedgerow_rewrite::rewrite::{Arrival, Bounds, Mapping, Pulled, Rewriter};
//! use hedgerow_rewrite::segment::{Call, Kind};
//!
//! let rewriter = Arc::new(Rewriter::new(Mapping::default(), Bounds::default()));
//! let mut rewrite = rewriter.begin(Arrival::new(Call::One(Kind::Track)));
//! rewrite.push(br#"{"event":"Order Completed","userId":"u-1","messageId":"m-1"}"#)?;
//! rewrite.end();
//!
//! let envelope = Envelope::new(&ApiKey::new("phc_example")?);
//! let mut batch = Batch::open(&envelope);
//! assert_eq!(rewrite.pull(&mut batch, 1 << 20, &mut ())?, Pulled::Done);
//! let json: serde_json::Value = serde_json::from_slice(&batch.close())?;
//! assert_eq!(json["batch"][0]["event"], "Order Completed");
//! assert_eq!(json["batch"][0]["properties"]["distinct_id"], "u-1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod body;
mod convert;
pub mod enrich;
mod event_facts;
mod explain;
mod flow;
mod group_types;
mod held_back;
mod identity;
mod json;
mod known;
mod library;
pub mod mapping;
mod merge;
mod message;
mod message_id;
mod normalise;
mod outcome;
mod plan;
pub mod privacy;
mod repeats;
pub mod rules;
mod session;
mod sha1_blocks;
mod spread;
mod time;
mod usable;
mod write;

use std::net::IpAddr;

pub use flow::{is_batch, Flow, Pulled, Rewrite, Rewriter, WrittenKey};
pub use mapping::*;
pub use outcome::{Fault, MessageOutcome, Notice, Omission, RewriteError, Watch};
pub use privacy::{Privacy, Signals};
pub use session::SessionKeeper;
pub use time::Timestamp;

pub(crate) use outcome::NoEvent;

use crate::posthog::ProjectId;
use crate::segment::Call;

/// Bounds on what one request may take, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How much of a body is held before it streams. One that is longer, or whose length is not known,
    /// streams an eighth earlier: what comes with the last read then fits as well.
    pub window: usize,
    /// The largest event, measured as capture's queue does (posthog-ingestion 5.1).
    pub event: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            window: 1 << 20,
            event: crate::posthog::DEFAULT_EVENT_LIMIT,
        }
    }
}

/// What is known of a request besides its body.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The call that the path names.
    pub call: Call,
    /// When the request arrived. Without it no time is corrected.
    pub received_at: Option<Timestamp>,
    /// The client's address, for browser and mobile libraries that do not know their own.
    pub client_ip: Option<IpAddr>,
    /// The request's user agent, only for pixels: their senders run no script.
    pub user_agent: Option<String>,
    /// The request's `Cookie` header, in which a session may stand.
    pub cookies: Option<String>,
    /// What the request says about being tracked.
    pub signals: Signals,
    /// Random bits, for messages that carry neither an id nor a time of their own.
    pub nonce: u128,
}

impl Arrival {
    /// A request of which only its call is known.
    pub fn new(call: Call) -> Self {
        Self {
            call,
            received_at: None,
            client_ip: None,
            user_agent: None,
            cookies: None,
            signals: Signals::default(),
            nonce: 0,
        }
    }
}

/// Whom the events of a request are for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recipient {
    /// The project.
    pub project: ProjectId,
    /// Properties that every event of the project gets, at most 63: names that need no escape in
    /// JSON, and values as JSON text.
    pub properties: Vec<(String, String)>,
}
