//! The stand-in for PostHog's capture service: it checks requests, answers them, and stores events in
//! memory.
//!
//! It reads requests with strict serde types, as capture does. It shares no code with Hedgerow's own
//! rewriting; otherwise a mistake in shared code would look right in the tests. Source of the rules:
//! posthog-ingestion, sections 1 to 3 and 5.
//!
//! It does not implement session replay (`/s`), flags, remote config, the AI and OTLP endpoints,
//! quotas, the check of tokens against real projects, brotli and zstd on v1, and everything after
//! the queue (persons, groups, sessions). It stores a request completely or not at all; the real
//! queue may store the first events of a batch that it rejects with 413.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use http::header::{HeaderName, HeaderValue};
use http::{header, Method, StatusCode};

use crate::handler::{Handler, Request, Response};

mod lz;
mod payload;
mod query;
mod refusal;
mod shape;
mod store;
mod time;
mod v0;
mod v1;

pub use refusal::{CaptureRefusal, TokenFault};
pub use shape::Historical;
pub use store::{RefusedRequest, RequestFacts, StoreCapacity, StoredEvent, UuidOrigin};
pub use uuid::Uuid;

/// Returns the current time.
pub type CaptureClock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// A failure that the stand-in causes on purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum InjectedFault {
    /// No failure.
    #[default]
    None,
    /// The stand-in answers every request with this status without reading it. The second field is
    /// `Retry-After` in seconds.
    Status(StatusCode, Option<u32>),
    /// The stand-in stores the events, but answers with this status. For the sender this is like a lost
    /// answer. The second field is `Retry-After` in seconds.
    StoredThen(StatusCode, Option<u32>),
    /// The stand-in refuses a request that contains an event of this name with 400.
    Poison(String),
}

/// The stand-in for capture, in memory.
pub struct Capture {
    clock: CaptureClock,
    store: store::EventStore,
    fault: Mutex<(InjectedFault, Option<u64>)>,
    minted: AtomicU64,
}

impl Capture {
    /// Creates an empty stand-in with this clock and this capacity.
    pub fn new(clock: CaptureClock, capacity: StoreCapacity) -> Self {
        Self {
            clock,
            store: store::EventStore::new(capacity),
            fault: Mutex::default(),
            minted: AtomicU64::new(0),
        }
    }

    /// Returns all stored events, oldest first.
    pub fn events(&self) -> Vec<Arc<StoredEvent>> {
        self.store.since(0)
    }

    /// Returns the stored events from this number on, oldest first.
    pub fn since(&self, number: u64) -> Vec<Arc<StoredEvent>> {
        self.store.since(number)
    }

    /// Returns how many events were stored in total, including those that were dropped since.
    pub fn stored(&self) -> u64 {
        self.store.stored()
    }

    /// Returns the number of requests to the events endpoints, accepted or not, without preflights.
    pub fn requests(&self) -> u64 {
        self.store.requests()
    }

    /// Returns the number of accepted requests.
    pub fn accepted(&self) -> u64 {
        self.store.accepted()
    }

    /// Returns the last hundred refusals, oldest first, including those that an [`InjectedFault`] caused.
    pub fn refusals(&self) -> Vec<RefusedRequest> {
        self.store.refusals()
    }

    /// Deletes the events and refusals, but keeps the counts.
    pub fn clear(&self) {
        self.store.clear();
    }

    /// Causes this failure from now on.
    pub fn set_fault(&self, fault: InjectedFault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = (fault, None);
    }

    /// Returns the failure that was set last.
    pub fn fault(&self) -> InjectedFault {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.0.clone()
    }

