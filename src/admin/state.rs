//! The data of the admin page, as plain values.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::outline::Outline;
use super::process::ProcessState;
use super::requests::{RequestCount, RouteState};
use super::times::Times;

/// The state of the proxy at one moment. All totals count since the start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProxyState {
    /// Messages that became events.
    pub events: u64,
    /// Messages that were dropped on purpose.
    pub left_out: u64,
    /// Messages that were dropped on purpose, by the code of the reason.
    pub left_out_for: BTreeMap<&'static str, u64>,
    /// Messages that were refused, by the code of the reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Other notices about messages and bodies, by code.
    pub notices: BTreeMap<&'static str, u64>,
    /// Requests, by route, call and answer.
    pub requests: Vec<RequestCount>,
    /// The durations and received bytes of each route's requests, and of requests without a route.
    pub routes: Vec<RouteState>,
    /// The times that the rewriting of bodies took.
    pub rewrite_times: Times,
    /// Answers that set the cookie of a visitor's session.
    pub session_cookies: u64,
    /// Requests whose client was told to retry later.
    pub busy: u64,
    /// Bytes that all requests hold now.
    pub held: usize,
    /// The bytes that they may hold (`limits.memory`).
    pub held_limit: usize,
    /// Lines of the log that were dropped because standard error was not read.
    pub log_dropped: u64,
    /// The connections of clients.
    pub connections: ConnectionCounts,
    /// The reasons why the process should get no requests now; empty if it should get them.
    pub unready: Vec<super::health::Unready>,
    /// The projects.
    pub projects: Vec<ProjectState>,
    /// The counts of the spool, if there is one.
    pub spool: Option<SpoolState>,
    /// The outcomes of requests that are forwarded to a Segment account.
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
    /// The time at which the certificate, or the first of its chain, expires, in seconds since 1970.
    pub expires: i64,
}

/// Orders of certificates by ACME.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CertificateOrders {
    /// Orders for which a certificate was issued.
    pub issued: u64,
    /// Orders that failed.
    pub failed: u64,
    /// Certificates whose last order, by any process, has failed.
    pub failing: u64,
}

/// The active configuration, and the changes of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigState {
    /// The number of the active configuration: 1 at the start, one more with each change.
    pub generation: u64,
    /// The number of changes that became active.
    pub applied: u64,
    /// The number of changes that were refused as a whole.
    pub refused: u64,
    /// The time at which the active configuration became active, in seconds since 1970.
    pub since: u64,
    /// The last change if it was refused; `None` if it became active.
    pub last_refusal: Option<ConfigRefusal>,
    /// The outline of the active configuration, if it was read from a file.
    pub outline: Option<Arc<Outline>>,
}

/// A change of the configuration that was refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigRefusal {
    /// The time of the refusal, in seconds since 1970.
    pub at: u64,
    /// The reason.
    pub says: String,
}

/// Connections of clients to the listeners.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Connections that are open now.
    pub open: u64,
    /// The maximum number of open connections (`limits.connections`).
    pub limit: u64,
    /// Memory of idle connections, in bytes, estimated by protocol.
    pub held: u64,
    /// The maximum of that memory, in bytes.
    pub held_limit: u64,
    /// Connections refused because `limit` or `held_limit` was reached.
    pub refused_full: u64,
    /// Connections refused because their address had `limits.connections_per_client` open.
    pub refused_for_one_client: u64,
    /// Idle connections that were closed to accept new ones.
    pub closed_for_room: u64,
    /// Connections closed because the head of a request took too long.
    pub slow_heads: u64,
    /// Connections closed because the TLS handshake took too long.
    pub slow_handshakes: u64,
}

