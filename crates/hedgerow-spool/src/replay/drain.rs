//! Sends one project's events from the spool to PostHog.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use flate2::write::GzEncoder;
use flate2::Compression;
use hedgerow_rewrite::posthog::{Batch, Envelope};
use tokio::sync::{watch, Semaphore};

use super::settings::{ReplaySettings, RunState};
use crate::blocking::run_blocking;
use crate::breaker::{Admission, BreakerState};
use crate::error::SpoolError;
use crate::halving::{Halving, RefusedPart};
use crate::live::{jitter, DeliveryMode, ProjectDelivery};
use crate::rate_limit::RateLimit;
use crate::store::{FinalBatch, Lead, PeekLimit, QueuedEvent, Rest, Store};
use crate::upstream::{Encoding, OutgoingBatch, Upstream, Verdict};

/// How long a drain waits after it could not read or write the spool.
const SPOOL_PAUSE: Duration = Duration::from_secs(1);

/// The drain does not reduce the size limit of a batch below this, in bytes. If PostHog answers a smaller
/// batch with 413, the event is the cause.
const LEAST_BATCH: usize = 64 << 10;

/// How long a process that does not lead waits before it checks again whether it leads.
const LOOK: Duration = Duration::from_millis(500);

/// Batches up to this size, in bytes, are compressed where they are sent: that takes less than to start a
/// thread.
const SMALL_BATCH: usize = 8 << 10;

/// The most batches that are compressed at once, for all projects together.
static COMPRESSING: Semaphore = Semaphore::const_new(8);

pub(super) struct ProjectDrain {
    project: ProjectDelivery,
    store: Arc<dyn Store>,
    upstream: Arc<dyn Upstream>,
    settings: ReplaySettings,
    state: watch::Receiver<RunState>,
    rate_limit: RateLimit,
    /// The size of the largest batch that PostHog accepts, in bytes, as far as it is known.
    max_batch_bytes: usize,
    /// The size limit of the next batch, in bytes. A failure reduces it to half of the failed batch, and
    /// each success doubles it.
    batch_bytes: usize,
    final_batch: FinalBatch,
}

/// The result of a delivery.
#[derive(PartialEq, Eq)]
enum DrainOutcome {
    /// All of the batch's events have left the spool.
    Through,
    /// Some of the batch's events are still in the spool.
    Stuck,
}

/// Whether the drain continues.
#[derive(PartialEq, Eq)]
enum DrainStep {
    Next,
    /// No event waits, another process leads, or the drain cannot continue now.
    Done,
}

impl ProjectDrain {
    pub(super) fn new(
        project: ProjectDelivery,
        store: Arc<dyn Store>,
        upstream: Arc<dyn Upstream>,
        settings: ReplaySettings,
        state: watch::Receiver<RunState>,
    ) -> Self {
        Self {
            project,
            store,
            upstream,
            settings,
            state,
            rate_limit: RateLimit::new(settings.events_per_second, Instant::now()),
            max_batch_bytes: settings.batch_bytes,
            batch_bytes: settings.batch_bytes,
            final_batch: FinalBatch::None,
        }
    }

    pub(super) async fn run(mut self) {
        while self.is_running() && self.step().await == DrainStep::Next {}
        self.project.gauge().set_final_batch(FinalBatch::None);
    }

    fn is_running(&self) -> bool {
        *self.state.borrow() == RunState::Running
    }

    /// Sleeps for this time, or until the replay is stopped.
    async fn pause(&mut self, time: Duration) {
        let mut state = self.state.clone();
        let _ =
            tokio::time::timeout(time, state.wait_for(|state| *state != RunState::Running)).await;
    }

