//! The spool as a [`Store`].

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{sync_channel, Receiver};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::clock_watch::ClockWatch;
use crate::error::SpoolError;
use crate::event::SpooledEvent;
use crate::store::{
    Availability, Clock, Counters, Gauges, Lead, PeekLimit, Peeked, Position, Refusal, Store,
};

use super::connection::{NatsConnection, ThreadGuard};
use super::inner::NatsSpoolInner;
use super::limits::{APPEND, RUN_BYTES};
use super::message;
use super::project_queue::ProjectQueue;
use super::publishing::DeadLetterResult;
use super::settings::NatsSettings;
use super::streams::Streams;
use super::watch::{self, FirstLook, LeaderNotice};

/// A spool on NATS JetStream. Clones share their connection.
#[derive(Clone)]
pub struct NatsSpool {
    inner: Arc<NatsSpoolInner>,
    _thread_guard: Arc<ThreadGuard>,
}

impl NatsSpool {
    /// Starts to connect to the servers on a separate thread. While no server answers, the spool's
    /// operations return errors.
    ///
    /// # Errors
    /// [`SpoolError::Remote`] if a setting is invalid, or if no thread can be started.
    pub fn open(settings: NatsSettings) -> Result<Self, SpoolError> {
        Self::begin(settings, Arc::new(SystemTime::now)).map(|(spool, _)| spool)
    }

    /// Opens the spool, and waits at most for `timeout` until the waiting events of the streams are known.
    /// If a process serves requests earlier, new events may overtake the waiting ones. Stops waiting
    /// if only an operator can fix the problem.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub(super) fn open_and_wait(
        settings: NatsSettings,
        timeout: Duration,
        clock: Clock,
    ) -> Result<Self, SpoolError> {
        let (spool, first_look) = Self::begin(settings, clock)?;
        match first_look.recv_timeout(timeout) {
            Ok(FirstLook::Done) => {}
            Ok(FirstLook::Hopeless) => log::warn!(
                "Hedgerow does not know which events wait in the distributed spool: new events may \
                 overtake them"
            ),
            Err(_) => log::warn!(
                "the distributed spool did not report its waiting events within {} s: new events \
                 may overtake them",
                timeout.as_secs()
            ),
        }
        Ok(spool)
    }

    /// Creates a spool, and a channel that reports the result of the first check of its streams.
    fn begin(
        settings: NatsSettings,
        clock: Clock,
    ) -> Result<(Self, Receiver<FirstLook>), SpoolError> {
        let (connection, thread_guard) = NatsConnection::open(&settings)?;
        let inner = Arc::new(NatsSpoolInner {
            connection,
            settings,
            streams: Mutex::default(),
            created: std::sync::Mutex::default(),
            queues: std::sync::Mutex::default(),
            last_published: std::sync::Mutex::default(),
            gauges: Gauges::default(),
            counters: Counters::default(),
            expired: AtomicI64::new(0),
            age_is_shared: AtomicBool::new(true),
            unusable: std::sync::Mutex::default(),
            failed_append: std::sync::Mutex::default(),
        });
        let (sender, first_look) = sync_channel(1);
        let watching = watch::look(Arc::clone(&inner), sender, ClockWatch::new(clock));
        inner.connection.runtime.spawn(watching);
        let spool = Self {
            inner,
            _thread_guard: Arc::new(thread_guard),
        };
        Ok((spool, first_look))
    }

    async fn streams(&self) -> Result<Arc<Streams>, SpoolError> {
        self.inner.streams().await
    }

    fn queue(&self, project: &str) -> Arc<Mutex<ProjectQueue>> {
        let mut queues = self
            .inner
            .queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(queues.entry(project.to_owned()).or_default())
    }
}