/// The state of one project.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectState {
    /// Its name.
    pub name: String,
    /// Whether PostHog accepts its batches.
    pub posthog: PostHogCondition,
    /// PostHog's answers to its batches.
    pub answers: BatchAnswers,
    /// Events that wait in the spool.
    pub waiting: u64,
    /// The JSON of the waiting events, in bytes.
    pub waiting_bytes: u64,
    /// The age of the oldest waiting event; `None` if no event waits or this process does not drain the
    /// spool.
    pub oldest: Option<Duration>,
    /// Events that PostHog rejected for good and that the spool stores as dead letters.
    pub dead_letters: u64,
    /// The connection to its PostHog.
    pub upstream: UpstreamState,
    /// The time since when the spool cannot be drained, and the reason; `None` while it can.
    pub stalled: Option<StalledSpool>,
    /// The current failure of the delivery to PostHog; `None` after PostHog has accepted a batch.
    pub trouble: Option<DeliveryFailure>,
    /// The last error of the delivery to PostHog since the start, even if it is over.
    pub last_error: Option<LastError>,
}

impl ProjectState {
    /// Creates the state of a project without waiting events and without errors.
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

/// A continuing failure to deliver batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryFailure {
    /// The time of the first failure, in seconds since 1970.
    pub since: u64,
    /// The number of batches that have failed since then.
    pub failed: u64,
}

/// The reason why a batch was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// The time of the error, in seconds since 1970.
    pub at: u64,
    /// The error, and what to do.
    pub says: String,
}

/// The connection to the PostHog of a project.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UpstreamState {
    /// The times from sending a batch to PostHog's answer, or to the time limit.
    pub times: Times,
    /// Bytes of batches that were sent.
    pub sent_bytes: u64,
    /// Connections that were opened.
    pub opened: u64,
    /// Batches that used an open connection.
    pub reused: u64,
    /// DNS lookups of the host that returned addresses.
    pub resolved: u64,
    /// DNS lookups of the host that failed.
    pub unresolved: u64,
}

/// A spool that cannot be drained, and not because of PostHog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StalledSpool {
    /// The time since when the spool cannot be drained, in seconds since 1970.
    pub since: u64,
    /// The last error message of the spool.
    pub reason: String,
}

/// The assumed state of PostHog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostHogCondition {
    /// PostHog accepts batches, or its state is not known.
    Available,
    /// PostHog has failed several times in a row. New events are stored in the spool, if there is one.
    Away,
}

impl PostHogCondition {
    /// Returns the name of the condition.
    pub fn word(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Away => "away",
        }
    }
}

/// The number of batches, by PostHog's answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchAnswers {
    /// Accepted.
    pub accepted: u64,
    /// Refused because of the project's key.
    pub key_refused: u64,
    /// Refused because of the path or the content of the batch.
    pub refused: u64,
    /// Answered with 408, 429 or 5xx; a retry may succeed.
    pub busy: u64,
    /// Not answered.
    pub unreachable: u64,
}

/// The spool's counts, in events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpoolState {
    /// Stored durably.
    pub appended: u64,
    /// Not stored because the same event was waiting already.
    pub deduplicated: u64,
    /// Delivered from the spool.
    pub replayed: u64,
    /// Moved to the dead letters.
    pub dead_lettered: u64,
    /// Dropped because they were too old.
    pub expired: u64,
    /// Dead letters dropped because of lack of space.
    pub dead_letters_evicted: u64,
    /// Not stored because the spool was full or could not be written.
    pub refused: u64,
    /// Whether the spool accepts events.
    pub writable: bool,
    /// The reason why the spool accepts no events, as text.
    pub trouble: Option<String>,
    /// The bytes that the spool uses, if known.
    pub size: Option<SpoolSize>,
    /// The free bytes on the disk of the spool's folder, if known.
    pub disk_free: Option<u64>,
}

/// The bytes that a spool uses, and its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolSize {
    /// The bytes in use.
    pub used: u64,
    /// The maximum number of bytes.
    pub limit: u64,
}

/// The number of requests for a Segment account, by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ForwardCounts {
    /// Segment accepted the request.
    pub delivered: u64,
    /// Segment rejected the request for good.
    pub refused: u64,
    /// The request was retried too often or became too old.
    pub expired: u64,
    /// The queue was full.
    pub full: u64,
    /// The request was not sent, because the visitor asked not to be tracked.
    pub withheld: u64,
}