    async fn step(&mut self) -> DrainStep {
        match self.leads().await {
            Ok(Some(_)) => {}
            Ok(None) => {
                self.project.drain_succeeded();
                self.pause(LOOK).await;
                return DrainStep::Done;
            }
            Err(error) => {
                self.project.drain_failed(&error);
                self.pause(SPOOL_PAUSE).await;
                return DrainStep::Done;
            }
        }
        let Some(envelope) = self.upstream.envelope(self.project.name()) else {
            return DrainStep::Done;
        };
        let limit = PeekLimit {
            events: self.settings.batch_events,
            bytes: self.batch_bytes,
        };
        let peeked = match self.store.peek(self.project.name(), limit).await {
            Ok(peeked) => peeked,
            Err(error) => {
                self.project.drain_failed(&error);
                self.pause(SPOOL_PAUSE).await;
                return DrainStep::Next;
            }
        };
        let mut events = peeked.events;
        let oldest = events.first().map(|event| event.first_arrival);
        self.project.gauge().set_oldest(oldest);
        let Some(first) = events.first() else {
            self.project.drain_succeeded();
            if self.final_batch == FinalBatch::InFlight {
                self.store.queue_is_empty(self.project.name()).await;
            }
            return DrainStep::Done;
        };
        if let Some(wait) = self.time_to_linger(&events, first.first_arrival) {
            self.pause(wait).await;
            return DrainStep::Next;
        }
        let admission = self.project.breaker().admit(Instant::now());
        match admission {
            Admission::Wait(wait) => {
                self.pause(wait).await;
                return DrainStep::Next;
            }
            Admission::Probe => events.truncate(1),
            Admission::Go => {}
        }
        let wait = self.rate_limit.take(events.len(), Instant::now());
        if !wait.is_zero() {
            self.pause(wait).await;
            if !self.is_running() {
                return DrainStep::Done;
            }
        }
        // The batch contains all events that wait now. New live events wait until it is delivered instead
        // of going into the spool, so the spool becomes empty under any load.
        let is_whole = admission == Admission::Go && peeked.rest == Rest::Nothing;
        self.set_final_batch(if is_whole && self.project.mode() == DeliveryMode::Stream {
            FinalBatch::InFlight
        } else {
            FinalBatch::None
        });
        if self.final_batch == FinalBatch::InFlight {
            self.store.final_batch_begins(self.project.name()).await;
        }
        if self.deliver(&envelope, events).await == DrainOutcome::Stuck {
            self.set_final_batch(FinalBatch::None);
        }
        DrainStep::Next
    }

    /// Returns how long this process may drain, if that is enough for one delivery.
    async fn leads(&self) -> Result<Option<Duration>, SpoolError> {
        Ok(match self.store.lead(self.project.name()).await? {
            Lead::Ours(left) => Some(left).filter(|left| *left >= self.settings.longest_delivery),
            Lead::Theirs => None,
        })
    }

    fn min_batch_bytes(&self) -> usize {
        LEAST_BATCH.min(self.settings.batch_bytes)
    }

    fn set_final_batch(&mut self, final_batch: FinalBatch) {
        self.final_batch = final_batch;
        self.project.gauge().set_final_batch(final_batch);
    }

    /// Returns how long to wait for more events before the batch is sent. Only mode `spool` waits.
    fn time_to_linger(&self, events: &[QueuedEvent], oldest: SystemTime) -> Option<Duration> {
        if self.project.mode() != DeliveryMode::Spool || events.len() >= self.settings.batch_events
        {
            return None;
        }
        let bytes: usize = events.iter().map(|event| event.body.len()).sum();
        if bytes >= self.batch_bytes / 2 {
            return None;
        }
        // If the arrival is in the future, the clock was set back. Then the wait could be just as
        // long, so the batch is sent at once.
        let age = SystemTime::now().duration_since(oldest).ok()?;
        self.settings
            .linger
            .checked_sub(age)
            .filter(|wait| !wait.is_zero())
    }

