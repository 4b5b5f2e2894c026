//! The data of the admin page, as plain values.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::outline::Outline;
use super::process::ProcessState;
use super::requests::{RequestCount, RouteState};
use super::times::Times;

/// The state of the proxy at one moment. All counts are since the start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProxyState {
    /// Messages that became events.
    pub events: u64,
    /// Messages that were left out on purpose.
    pub left_out: u64,
    /// The same, by the code of the reason.
    pub left_out_for: BTreeMap<&'static str, u64>,
    /// Messages that were refused, by the code of the reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Other notices about messages and bodies, by code.
    pub notices: BTreeMap<&'static str, u64>,
    /// Requests by route, call and what they were answered.
    pub requests: Vec<RequestCount>,
    /// The durations of each route's requests, including those without a route.
    pub routes: Vec<RouteState>,
    /// How long the rewriting of bodies took.
    pub rewrite_times: Times,
    /// Answers that set the cookie of a visitor's session.
    pub session_cookies: u64,
    /// Requests whose client was asked to retry later.
    pub busy: u64,
    /// Bytes that all requests hold now.
    pub held: usize,
    /// The bytes that they may hold (`limits.memory`).
    pub held_limit: usize,
    /// Lines of the log that were dropped because standard error was not read.
    pub log_dropped: u64,
    /// The connections of clients.
    pub connections: ConnectionCounts,
    /// Why no requests should come here now; empty when they should.
    pub unready: Vec<super::health::Unready>,
    /// The projects, by name.
    pub projects: Vec<ProjectState>,
    /// The counts of the spool, if there is one.
    pub spool: Option<SpoolState>,
    /// The outcome of requests that went on to a Segment account.
    pub forwarded: ForwardCounts,
    /// The certificates that listeners serve.
    pub certificates: Vec<CertificateState>,
    /// The orders of certificates by ACME.
    pub orders: CertificateOrders,
    /// The process itself, if its system provides the data.
    pub process: Option<ProcessState>,
    /// The active configuration.
    pub config: ConfigState,
}

/// A certificate that listeners serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateState {
    /// Its file.
    pub file: String,
    /// When it, or the first of its chain, ends, in seconds since 1970.
    pub expires: i64,
}

/// Orders of certificates by ACME.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CertificateOrders {
    /// Those that brought one.
    pub issued: u64,
    /// Those that failed.
    pub failed: u64,
    /// Certificates whose last attempt, by any process, has failed.
    pub failing: u64,
}

/// The active configuration, and the changes of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigState {
    /// 1 at the start, and one more with each that became active.
    pub generation: u64,
    /// How many became active after the first.
    pub applied: u64,
    /// How many were refused as a whole.
    pub refused: u64,
    /// When the last one became active, in seconds since 1970.
    pub since: u64,
    /// The last change, where it was refused; none if it became active.
    pub last_refusal: Option<ConfigRefusal>,
    /// The outline of the active configuration, if it was read from a file.
    pub outline: Option<Arc<Outline>>,
}

/// A change of the configuration that was refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigRefusal {
    /// When, in seconds since 1970.
    pub at: u64,
    /// Why.
    pub says: String,
}

/// Connections of clients to the listeners.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Open now.
    pub open: u64,
    /// As many may be open (`limits.connections`).
    pub limit: u64,
    /// Bytes that they hold while they wait, estimated by protocol.
    pub held: u64,
    /// As many they may hold.
    pub held_limit: u64,
    /// Refused because `limits.connections` were open, or held all that they may.
    pub refused_full: u64,
    /// Refused because one address had `limits.connections_per_client` open.
    pub refused_for_one_client: u64,
    /// Closed while they were idle, so that others could be taken.
    pub closed_for_room: u64,
    /// Ended because the head of a request took too long.
    pub slow_heads: u64,
    /// Ended because the handshake of TLS took too long.
    pub slow_handshakes: u64,
}

