//! The stand-in itself: its events, its clock and the failure that it causes on purpose.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use http::StatusCode;
use uuid::Uuid;

use super::store::{EventStore, RefusedRequest, StoreCapacity, StoredEvent};
use crate::handler::Request;

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
    pub(super) store: EventStore,
    fault: Mutex<(InjectedFault, Option<u64>)>,
    minted: AtomicU64,
}

impl Capture {
    /// Creates an empty stand-in with this clock and this capacity.
    pub fn new(clock: CaptureClock, capacity: StoreCapacity) -> Self {
        Self {
            clock,
            store: EventStore::new(capacity),
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

    pub(super) fn next_fault(&self) -> InjectedFault {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut fault.1 {
            None => fault.0.clone(),
            Some(0) => InjectedFault::None,
            Some(remaining) => {
                *remaining -= 1;
                fault.0.clone()
            }
        }
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    pub(super) fn next_uuid(&self, time: DateTime<Utc>) -> Uuid {
        let millis = time.timestamp_millis().max(0).unsigned_abs();
        // A counter instead of random bits: the ids are unique among those of this stand-in.
        let mut counted = [0; 10];
        let count = self.minted.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        for (to, from) in counted.iter_mut().rev().zip(count.iter().rev()) {
            *to = *from;
        }
        uuid::Builder::from_unix_timestamp_millis(millis, &counted).into_uuid()
    }

    pub(super) fn refused(&self, number: u64, request: &Request, status: StatusCode, reason: &str) {
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
