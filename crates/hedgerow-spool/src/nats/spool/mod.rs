//! The spool on NATS JetStream: shared by all proxies, and replicated where NATS is a cluster.

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

/// How long one answer of the server is waited for.
const ANSWER: Duration = Duration::from_secs(2);

/// How long an append is retried: about the time that a cluster needs to replace a lost server.
const APPEND: Duration = Duration::from_secs(10);

/// For this time after an append that failed, later ones are tried only once: they meet the same
/// problem, and their clients would wait for the same answer.
const IN_VAIN: Duration = Duration::from_secs(30);

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// Bytes of a message at most, unless one event is larger; the server's own default limit is 1 MiB.
const RUN_BYTES: usize = 512 << 10;

/// Bytes that the headers of a message may take: those of a dead letter hold PostHog's words.
const HEADERS: usize = 2 << 10;

/// The largest event in a message of this many bytes: its headers and the brackets around it are in it
/// as well.
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
    /// When the stream of what waits was made, as it was last seen.
    made: std::sync::Mutex<Option<streams::Created>>,
    queues: std::sync::Mutex<HashMap<String, Arc<Mutex<ProjectQueue>>>>,
    /// The latest message of each project that was published here.
    own: std::sync::Mutex<HashMap<String, i64>>,
    gauges: Gauges,
    counters: Counters,
    /// Messages up to this number were too old and have been dropped.
    expired: AtomicI64,
    /// Whether nothing is known to keep this process from storing the age of its events.
    age_is_shared: AtomicBool,
    /// Why the last looks found no stream, if they found none.
    unusable: std::sync::Mutex<Option<String>>,
    /// When an append was last tried in vain, and why; none since one succeeded.
    in_vain: std::sync::Mutex<Option<(Instant, String)>>,
}

impl NatsSpool {
    /// Starts to connect to the servers, from a separate thread. While no server answers, the spool
    /// returns errors.
    ///
    /// # Errors
    /// [`SpoolError::Remote`] for a URL that is none, or when no thread can be started.
    pub fn open(settings: NatsSettings) -> Result<Self, SpoolError> {
        Self::begin(settings, Arc::new(SystemTime::now)).map(|(spool, _)| spool)
    }

    /// The same, and waits until the waiting events of the streams are known, up to this long: if a
    /// process serves earlier, new events overtake them. It does not wait for what only an operator ends.
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
                "the distributed spool's waiting events are not known, and waiting does not help: \
                 events that arrive now may overtake them"
            ),
            Err(_) => log::warn!(
                "the distributed spool did not report its waiting events within {} s: events that \
                 arrive now may overtake them",
                patience.as_secs()
            ),
        }
        Ok(spool)
    }

    /// A spool, and a channel that reports when its streams have been checked.
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
        // Without its answers, everything that is asked ends with a timeout.
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
            log::error!("the spool's stream was deleted, with its waiting events");
            // The numbers of its messages begin again.
            let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
            own.clear();
        }
        Ok(opened)
    }

    /// After an error of the streams they are looked for, and made, again: any of them may
    /// have been deleted.
    async fn recheck<T>(&self, result: Result<T, SpoolError>) -> Result<T, SpoolError> {
        let Err(SpoolError::Remote { doing, source }) = result else {
            return result;
        };
        self.forget_streams().await;
        // A forbidden operation gets no answer.
        match self.connection.denials().recent() {
            Some(denied) => Err(remote(doing, denied)),
            None => Err(SpoolError::Remote { doing, source }),
        }
    }

    /// Whether waiting may help after this error.
    fn outlook(&self, error: &SpoolError) -> Outlook {
        match error {
            SpoolError::Away(_) => self.connection.outlook(),
            error => faults::outlook(error),
        }
    }

    /// Takes note of what became of an append.
    fn note(&self, appended: &Result<(), SpoolError>) {
        let mut in_vain = self.in_vain.lock().unwrap_or_else(PoisonError::into_inner);
        match appended {
            Ok(()) => *in_vain = None,
            // Of this one the others are none the worse.
            Err(SpoolError::TooLarge { .. }) => {}
            Err(error) => *in_vain = Some((Instant::now(), error.to_string())),
        }
    }

    /// Why an append was tried in vain a moment ago.
    fn refuses(&self) -> Option<String> {
        let in_vain = self.in_vain.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = in_vain.as_ref().filter(|(at, _)| at.elapsed() < IN_VAIN);
        recent.map(|(_, error)| error.clone())
    }

    /// Why the spool takes no events, if it takes none.
    fn trouble(&self) -> Option<String> {
        let unusable = self.unusable.lock().unwrap_or_else(PoisonError::into_inner);
        unusable.clone().or_else(|| self.refuses())
    }

    async fn forget_streams(&self) {
        *self.streams.lock().await = None;
    }

    /// The largest event that fits into a message; unknown until a server has answered.
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
        // A busy project is one that drains.
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
        // A separate task: it continues when the client has left.
        let task = self.inner.connection.runtime.spawn(async move {
            let limit = match inner.connection.client.server_info().max_payload {
                0 => RUN_BYTES,
                payload => RUN_BYTES.min(payload / 2),
            };
            // Servers that have been away for long will not be back for this one.
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
            // One after the other: a later run must not be there without the one before it.
            for run in message::runs(&events, limit) {
                let published = inner.publish(&project, &run, until).await;
                inner.note(&published);
                match published {
                    Ok(()) => {}
                    // It never fits; the events behind it do.
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
                // It must not delay the events behind it.
                log::error!(
                    "project {project}: an event that PostHog refuses is larger than a dead letter \
                     may be; it is dropped"
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