    /// Causes this failure for the next `requests` requests, then none.
    pub fn set_fault_for(&self, fault: InjectedFault, requests: u64) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = (fault, Some(requests));
    }

    fn next_fault(&self) -> InjectedFault {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut fault.1 {
            None => fault.0.clone(),
            Some(0) => InjectedFault::None,
            Some(left) => {
                *left -= 1;
                fault.0.clone()
            }
        }
    }

    fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    fn next_uuid(&self, time: DateTime<Utc>) -> Uuid {
        let millis = time.timestamp_millis().max(0).unsigned_abs();
        // A counter instead of random bits: the ids are unique among those of this stand-in.
        let mut counted = [0; 10];
        let count = self.minted.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        for (to, from) in counted.iter_mut().rev().zip(count.iter().rev()) {
            *to = *from;
        }
        uuid::Builder::from_unix_timestamp_millis(millis, &counted).into_uuid()
    }

    fn take(&self, request: &Request, version: Version) -> Response {
        let number = self.store.arrived();
        let fault = self.next_fault();
        if let InjectedFault::Status(status, retry_after) = fault {
            self.refused(number, request, status, FAULT_TEXT);
            return trouble(status, retry_after);
        }
        let poison = match &fault {
            InjectedFault::Poison(name) => Some(name.as_str()),
            _ => None,
        };
        let answer = match version {
            Version::V0 => self.take_v0(request, number, poison),
            Version::V1 => self.take_v1(request, number, poison),
        };
        match fault {
            InjectedFault::StoredThen(status, retry_after) => {
                self.refused(number, request, status, FAULT_TEXT);
                trouble(status, retry_after)
            }
            _ => {
                if !answer.status.is_success() {
                    let reason = String::from_utf8_lossy(&answer.body);
                    self.refused(number, request, answer.status, &reason);
                }
                answer
            }
        }
    }

    fn refused(&self, number: u64, request: &Request, status: StatusCode, reason: &str) {
        self.store.refuse(RefusedRequest {
            number,
            path: request.path.clone(),
            status,
            reason: reason.to_owned(),
        });
    }
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Events contain personal data, so the output shows only their number.
        formatter
            .debug_struct("Capture")
            .field("requests", &self.requests())
            .field("stored", &self.stored())
            .finish_non_exhaustive()
    }
}

const FAULT_TEXT: &str = "trouble made on purpose";

fn trouble(status: StatusCode, retry_after: Option<u32>) -> Response {
    let answer = Response::new(status, "text/plain; charset=utf-8", FAULT_TEXT);
    match retry_after {
        Some(seconds) => answer.with(header::RETRY_AFTER, HeaderValue::from(seconds)),
        None => answer,
    }
}

#[derive(Clone, Copy)]
enum Version {
    V0,
    V1,
}

/// Returns the version of an events endpoint (posthog-ingestion 1.1). A slash at the end does not matter.
fn endpoint(path: &str) -> Option<Version> {
    match path.strip_suffix('/').unwrap_or(path) {
        "/i/v0/e" | "/e" | "/capture" | "/track" | "/engage" | "/batch" => Some(Version::V0),
        "/i/v1/analytics/events" => Some(Version::V1),
        _ => None,
    }
}

impl Handler for Capture {
    fn handle(&self, request: &Request) -> Response {
        let endpoint = endpoint(&request.path);
        let methods = match endpoint {
            Some(Version::V1) => "POST,OPTIONS",
            _ => "GET,POST,OPTIONS",
        };
        if request.method == Method::OPTIONS {
            return preflight(request, methods);
        }
        let answer = match (endpoint, &request.method) {
            (None, _) => Response::empty(StatusCode::NOT_FOUND),
            (Some(version), &Method::POST) => self.take(request, version),
            (Some(Version::V0), &Method::GET) => self.take(request, Version::V0),
            (Some(_), _) => Response::empty(StatusCode::METHOD_NOT_ALLOWED)
                .with(header::ALLOW, HeaderValue::from_static(methods)),
        };
        with_cors(request, answer)
    }
}

/// Adds the CORS headers: they allow the request's origin, whatever it is, to send cookies
/// (posthog-ingestion 1.9).
fn with_cors(request: &Request, mut answer: Response) -> Response {
    mirror(
        request,
        &mut answer,
        &header::ORIGIN,
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
    );
    answer
        .with(
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        )
        .with(
            header::VARY,
            HeaderValue::from_static(
                "origin, access-control-request-method, access-control-request-headers",
            ),
        )
}

fn preflight(request: &Request, methods: &'static str) -> Response {
    let mut answer = Response::empty(StatusCode::OK).with(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static(methods),
    );
    mirror(
        request,
        &mut answer,
        &header::ACCESS_CONTROL_REQUEST_HEADERS,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
    );
    with_cors(request, answer)
}

fn mirror(request: &Request, answer: &mut Response, from: &HeaderName, to: HeaderName) {
    if let Some(value) = request.headers.get(from) {
        answer.headers.insert(to, value.clone());
    }
}

#[cfg(test)]
mod tests;
