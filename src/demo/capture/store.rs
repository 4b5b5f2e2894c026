//! The stand-in's records of the accepted requests.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::handler::Request;

use super::shape::Historical;

/// The limits of the stored events. When one is exceeded, the oldest events are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreCapacity {
    /// The most events.
    pub events: usize,
    /// The most bytes of the JSON texts of all events.
    pub bytes: usize,
}

impl Default for StoreCapacity {
    fn default() -> Self {
        Self {
            events: 10_000,
            bytes: 32 << 20,
        }
    }
}

impl StoreCapacity {
    /// No limit, for tests that count all events.
    pub const UNBOUNDED: Self = Self {
        events: usize::MAX,
        bytes: usize::MAX,
    };
}

/// One event that capture would have put into its queue.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// Its number among all events stored, from 0.
    pub number: u64,
    /// The project's token, trimmed.
    pub token: String,
    /// The name.
    pub event: String,
    /// The id as it would be stored: a string of at most 200 characters.
    pub distinct_id: String,
    /// The id of the event: the one that was sent, or a generated one.
    pub uuid: Uuid,
    /// Who generated `uuid`.
    pub uuid_origin: UuidOrigin,
    /// The `timestamp` field as it was sent.
    pub timestamp_sent: Option<String>,
    /// The time as capture computes it.
    pub timestamp: DateTime<Utc>,
    /// The properties as they were sent.
    pub properties: Map<String, Value>,
    /// `$set` of the top level.
    pub set: Option<Map<String, Value>>,
    /// `$set_once` of the top level.
    pub set_once: Option<Map<String, Value>>,
    /// The JSON text of the event, byte for byte as it was sent.
    pub raw: String,
    /// The request that contained it.
    pub request: Arc<RequestFacts>,
}

/// Who generated an event's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UuidOrigin {
    /// The sender: a second delivery of the event has the same id.
    Sender,
    /// Capture: a second delivery gets another id, so the event would count twice.
    Capture,
}

/// The facts about a request whose events were stored.
#[derive(Debug, Clone)]
pub struct RequestFacts {
    /// Its number among all requests, from 0.
    pub number: u64,
    /// The method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// The query, not decoded.
    pub query: Option<String>,
    /// All headers as they arrived.
    pub headers: HeaderMap,
    /// The size of the body on the wire, before its content coding is removed, in bytes.
    pub body_bytes: usize,
    /// The peer of the connection.
    pub peer: Option<SocketAddr>,
    /// When it arrived.
    pub at: DateTime<Utc>,
    /// The envelope's `sent_at` as it was sent.
    pub sent_at: Option<String>,
    /// Whether the envelope marks the events as an import of old events.
    pub historical: Historical,
    /// How many of its events were stored.
    pub events: usize,
}

impl RequestFacts {
    /// Collects the facts from the request itself, without its envelope.
    pub(super) fn of(request: &Request, number: u64, at: DateTime<Utc>) -> Self {
        Self {
            number,
            method: request.method.clone(),
            path: request.path.clone(),
            query: request.query.clone(),
            headers: request.headers.clone(),
            body_bytes: request.body.len(),
            peer: request.peer,
            at,
            sent_at: None,
            historical: Historical::No,
            events: 0,
        }
    }
}

/// A request that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRequest {
    /// Its number among all requests, from 0.
    pub number: u64,
    /// The path, without the query.
    pub path: String,
    /// The status it was answered with.
    pub status: StatusCode,
    /// The text it was answered with.
    pub reason: String,
}

/// How many refusals are stored.
const REFUSALS: usize = 100;

#[derive(Debug)]
pub(super) struct EventStore {
    capacity: StoreCapacity,
    records: Mutex<StoredRecords>,
}

#[derive(Debug, Default)]
struct StoredRecords {
    requests: u64,
    accepted: u64,
    stored: u64,
    bytes: usize,
    events: VecDeque<Arc<StoredEvent>>,
    refusals: VecDeque<RefusedRequest>,
}

impl EventStore {
    pub(super) fn new(capacity: StoreCapacity) -> Self {
        Self {
            capacity,
            records: Mutex::default(),
        }
    }

    fn records(&self) -> MutexGuard<'_, StoredRecords> {
        // The data is still valid after a panic, because each event is added in one step.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request and returns its number.
    pub(super) fn arrived(&self) -> u64 {
        let mut records = self.records();
        records.requests += 1;
        records.requests - 1
    }

    /// Stores all events of one request.
    pub(super) fn accept(&self, events: Vec<StoredEvent>) {
        let mut records = self.records();
        records.accepted += 1;
        for mut event in events {
            event.number = records.stored;
            records.stored += 1;
            records.bytes = records.bytes.saturating_add(event.raw.len());
            records.events.push_back(Arc::new(event));
        }
        while records.events.len() > self.capacity.events || records.bytes > self.capacity.bytes {
            match records.events.pop_front() {
                Some(oldest) => records.bytes = records.bytes.saturating_sub(oldest.raw.len()),
                None => break,
            }
        }
    }

    pub(super) fn refuse(&self, refused: RefusedRequest) {
        let mut records = self.records();
        if records.refusals.len() == REFUSALS {
            records.refusals.pop_front();
        }
        records.refusals.push_back(refused);
    }

    pub(super) fn since(&self, number: u64) -> Vec<Arc<StoredEvent>> {
        let records = self.records();
        let from = records
            .events
            .partition_point(|event| event.number < number);
        records.events.iter().skip(from).cloned().collect()
    }

    pub(super) fn refusals(&self) -> Vec<RefusedRequest> {
        self.records().refusals.iter().cloned().collect()
    }

    pub(super) fn requests(&self) -> u64 {
        self.records().requests
    }

    pub(super) fn accepted(&self) -> u64 {
        self.records().accepted
    }

    pub(super) fn stored(&self) -> u64 {
        self.records().stored
    }

    pub(super) fn clear(&self) {
        let mut records = self.records();
        records.events.clear();
        records.refusals.clear();
        records.bytes = 0;
    }
}
