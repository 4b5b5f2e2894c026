//! The client for outgoing requests: batches, their replay, requests to Segment accounts, settings,
//! scripts. It connects over the framework's connectors, and uses their TLS and HTTP/2. It implements
//! HTTP/1.1 itself, because the framework writes a request in two packets.
//!
//! Its rules: It tries up to three addresses. If the peer has closed a pooled connection, it sends the
//! request again over a new one; it sends nothing else twice. Each read and each write has a timeout.

pub(crate) mod answer;
pub(crate) mod batch_counts;
mod broken;
mod client;
pub(crate) mod fetch;
pub(crate) mod hops;
mod http1;
mod idle;
pub(crate) mod keepalive;
pub(crate) mod outage_tracker;
pub(crate) mod pools;
pub(crate) mod refused_events;
mod request;
pub(crate) mod retry_after;
pub(crate) mod sender;
mod session;
pub(crate) mod upstream;
pub(crate) mod verdict;

pub(crate) use answer::{AnswerHead, WantedFields};
pub(crate) use client::{Client, ConnectionPool, OpenAnswer, CONNECTS};
pub(crate) use request::{Template, UpstreamRequest};
pub(crate) use session::PIECE;
