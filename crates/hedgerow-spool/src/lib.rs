#![doc = include_str!("../README.md")]
//!
//! # The way of a batch
//!
//! Segment's clients give up (segment-tracking 1.5), so a `200` has to mean that an event is safe.
//! Either PostHog has it, or it is durable in a spool:
//!
//! ```text
//! batch ─ Project::admit ─ Stream ─ PostHog ─ yes ──────────────→ 200
//!                │                     └ no, not now ─┐
//!                └ Spool ─────────── Project::keep ←──┘─ durable → 200, else 503
//!                                          │
//!                     Replay ─ oldest first, one request at a time ─→ PostHog
//! ```
//!
//! Storage is behind [`Store`]; the way to PostHog is whatever implements [`Upstream`].

mod breaker;
#[cfg(any(feature = "sqlite", feature = "nats"))]
mod command;
mod error;
// A build without a spool keeps nothing, and uses half of these.
mod drain_state;
#[cfg_attr(not(any(feature = "sqlite", feature = "nats")), allow(dead_code))]
mod event;
mod folder;
mod group;
mod halving;
#[cfg(feature = "sqlite")]
mod lease;
#[cfg(any(feature = "sqlite", feature = "nats"))]
mod listing;
mod live;
#[cfg(feature = "nats")]
mod nats;
mod place;
mod rate_limit;
mod replay;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg_attr(not(any(feature = "sqlite", feature = "nats")), allow(dead_code))]
mod store;
mod upstream;

pub use breaker::{Admission, Breaker, BreakerSettings, Condition};
#[cfg(any(feature = "sqlite", feature = "nats"))]
pub use command::{CommandError, Form, Selection, SpoolCommand};
pub use drain_state::Draining;
pub use error::SpoolError;
pub use event::{events_of, Received, SpooledEvent};
#[cfg(not(feature = "sqlite"))]
pub use folder::{inspect_folder, Spool};
pub use folder::{FolderState, SpoolSettings};
pub use group::{Bounds, Finished, Group, Queue, RequestId, RequestInfo};
pub use halving::{Halving, Refused, REFUSED_IN_ROW};
pub use live::{Delivery, DeliveryMode, Project, ProjectStatus, Route};
#[cfg(feature = "nats")]
pub use nats::{NatsSettings, NatsSpool};
pub use place::{NatsCertificate, NatsLogin, NatsPlace, NatsServer, SpoolPlace};
pub use replay::{Replay, ReplaySettings};
#[cfg(feature = "sqlite")]
pub use sqlite::{inspect_folder, outlive_file_size_limit, Spool, Waiting};
pub use store::{
    Availability, Clock, Counters, DeadLetter, Gauge, Gauges, Lead, Leadership, PeekLimit, Peeked,
    Position, QueuedEvent, Refusal, Rest, Store,
};
pub use upstream::{Encoding, OutgoingBatch, Says, Upstream, Verdict};
