//! Which way a live batch goes: straight to PostHog, or into the spool.
//!
//! The rule that keeps everyone's events in order: while anything of a project waits in the spool,
//! all that arrives for it goes behind it into the spool. It holds for the whole project and not
//! per `distinct_id`, because `$identify` and `$create_alias` join ids, and an order between two
//! ids that turn out to be one person cannot be repaired later (posthog-ingestion 4.3).

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

/// When a project's events are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeliveryMode {
    /// When PostHog has them; the spool is used on trouble only.
    #[default]
    Stream,
    /// The same, where the requests that come within a moment go to PostHog together.
    Group,
    /// When they are durable; they go to PostHog a moment later, in larger batches.
    Spool,
}

/// Which way a batch goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchRoute {
    /// To PostHog now. The verdict has to be reported with [`ProjectDelivery::report`].
    Stream,
    /// Into the spool, with [`ProjectDelivery::keep`].
    Spool,
}

/// Delivery of all projects: the live side and the replay share it.
pub struct Delivery {
    store: Arc<dyn Store>,
    breaker: BreakerSettings,
    hold: Duration,
    projects: ByProject<ProjectDelivery>,
}

/// Delivery of one project. Clones share their state; keep one with the compiled configuration, so
/// that a request costs no look-up.
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

/// The state of a project for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectStatus {
    /// Its name.
    pub project: String,
    /// Events that wait.
    pub events: u64,
    /// Their JSON in bytes.
    pub bytes: u64,
    /// When the oldest of them arrived, where this process drains them.
    pub oldest: Option<SystemTime>,
    /// Events that PostHog rejected for good and that the spool keeps.
    pub dead_letters: u64,
    /// Whether PostHog is believed to be there.
    pub breaker: BreakerState,
    /// Whether the spool can be drained.
    pub draining: Draining,
}

impl Delivery {
    /// Delivery with this spool. `hold` is how long a live batch waits for the end of a replay
    /// that is sending its last request, before it goes into the spool instead.
    pub fn new(store: Arc<dyn Store>, breaker: BreakerSettings, hold: Duration) -> Self {
        Self {
            store,
            breaker,
            hold,
            projects: ByProject::default(),
        }
    }

    /// Delivery of a project.
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

    /// The spool.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Every project that was ever used, by name.
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
    /// Sets when this project's events are acknowledged; from the next batch on.
    pub fn set_mode(&self, mode: DeliveryMode) {
        self.inner
            .spool_mode
            .store(mode == DeliveryMode::Spool, Ordering::Relaxed);
    }

    /// When this project's events are acknowledged: [`DeliveryMode::Spool`], or [`DeliveryMode::Stream`] also for
    /// requests that go together.
    pub fn mode(&self) -> DeliveryMode {
        if self.inner.spool_mode.load(Ordering::Relaxed) {
            DeliveryMode::Spool
        } else {
            DeliveryMode::Stream
        }
    }

    /// Chooses the route of the next batch. Returns at once, except while the replay is sending its
    /// last request: then it waits for that, at most for the time given to [`Delivery::new`].
    pub async fn admit(&self) -> BatchRoute {
        if self.mode() == DeliveryMode::Spool {
            return BatchRoute::Spool;
        }
        let gauge = &self.inner.gauge;
        if gauge.events() > 0 {
            let last = gauge.wait_for_final_batch(self.inner.hold).await;
            if last == FinalBatch::InFlight || gauge.events() > 0 {
                return BatchRoute::Spool;
            }
        }
        match self.inner.breaker.admit(Instant::now()) {
            // With nothing in the spool no replay would notice that PostHog is back.
            Admission::Go | Admission::Probe => BatchRoute::Stream,
            Admission::Wait(_) => BatchRoute::Spool,
        }
    }

    /// The way that the next batch will probably go, for its writer to prepare for. Waits for
    /// nothing, and promises nothing.
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

    /// Reports the outcome of a batch that was admitted to stream.
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

    /// Stores events; when this returns `Ok`, they are durable and the client may get its 200.
    ///
    /// # Errors
    /// Those of [`Store::append`]: the client has to come back later.
    pub async fn keep(&self, events: Vec<SpooledEvent>) -> Result<(), SpoolError> {
        self.inner.store.append(&self.inner.name, events).await
    }

    /// Whether PostHog is believed to be there.
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

    /// Counts events that PostHog refused one after the other, none accepted between them.
    pub(super) fn refused(&self) -> u32 {
        self.inner.refused_in_row.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The spool could not do its part of the draining.
    pub(super) fn drain_failed(&self, error: &SpoolError) {
        let inner = &self.inner;
        inner.drain_state.failed(&inner.name, error, Instant::now());
    }

    /// The spool has done its part.
    pub(super) fn drain_succeeded(&self) {
        self.inner.drain_state.end(&self.inner.name, Instant::now());
    }

    pub(super) fn not_refused(&self) {
        self.inner.refused_in_row.store(0, Ordering::Relaxed);
    }
}

/// A random byte; without a source of randomness the middle.
pub(super) fn jitter() -> u8 {
    let mut byte = [128];
    let _ = getrandom::fill(&mut byte);
    let [byte] = byte;
    byte
}
