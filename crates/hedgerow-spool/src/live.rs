//! Chooses whether a live batch is sent straight to PostHog or stored in the spool.
//!
//! One rule keeps each person's events in order: while events of a project wait in the spool, the
//! proxy appends all new events of the project to the spool. The rule applies to the whole project and
//! not per `distinct_id`, because `$identify` and `$create_alias` join ids. If two ids turn out to
//! be one person, the order of their events cannot be repaired later (posthog-ingestion 4.3).

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::breaker::{Admission, Breaker, BreakerSettings, BreakerState};
use crate::by_project::ByProject;
use crate::drain_state::{DrainState, Draining};
use crate::error::SpoolError;
use crate::event::SpooledEvent;
use crate::store::{FinalBatch, Gauge, Store};
use crate::upstream::Verdict;

/// When the proxy acknowledges a project's events to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeliveryMode {
    /// When PostHog has accepted them. The proxy uses the spool only when it cannot send them to PostHog.
    #[default]
    Stream,
    /// As for `Stream`, but the proxy sends requests that arrive within a moment to PostHog together.
    Group,
    /// When the spool has stored them durably. The replay sends them to PostHog a moment later, in larger
    /// batches.
    Spool,
}

/// Where a batch is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchRoute {
    /// To PostHog now. The caller must report the verdict with [`ProjectDelivery::report`].
    Stream,
    /// Into the spool, with [`ProjectDelivery::keep`].
    Spool,
}

/// The delivery state of all projects, which the live requests and the replay share.
pub struct Delivery {
    store: Arc<dyn Store>,
    breaker: BreakerSettings,
    hold: Duration,
    projects: ByProject<ProjectDelivery>,
}

/// The delivery state of one project. Clones share their state. Store a clone with the compiled
/// configuration, so that a request needs no look-up.
#[derive(Clone)]
pub struct ProjectDelivery {
    inner: Arc<ProjectDeliveryInner>,
}

struct ProjectDeliveryInner {
    name: String,
    store: Arc<dyn Store>,
    gauge: Arc<Gauge>,
    breaker: Breaker,
    hold: Duration,
    spool_mode: AtomicBool,
    refused_in_row: AtomicU32,
    drain_state: DrainState,
}

/// The state of a project, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectStatus {
    /// The name of the project.
    pub project: String,
    /// The number of events that wait in the spool.
    pub events: u64,
    /// The size of the waiting events' JSON, in bytes.
    pub bytes: u64,
    /// When the oldest waiting event arrived. Known only if this process drains the project.
    pub oldest: Option<SystemTime>,
    /// The number of events that PostHog rejected for good and that the spool keeps.
    pub dead_letters: u64,
    /// Whether the breaker assumes that PostHog is reachable.
    pub breaker: BreakerState,
    /// Whether the spool can be drained.
    pub draining: Draining,
}

impl Delivery {
    /// Creates the delivery state for this spool. While a replay sends its last request, a live batch
    /// waits at most for `hold`; then the batch goes into the spool.
    pub fn new(store: Arc<dyn Store>, breaker: BreakerSettings, hold: Duration) -> Self {
        Self {
            store,
            breaker,
            hold,
            projects: ByProject::default(),
        }
    }

    /// Returns the delivery state of a project.
    pub fn project(&self, name: &str) -> ProjectDelivery {
        self.projects.of(name, || ProjectDelivery {
            inner: Arc::new(ProjectDeliveryInner {
                name: name.to_owned(),
                store: Arc::clone(&self.store),
                gauge: self.store.gauges().of(name),
                breaker: Breaker::new(self.breaker),
                hold: self.hold,
                spool_mode: AtomicBool::new(false),
                refused_in_row: AtomicU32::new(0),
                drain_state: DrainState::default(),
            }),
        })
    }

    /// Returns the spool.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Returns the state of every project that this process has used, sorted by name.
    pub fn status(&self) -> Vec<ProjectStatus> {
        let projects = self.projects.all().into_iter();
        projects
            .map(|(name, ProjectDelivery { inner })| ProjectStatus {
                project: name,
                events: inner.gauge.events(),
                bytes: inner.gauge.bytes(),
                oldest: inner.gauge.oldest(),
                dead_letters: inner.gauge.dead_letters(),
                breaker: inner.breaker.condition(),
                draining: match inner.gauge.events() {
                    0 => Draining::Normal,
                    _ => inner.drain_state.draining(),
                },
            })
            .collect()
    }
}