/// One project.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectState {
    /// Its name.
    pub name: String,
    /// Whether PostHog takes its batches.
    pub posthog: PostHogCondition,
    /// PostHog's answers to its batches.
    pub answers: BatchAnswers,
    /// Events that wait in the spool.
    pub waiting: u64,
    /// Their JSON in bytes.
    pub waiting_bytes: u64,
    /// How long ago the oldest of them arrived, where this process drains them.
    pub oldest: Option<Duration>,
    /// Events that PostHog rejected for good and that the spool keeps.
    pub dead_letters: u64,
    /// The connection to its PostHog.
    pub upstream: UpstreamState,
    /// Since when the spool cannot be drained, and the reason; `None` while it can.
    pub stalled: Option<Stalled>,
    /// The trouble that there is with its PostHog; none since a batch has last been taken.
    pub trouble: Option<DeliveryFailure>,
    /// The last error of its PostHog since the start, over or not.
    pub last_error: Option<LastError>,
}

impl ProjectState {
    /// A project without waiting events, and with a healthy PostHog.
    pub fn new(name: impl Into<String>, posthog: PostHogCondition, answers: BatchAnswers) -> Self {
        Self {
            name: name.into(),
            posthog,
            answers,
            waiting: 0,
            waiting_bytes: 0,
            oldest: None,
            dead_letters: 0,
            upstream: UpstreamState::default(),
            stalled: None,
            trouble: None,
            last_error: None,
        }
    }
}

/// Batches do not get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryFailure {
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// How many have not.
    pub failed: u64,
}

/// Why a batch did not get through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// When, in seconds since 1970.
    pub at: u64,
    /// The failure, and what to do.
    pub says: String,
}

/// The connection to the PostHog of a project.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UpstreamState {
    /// From sending a batch to PostHog's answer, or to giving up.
    pub times: Times,
    /// Bytes of batches that were sent.
    pub sent_bytes: u64,
    /// Connections that were opened.
    pub opened: u64,
    /// Batches that used an open connection.
    pub reused: u64,
    /// Lookups of its name that gave addresses.
    pub resolved: u64,
    /// Those that gave none.
    pub unresolved: u64,
}

/// Waiting events are not drained, and the cause is not PostHog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stalled {
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// The last message of the spool.
    pub reason: String,
}

/// The assumed state of PostHog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostHogCondition {
    /// It accepts batches, or nothing else is known.
    Available,
    /// It has failed several times in a row; what comes goes into the spool.
    Away,
}

impl PostHogCondition {
    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Away => "away",
        }
    }
}

/// Batches, by PostHog's answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchAnswers {
    /// Taken.
    pub accepted: u64,
    /// Refused for the project's key.
    pub key_refused: u64,
    /// Refused: the path, or something in the batch.
    pub refused: u64,
    /// Put off: 408, 429, 5xx.
    pub busy: u64,
    /// No answer.
    pub unreachable: u64,
}

/// The spool's counts, in events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpoolState {
    /// Made durable.
    pub appended: u64,
    /// Not stored because the same event was waiting already.
    pub deduplicated: u64,
    /// Delivered from it.
    pub replayed: u64,
    /// Moved to the dead letters.
    pub dead_lettered: u64,
    /// Dropped because they were too old.
    pub expired: u64,
    /// Dead letters dropped for lack of space.
    pub dead_letters_evicted: u64,
    /// Not kept: the spool was full or could not be written.
    pub refused: u64,
    /// Whether it takes events.
    pub writable: bool,
    /// Why it takes none, in words.
    pub trouble: Option<String>,
    /// The disk that it uses, if known.
    pub size: Option<SpoolSize>,
    /// Bytes that are free on the disk of its folder.
    pub disk_free: Option<u64>,
}

/// The bytes that a spool uses, and its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolSize {
    /// In use.
    pub used: u64,
    /// At most.
    pub limit: u64,
}

/// Requests that went on to a Segment account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ForwardCounts {
    /// Segment took them.
    pub delivered: u64,
    /// Segment rejected them for good.
    pub refused: u64,
    /// Tried too often or too old.
    pub expired: u64,
    /// The queue was full.
    pub full: u64,
    /// Not for Segment: the visitor asked not to be tracked.
    pub withheld: u64,
}