#[async_trait]
impl Store for NatsSpool {
    async fn append(&self, project: &str, events: Vec<SpooledEvent>) -> Result<(), SpoolError> {
        let inner = Arc::clone(&self.inner);
        let project = project.to_owned();
        // The work runs in a separate task, so it continues when the client disconnects.
        let task = self.inner.connection.runtime.spawn(async move {
            let limit = match inner.connection.client.server_info().max_payload {
                0 => RUN_BYTES,
                payload => RUN_BYTES.min(payload / 2),
            };
            // If no server has been connected for long, retrying is unlikely to help this append.
            let timeout = match inner.connection.away() {
                away if away > APPEND => Duration::ZERO,
                _ if inner.refuses().is_some() => Duration::ZERO,
                _ => APPEND,
            };
            let until = Instant::now() + timeout;
            let of = events.len() as u64;
            let largest = inner.largest_event().await;
            let limit = largest.map_or(limit, |largest| limit.min(largest));
            let fits =
                |event: &SpooledEvent| largest.is_none_or(|largest| event.body().len() <= largest);
            let (events, large): (Vec<_>, Vec<_>) = events.into_iter().partition(fits);
            let mut too_large = large.len() as u64;
            // Publishes the runs one after the other, so that no run is stored before an earlier one.
            for run in message::runs(&events, limit) {
                let published = inner.publish(&project, &run, until).await;
                inner.note(&published);
                match published {
                    Ok(()) => {}
                    // This run never fits, but the runs after it may.
                    Err(SpoolError::TooLarge { events, .. }) => too_large += events,
                    Err(error) => {
                        Counters::add(&inner.counters.refused, of);
                        return Err(error);
                    }
                }
            }
            inner.gauges.announce();
            if too_large == 0 {
                return Ok(());
            }
            Counters::add(&inner.counters.refused, too_large);
            Err(SpoolError::TooLarge {
                events: too_large,
                of,
                largest: largest.unwrap_or(0),
            })
        });
        task.await.unwrap_or(Err(SpoolError::Closed))
    }

    async fn peek(&self, project: &str, limit: PeekLimit) -> Result<Peeked, SpoolError> {
        let queue = self.queue(project);
        let mut queue = queue.lock().await;
        queue.drop_expired(self.inner.expired.load(Ordering::Relaxed));
        let peeked = queue.peek(limit, &self.inner.gauges.of(project)).await;
        self.inner.recheck(peeked).await
    }

    async fn acknowledge(&self, project: &str, positions: Vec<Position>) {
        let queue = self.queue(project);
        let mut queue = queue.lock().await;
        let number = positions.len() as u64;
        let gauge = self.inner.gauges.of(project);
        queue.acknowledge(positions, &gauge).await;
        if let Err(error) = self.inner.connection.client.flush().await {
            log::debug!("acknowledgements may be lost: {error}");
        }
        Counters::add(&self.inner.counters.delivered, number);
    }

    async fn dead_letter(
        &self,
        project: &str,
        position: Position,
        refusal: Refusal,
    ) -> Result<(), SpoolError> {
        let queue = self.queue(project);
        let mut queue = queue.lock().await;
        let Some(event) = queue.find(position) else {
            return Ok(());
        };
        let result = self
            .inner
            .publish_dead_letter(project, &event, &refusal)
            .await;
        match self.inner.recheck(result).await? {
            DeadLetterResult::Kept => Counters::add(&self.inner.counters.dead_lettered, 1),
            DeadLetterResult::TooLarge => {
                // This event must not delay the events after it.
                log::error!(
                    "project {project}: PostHog refuses an event that is too large for a dead letter; \
                     Hedgerow drops it"
                );
                Counters::add(&self.inner.counters.dead_letters_evicted, 1);
            }
        }
        let gauge = self.inner.gauges.of(project);
        queue.acknowledge(vec![position], &gauge).await;
        Ok(())
    }

    async fn final_batch_begins(&self, project: &str) {
        self.inner.notify(project, LeaderNotice::FinalBatch).await;
    }

    async fn queue_is_empty(&self, project: &str) {
        let queue = self.queue(project);
        let through = queue.lock().await.through();
        self.inner
            .notify(project, LeaderNotice::QueueEmpty { through })
            .await;
    }

    async fn lead(&self, project: &str) -> Result<Lead, SpoolError> {
        let queue = self.queue(project);
        let mut queue = queue.lock().await;
        let lead = match self.streams().await {
            Ok(streams) => queue.lead(&streams, project).await,
            Err(error) => Err(error),
        };
        self.inner.recheck(lead).await
    }

    async fn resign(&self) {
        let queues = std::mem::take(
            &mut *self
                .inner
                .queues
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let Ok(streams) = self.streams().await else {
            return;
        };
        for (project, queue) in queues {
            if queue.lock().await.leads() {
                if let Err(error) = streams.resign(&project).await {
                    log::debug!("{error}");
                }
            }
        }
    }

    fn availability(&self) -> Availability {
        match self.inner.trouble() {
            Some(_) => Availability::Unavailable,
            None => Availability::Available,
        }
    }

    fn trouble(&self) -> Option<String> {
        self.inner.trouble()
    }

    fn gauges(&self) -> &Gauges {
        &self.inner.gauges
    }

    fn counters(&self) -> &Counters {
        &self.inner.counters
    }
}
