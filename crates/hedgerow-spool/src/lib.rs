#![doc = include_str!("../README.md")]
//!
//! # How a batch is delivered
//!
//! Segment's clients drop events (segment-tracking 1.5), so a `200` has to mean that an event is
//! safe: either PostHog has it, or it is durable in a spool.
//!
//! ```text
//! batch ─ ProjectDelivery::admit ─ Stream ─ PostHog ─ accepted ──────────→ 200
//!                │                             └ try later ─┐
//!                └ Spool ─────────── ProjectDelivery::keep ←┘─ durable → 200, else 503
//!                                          │
//!                     Replay ─ oldest first, one request at a time ─→ PostHog
//! ```
//!
//! Each kind of spool implements [`Store`] for its storage and [`Backend`] for everything else that differs
//! between kinds. The client of PostHog implements [`Upstream`].
// A build without any kind of spool stores nothing and uses only a part of this crate.
#![cfg_attr(not(any(feature = "sqlite", feature = "nats")), allow(dead_code))]

mod backend;
mod blocking;
mod breaker;
mod by_project;
mod clock_watch;
mod command;
mod drain_state;
mod error;
mod event;
mod group;
mod halving;
mod kind;
mod listing;
mod live;
mod rate_limit;
mod replay;
mod settings;
mod store;
#[cfg(test)]
mod store_contract;
mod upstream;

// Each kind of spool is a folder and a line in `KINDS`. The configuration, opening, commands, `doctor` and
// health reach the kind through that line.
mod nats;
mod sqlite;

/// All kinds of spool, including those that this build does not have.
pub const KINDS: &[SpoolKind] = &[
    sqlite::KIND, // `path`
    nats::KIND,   // `nats`
];

pub use backend::{
    Backend, Examination, OpenedSpool, SharedFolder, SpoolHealth, SpoolLimits, SpoolTrouble, Terms,
};
#[doc(hidden)]
pub use blocking::run_blocking;
pub use breaker::{BreakerSettings, BreakerState};
pub use command::{CommandError, ListFormat, Selection, SpoolCommand};
pub use drain_state::Draining;
pub use error::SpoolError;
#[doc(hidden)]
pub use event::events_of;
pub use event::{Received, SpooledEvent};
pub use group::{Finished, Group, GroupBounds, Queue, RequestInfo};
#[doc(hidden)]
pub use halving::{Halving, RefusedPart, REFUSED_IN_ROW};
pub use kind::{SpoolKind, SpoolPlace, SpoolTakes};
pub use live::{BatchRoute, Delivery, DeliveryMode, ProjectDelivery, ProjectStatus};
#[cfg(feature = "nats")]
pub use nats::{NatsCertificate, NatsLogin, NatsServer, NatsSettings, NatsSpool};
pub use replay::{Replay, ReplaySettings};
pub use settings::{SettingForm, SettingMistake, SettingValue, SpoolSettings};
#[cfg(feature = "sqlite")]
pub use sqlite::{outlive_file_size_limit, SqliteSettings, SqliteSpool};
pub use store::{
    Availability, Clock, Counters, DeadLetter, Gauge, Gauges, Lead, Leadership, PeekLimit, Peeked,
    Position, QueuedEvent, Refusal, Rest, Store,
};
pub use upstream::{Encoding, OutgoingBatch, StatusMeaning, Upstream, Verdict};
