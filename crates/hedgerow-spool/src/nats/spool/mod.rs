//! The spool on NATS JetStream. All proxies share it, and a NATS cluster replicates it.

mod age;
mod ageing;
mod backend;
mod command;
mod connection;
mod denials;
mod faults;
mod fitness;
mod from_settings;
mod message;
mod names;
mod place;
mod presence;
mod project_queue;
mod publishing;
mod settings;
mod streams;
mod trouble;
mod watch;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{sync_channel, Receiver};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::clock_watch::ClockWatch;
use crate::error::SpoolError;
use crate::event::SpooledEvent;
use crate::store::Refusal;
use crate::store::{
    Availability, Clock, Counters, Gauges, Lead, PeekLimit, Peeked, Position, Store,
};
use connection::{NatsConnection, ThreadGuard};
use project_queue::ProjectQueue;
use publishing::DeadLetterResult;
use streams::Streams;
use trouble::Outlook;
use watch::{FirstLook, LeaderNotice};

pub(crate) use backend::NatsBackend;
pub use place::{NatsCertificate, NatsLogin, NatsServer};
pub use settings::NatsSettings;

/// How long the spool waits for one answer of the server.
const ANSWER: Duration = Duration::from_secs(2);

/// How long the spool retries an append: about the time that a cluster needs to replace a lost server.
const APPEND: Duration = Duration::from_secs(10);

/// For this time after a failed append, the spool tries later appends only once. They probably fail for
/// the same reason, and retries would only make their clients wait.
const IN_VAIN: Duration = Duration::from_secs(30);

/// The pause between two tries of an append.
const PAUSE: Duration = Duration::from_millis(200);

/// The largest message, in bytes, unless one event is larger. The server's default limit is 1 MiB.
const RUN_BYTES: usize = 512 << 10;

/// The space for the headers of a message, in bytes. The headers of a dead letter hold PostHog's reason.
const HEADERS: usize = 2 << 10;

/// Returns the size of the largest event that fits into a message of this many bytes. The message also
/// contains the headers and the brackets around the event.
fn event_in(message: usize) -> usize {
    message.saturating_sub(HEADERS + 2)
}

/// A spool on NATS JetStream. Clones share their connection.
#[derive(Clone)]
pub struct NatsSpool {
    inner: Arc<NatsSpoolInner>,
    _ending: Arc<ThreadGuard>,
}

struct NatsSpoolInner {
    connection: NatsConnection,
    settings: NatsSettings,
    streams: Mutex<Option<Arc<Streams>>>,
    /// When the stream of waiting events was created, as this process last read it.
    made: std::sync::Mutex<Option<streams::Created>>,
    queues: std::sync::Mutex<HashMap<String, Arc<Mutex<ProjectQueue>>>>,
    /// The number of the latest message that this process published, by project.
    own: std::sync::Mutex<HashMap<String, i64>>,
    gauges: Gauges,
    counters: Counters,
    /// The number up to which messages have been dropped because they were too old.
    expired: AtomicI64,
    /// `false` once a lasting error has kept this process from storing the age of the events.
    age_is_shared: AtomicBool,
    /// Why the spool cannot be used, according to the most recent checks; `None` if it can be used.
    unusable: std::sync::Mutex<Option<String>>,
    /// When and why an append last failed; `None` after an append has succeeded.
    in_vain: std::sync::Mutex<Option<(Instant, String)>>,
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

