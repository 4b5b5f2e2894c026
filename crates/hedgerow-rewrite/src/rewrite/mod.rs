//! Rewrites the bytes of a Segment request into the bytes of PostHog events: splits the body into
//! messages, normalises each message, maps it to an event, and checks the event.
//!
//! The module does no I/O, reads no clock and depends on no framework. The caller passes the time, the
//! client's address and random bits in an [`Arrival`]. The same bytes give the same events, whatever
//! the chunks in which they arrive.
//!
//! ```
//! use std::sync::Arc;
//! use hedgerow_rewrite::posthog::{ApiKey, Batch, Envelope, ProjectId};
//! use hedgerow_rewrite::rewrite::{Arrival, Bounds, Mapping, Pulled, Recipient, Rewriter};
//! use hedgerow_rewrite::segment::{Call, Kind};
//!
//! let api_key = ApiKey::new("phc_example")?;
//! let recipient = Recipient {
//!     project: ProjectId::of(&api_key),
//!     ..Recipient::default()
//! };
//! let rewriter = Rewriter::new(Mapping::default(), Bounds::default());
//! let mut body = rewriter.begin(Arrival::new(Call::One(Kind::Track)));
//! body.push(br#"{"event":"Order Completed","userId":"u-1","messageId":"m-1"}"#)?;
//! body.end();
//!
//! let mut rewrite = body.address_to(Arc::new(recipient));
//! let mut batch = Batch::open(&Envelope::new(&api_key));
//! assert_eq!(rewrite.pull(&mut batch, 1 << 20, &mut ())?, Pulled::Done);
//! let json: serde_json::Value = serde_json::from_slice(&batch.close())?;
//! assert_eq!(json["batch"][0]["event"], "Order Completed");
//! assert_eq!(json["batch"][0]["properties"]["distinct_id"], "u-1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arrival;
mod body;
mod convert;
pub mod enrich;
mod event_facts;
mod event_plan;
mod explain;
mod flow;
mod group_types;
mod held_back;
mod identity;
mod json;
mod known_objects;
mod library;
mod library_kind;
pub mod mapping;
mod merge;
mod message;
mod message_id;
mod message_source;
mod moment;
mod normalise;
mod outcome;
pub mod privacy;
mod repeats;
pub mod rules;
mod scrub;
mod session;
mod sha1_blocks;
mod spread;
mod time;
mod usable;
mod write;

pub use arrival::{AnnouncedLength, Arrival, Bounds, Explanations, Recipient};
pub use flow::{is_batch, Body, Ended, Flow, Pulled, Rewrite, Rewriter, WrittenKey};
pub use mapping::*;
pub use outcome::{Fault, MessageOutcome, Notice, Omission, RewriteError, Watch};
pub use privacy::{Privacy, Signals};
pub use session::SessionKeeper;
pub use time::Timestamp;