    /// Sends events in their order. When PostHog rejects a batch of several events for good, sends halves
    /// of it until the rejected event is alone, and delivers the other events in their order.
    async fn deliver(&mut self, envelope: &Envelope, events: Vec<QueuedEvent>) -> DrainOutcome {
        let mut halving = Halving::new(events);
        while let Some(part) = halving.next_part() {
            // Reading the events, and sending the parts before this one, has taken time.
            let left = match self.leads().await {
                Ok(Some(left)) => left,
                Ok(None) => return DrainOutcome::Stuck,
                Err(error) => {
                    self.project.drain_failed(&error);
                    self.pause(SPOOL_PAUSE).await;
                    return DrainOutcome::Stuck;
                }
            };
            let bytes: usize = part.iter().map(|event| event.body.len()).sum();
            let before = self.project.condition();
            // Each read and write has a timeout, but many slow ones add up. This process must not send
            // after the next leader has begun.
            let sent = tokio::time::timeout(left, self.send(envelope, &part)).await;
            let verdict = match sent.unwrap_or_else(|_| Ok(too_slow())) {
                Ok(verdict) => verdict,
                Err(error) => {
                    self.project.drain_failed(&error);
                    self.pause(SPOOL_PAUSE).await;
                    return DrainOutcome::Stuck;
                }
            };
            match verdict {
                Verdict::Accepted => {
                    self.project.breaker().accepted();
                    self.project.not_refused();
                    self.batch_bytes = (self.batch_bytes * 2).min(self.max_batch_bytes);
                    let positions = part.iter().map(|event| event.position).collect();
                    self.store.acknowledge(self.project.name(), positions).await;
                    self.project.drain_succeeded();
                    let waiting = self.project.gauge().events();
                    self.upstream.delivered(self.project.name(), &part, waiting);
                }
                Verdict::RefusedForGood(refusal) => {
                    let RefusedPart::Culprit(refused_event) = halving.refused(part) else {
                        if refusal.status == 413 {
                            self.max_batch_bytes = self
                                .max_batch_bytes
                                .min(bytes / 2)
                                .max(self.min_batch_bytes());
                            self.batch_bytes = self.batch_bytes.min(self.max_batch_bytes);
                        }
                        if !self.is_running() {
                            return DrainOutcome::Stuck;
                        }
                        continue;
                    };
                    let name = self.project.name();
                    let moved = self
                        .store
                        .dead_letter(name, refused_event.position, refusal.clone())
                        .await;
                    if let Err(error) = moved {
                        self.project.drain_failed(&error);
                        self.pause(SPOOL_PAUSE).await;
                        return DrainOutcome::Stuck;
                    }
                    self.project.drain_succeeded();
                    self.upstream
                        .dead_lettered(name, &refused_event.body, &refusal);
                    if self.project.refused() >= self.settings.refused_in_row {
                        if before == BreakerState::Closed {
                            log::error!(
                                "project {}: PostHog refuses every event, so they wait in the spool",
                                self.project.name()
                            );
                        }
                        self.project.breaker().trip(Instant::now(), jitter());
                        return DrainOutcome::Stuck;
                    }
                    self.project.breaker().accepted();
                }
                Verdict::TryLater { retry_after, why } => {
                    self.project.drain_succeeded();
                    // PostHog may not be able to process a batch of this size within the timeout, so
                    // the next one is smaller.
                    if part.len() > 1 {
                        self.batch_bytes =
                            self.batch_bytes.min(bytes / 2).max(self.min_batch_bytes());
                    }
                    self.project
                        .breaker()
                        .failed(Instant::now(), retry_after, jitter());
                    if before == BreakerState::Closed {
                        log::warn!(
                            "project {}: the events cannot be delivered for now ({why}); {} events wait",
                            self.project.name(),
                            self.project.gauge().events()
                        );
                    }
                    return DrainOutcome::Stuck;
                }
            }
        }
        DrainOutcome::Through
    }

    /// Sends a part of a batch.
    ///
    /// # Errors
    ///
    /// When it cannot be compressed. Then PostHog has not been asked.
    async fn send(&self, envelope: &Envelope, part: &[QueuedEvent]) -> Result<Verdict, SpoolError> {
        let plain = Batch::of(envelope, part.iter().map(|event| &event.body));
        let body = match self.settings.encoding {
            Encoding::Identity => Ok(plain),
            Encoding::Gzip if plain.len() <= SMALL_BATCH => gzip(&plain),
            // Compressing megabytes takes milliseconds, too long for a thread that serves requests.
            Encoding::Gzip => {
                let _permit = COMPRESSING.acquire().await;
                run_blocking(move || gzip(&plain))
                    .await
                    .and_then(|compressed| compressed)
            }
        };
        let body = body.map_err(|error| SpoolError::Compression(Arc::new(error)))?;
        let batch = OutgoingBatch {
            body: Bytes::from(body),
            encoding: self.settings.encoding,
            events: part.len(),
        };
        Ok(self.upstream.deliver(self.project.name(), batch).await)
    }
}

fn too_slow() -> Verdict {
    Verdict::TryLater {
        retry_after: None,
        why: "a batch took longer than one proxy may drain the spool".to_owned(),
    }
}

fn gzip(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
    encoder.write_all(plain)?;
    encoder.finish()
}