    /// Opens the spool, and waits at most for `patience` until the waiting events of the streams are known.
    /// If a process serves requests earlier, new events may overtake the waiting ones. Stops waiting
    /// if only an operator can fix the problem.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub(super) fn open_and_wait(
        settings: NatsSettings,
        patience: Duration,
        clock: Clock,
    ) -> Result<Self, SpoolError> {
        let (spool, looked) = Self::begin(settings, clock)?;
        match looked.recv_timeout(patience) {
            Ok(FirstLook::Done) => {}
            Ok(FirstLook::Hopeless) => log::warn!(
                "Hedgerow does not know which events wait in the distributed spool: new events may \
                 overtake them"
            ),
            Err(_) => log::warn!(
                "the distributed spool did not report its waiting events within {} s: new events \
                 may overtake them",
                patience.as_secs()
            ),
        }
        Ok(spool)
    }

    /// Creates a spool, and a channel that reports the result of the first check of its streams.
    fn begin(
        settings: NatsSettings,
        clock: Clock,
    ) -> Result<(Self, Receiver<FirstLook>), SpoolError> {
        let (connection, ending) = NatsConnection::open(&settings)?;
        let inner = Arc::new(NatsSpoolInner {
            connection,
            settings,
            streams: Mutex::default(),
            made: std::sync::Mutex::default(),
            queues: std::sync::Mutex::default(),
            own: std::sync::Mutex::default(),
            gauges: Gauges::default(),
            counters: Counters::default(),
            expired: AtomicI64::new(0),
            age_is_shared: AtomicBool::new(true),
            unusable: std::sync::Mutex::default(),
            in_vain: std::sync::Mutex::default(),
        });
        let (tell, looked) = sync_channel(1);
        let looking = watch::look(Arc::clone(&inner), tell, ClockWatch::new(clock));
        inner.connection.runtime.spawn(looking);
        let spool = Self {
            inner,
            _ending: Arc::new(ending),
        };
        Ok((spool, looked))
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

impl NatsSpoolInner {
    async fn streams(&self) -> Result<Arc<Streams>, SpoolError> {
        self.connection.present()?;
        let mut streams = self.streams.lock().await;
        if let Some(streams) = &*streams {
            return Ok(Arc::clone(streams));
        }
        // If the login may not receive the servers' answers, every request would end with a timeout.
        if let Some(denied) = self.connection.denials().of_answers() {
            return Err(remote("find its streams", denied));
        }
        let opened = Arc::new(Streams::open(&self.connection, &self.settings).await?);
        *streams = Some(Arc::clone(&opened));
        let now = streams::created(&opened.waiting);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made
            .replace(now.clone())
            .is_some_and(|before| before != now)
        {
            log::error!("the spool's stream was deleted, and with it the waiting events");
            // The new stream numbers its messages from the start.
            let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
            own.clear();
        }
        Ok(opened)
    }

    /// After an error of the streams, forgets them, so that the next operation finds or creates them again:
    /// any of them may have been deleted. A recent denial replaces the error, as it is probably the cause.
    async fn recheck<T>(&self, result: Result<T, SpoolError>) -> Result<T, SpoolError> {
        let Err(SpoolError::Remote { doing, source }) = result else {
            return result;
        };
        self.forget_streams().await;
        // The servers do not answer a forbidden operation.
        match self.connection.denials().recent() {
            Some(denied) => Err(remote(doing, denied)),
            None => Err(SpoolError::Remote { doing, source }),
        }
    }

    /// Returns whether waiting may help after this error.
    fn outlook(&self, error: &SpoolError) -> Outlook {
        match error {
            SpoolError::Away(_) => self.connection.outlook(),
            error => faults::outlook(error),
        }
    }

    /// Records the result of an append.
    fn note(&self, appended: &Result<(), SpoolError>) {
        let mut in_vain = self.in_vain.lock().unwrap_or_else(PoisonError::into_inner);
        match appended {
            Ok(()) => *in_vain = None,
            // This error concerns one message only. Other appends may succeed.
            Err(SpoolError::TooLarge { .. }) => {}
            Err(error) => *in_vain = Some((Instant::now(), error.to_string())),
        }
    }

    /// Returns why an append failed within the last [`IN_VAIN`], if one did.
    fn refuses(&self) -> Option<String> {
        let in_vain = self.in_vain.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = in_vain.as_ref().filter(|(at, _)| at.elapsed() < IN_VAIN);
        recent.map(|(_, error)| error.clone())
    }

    /// Returns why the spool accepts no events, if it accepts none.
    fn trouble(&self) -> Option<String> {
        let unusable = self.unusable.lock().unwrap_or_else(PoisonError::into_inner);
        unusable.clone().or_else(|| self.refuses())
    }

    async fn forget_streams(&self) {
        *self.streams.lock().await = None;
    }

    /// Returns the size of the largest event that fits into a message. Returns `None` until a server
    /// has answered.
    async fn largest_event(&self) -> Option<usize> {
        let servers = Some(self.connection.client.server_info().max_payload);
        let servers = servers.filter(|most| *most > 0);
        let streams = self.streams.lock().await;
        let stream = streams
            .as_ref()
            .and_then(|streams| streams.largest_message());
        servers.into_iter().chain(stream).min().map(event_in)
    }

    fn leads(&self, project: &str) -> bool {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        // If the queue is locked, this process is draining the project.
        queues
            .get(project)
            .is_some_and(|queue| queue.try_lock().map_or(true, |queue| queue.leads()))
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
            let patience = match inner.connection.away() {
                away if away > APPEND => Duration::ZERO,
                _ if inner.refuses().is_some() => Duration::ZERO,
                _ => APPEND,
            };
            let until = Instant::now() + patience;
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
        let taken = queue.peek(limit, &self.inner.gauges.of(project)).await;
        self.inner.recheck(taken).await
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
        let Some(held) = queue.find(position) else {
            return Ok(());
        };
        let put = self
            .inner
            .publish_dead_letter(project, &held, &refusal)
            .await;
        match self.inner.recheck(put).await? {
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
        self.inner.tell(project, LeaderNotice::FinalBatch).await;
    }

    async fn queue_is_empty(&self, project: &str) {
        let queue = self.queue(project);
        let through = queue.lock().await.through();
        self.inner
            .tell(project, LeaderNotice::QueueEmpty { through })
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

fn remote(
    doing: &'static str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> SpoolError {
    SpoolError::Remote {
        doing,
        source: Arc::new(source),
    }
}