impl ProjectDelivery {
    /// Sets when the proxy acknowledges this project's events. The next batch is the first to use the mode.
    pub fn set_mode(&self, mode: DeliveryMode) {
        self.inner
            .spool_mode
            .store(mode == DeliveryMode::Spool, Ordering::Relaxed);
    }

    /// Returns when the proxy acknowledges this project's events. For [`DeliveryMode::Group`] this is
    /// [`DeliveryMode::Stream`].
    pub fn mode(&self) -> DeliveryMode {
        if self.inner.spool_mode.load(Ordering::Relaxed) {
            DeliveryMode::Spool
        } else {
            DeliveryMode::Stream
        }
    }

    /// Chooses the route of the next batch. Returns at once, except while the replay is sending its
    /// last request: then it waits until that request ends, at most for the `hold` of [`Delivery::new`].
    pub async fn admit(&self) -> BatchRoute {
        if self.mode() == DeliveryMode::Spool {
            return BatchRoute::Spool;
        }
        let gauge = &self.inner.gauge;
        if gauge.events() > 0 {
            let final_batch = gauge.wait_for_final_batch(self.inner.hold).await;
            if final_batch == FinalBatch::InFlight || gauge.events() > 0 {
                return BatchRoute::Spool;
            }
        }
        match self.inner.breaker.admit(Instant::now()) {
            // A probe also streams: with an empty spool, no replay would notice that PostHog is back.
            Admission::Go | Admission::Probe => BatchRoute::Stream,
            Admission::Wait(_) => BatchRoute::Spool,
        }
    }

    /// Returns the route that the next batch will probably take, so that its writer can prepare for it.
    /// Does not wait; [`admit`](Self::admit) may choose another route.
    pub fn likely_route(&self) -> BatchRoute {
        let inner = &self.inner;
        let streams = self.mode() != DeliveryMode::Spool
            && inner.gauge.events() == 0
            && inner.breaker.condition() == BreakerState::Closed;
        match streams {
            true => BatchRoute::Stream,
            false => BatchRoute::Spool,
        }
    }

    /// Reports PostHog's verdict on a batch whose route was [`BatchRoute::Stream`].
    pub fn report(&self, verdict: &Verdict) {
        match verdict {
            // A rejection also shows that PostHog is reachable.
            Verdict::Accepted | Verdict::RefusedForGood(_) => self.inner.breaker.accepted(),
            Verdict::TryLater { retry_after, .. } => {
                self.inner
                    .breaker
                    .failed(Instant::now(), *retry_after, jitter());
            }
        }
    }

    /// Stores events in the spool. After `Ok` they are durable, and the proxy may answer the client
    /// with 200.
    ///
    /// # Errors
    /// Those of [`Store::append`]: the client has to send the events again later.
    pub async fn keep(&self, events: Vec<SpooledEvent>) -> Result<(), SpoolError> {
        self.inner.store.append(&self.inner.name, events).await
    }

    /// Returns whether the breaker assumes that PostHog is reachable.
    pub fn condition(&self) -> BreakerState {
        self.inner.breaker.condition()
    }

    pub(super) fn name(&self) -> &str {
        &self.inner.name
    }

    pub(super) fn gauge(&self) -> &Gauge {
        &self.inner.gauge
    }

    pub(super) fn breaker(&self) -> &Breaker {
        &self.inner.breaker
    }

    /// Counts an event that PostHog refused, and returns how many it has refused without accepting one in
    /// between.
    pub(super) fn refused(&self) -> u32 {
        self.inner.refused_in_row.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Records that a spool operation of the drain failed.
    pub(super) fn drain_failed(&self, error: &SpoolError) {
        let inner = &self.inner;
        inner.drain_state.failed(&inner.name, error, Instant::now());
    }

    /// Records that the spool operations of the drain succeeded.
    pub(super) fn drain_succeeded(&self) {
        self.inner.drain_state.end(&self.inner.name, Instant::now());
    }

    pub(super) fn not_refused(&self) {
        self.inner.refused_in_row.store(0, Ordering::Relaxed);
    }
}

/// Returns a random byte, or 128 if the system has no source of randomness.
pub(super) fn jitter() -> u8 {
    let mut byte = [128];
    let _ = getrandom::fill(&mut byte);
    let [byte] = byte;
    byte
}
