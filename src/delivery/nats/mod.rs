//! The spool on NATS JetStream: shared by all proxies, and replicated where NATS is a cluster.

mod drainage;
mod message;
mod names;
mod outlook;
mod streams;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::Context;
use async_nats::{Client, ConnectOptions, ServerAddr};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use super::store::{Counters, Gauges, Lead, Portion, Position, Store, Taken};
use super::{Refusal, SpoolError, SpooledEvent};
use drainage::Drainage;
use message::Run;
use outlook::End;
use streams::Streams;

/// How long one answer of the server is waited for.
const ANSWER: Duration = Duration::from_secs(2);

/// How long an append is tried again: about what a cluster takes to replace a server that is gone.
const APPEND: Duration = Duration::from_secs(10);

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// Bytes of a message at most, unless one event is larger; the server's own default limit is 1 MiB.
const RUN_BYTES: usize = 512 << 10;

/// Where a distributed spool is, and its bounds.
#[derive(Clone)]
pub struct NatsSettings {
    /// Servers, `nats://[user:password@]host:port` or `tls://…`, several with commas between them.
    pub url: String,
    /// The stream's name, and the first token of its subjects. Two more streams have this name with
    /// `_DEAD` and `_LEAD` at its end.
    pub stream: String,
    /// Bytes that may wait; used when the stream is made. Dead letters may hold a tenth of it.
    pub max_size: u64,
    /// How long an event waits before it is dropped; used when the stream is made.
    pub max_age: Duration,
    /// How long a proxy that has died keeps the others from draining in its place; used when the
    /// streams are made. At least twice as long as the longest delivery.
    pub lead: Duration,
}

impl NatsSettings {
    /// A spool of 1 GiB and 7 days, led for a minute at a time.
    pub fn new(url: &str, stream: &str) -> Self {
        Self {
            url: url.to_owned(),
            stream: stream.to_owned(),
            max_size: 1 << 30,
            max_age: Duration::from_secs(7 * 24 * 3600),
            lead: Duration::from_secs(60),
        }
    }
}

impl std::fmt::Debug for NatsSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        formatter
            .debug_struct("NatsSettings")
            .field("stream", &self.stream)
            .field("max_size", &self.max_size)
            .field("max_age", &self.max_age)
            .finish_non_exhaustive()
    }
}

/// A spool on NATS JetStream. Clones share their connection.
#[derive(Clone)]
pub struct NatsSpool {
    inner: Arc<Inner>,
    _looking: Arc<Looking>,
}

struct Inner {
    client: Client,
    context: Context,
    settings: NatsSettings,
    streams: Mutex<Option<Arc<Streams>>>,
    drainages: std::sync::Mutex<HashMap<String, Arc<Mutex<Drainage>>>>,
    /// The latest message of each project that was published here.
    own: std::sync::Mutex<HashMap<String, i64>>,
    gauges: Gauges,
    counters: Counters,
}

/// Ends the look-out with the last handle.
struct Looking(AbortHandle);

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl NatsSpool {
    /// Connects to the servers. When none answers, the spool answers with errors until one does.
    /// Has to be called on a runtime, which carries the connection from then on.
    ///
    /// # Errors
    /// [`SpoolError::Remote`] for a URL that is none, or when the connection is refused for good.
    pub async fn open(settings: NatsSettings) -> Result<Self, SpoolError> {
        let servers = settings
            .url
            .split(',')
            .map(|url| url.trim().parse())
            .collect::<Result<Vec<ServerAddr>, _>>()
            .map_err(|error| remote("read its URL", error))?;
        let client = ConnectOptions::new()
            .name("hedgerow")
            .connection_timeout(ANSWER)
            .request_timeout(Some(ANSWER))
            .retry_on_initial_connect()
            .connect(servers)
            .await
            .map_err(|error| remote("connect", error))?;
        let context = ContextBuilder::new()
            .timeout(ANSWER)
            .backpressure_on_inflight(true)
            .build(client.clone());
        let inner = Arc::new(Inner {
            client,
            context,
            settings,
            streams: Mutex::default(),
            drainages: std::sync::Mutex::default(),
            own: std::sync::Mutex::default(),
            gauges: Gauges::default(),
            counters: Counters::default(),
        });
        let looking = tokio::spawn(outlook::look(Arc::clone(&inner))).abort_handle();
        Ok(Self {
            inner,
            _looking: Arc::new(Looking(looking)),
        })
    }

    async fn streams(&self) -> Result<Arc<Streams>, SpoolError> {
        self.inner.streams().await
    }

    fn drainage(&self, project: &str) -> Arc<Mutex<Drainage>> {
        let mut drainages = self
            .inner
            .drainages
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(drainages.entry(project.to_owned()).or_default())
    }
}

impl Inner {
    async fn streams(&self) -> Result<Arc<Streams>, SpoolError> {
        let mut streams = self.streams.lock().await;
        if let Some(streams) = &*streams {
            return Ok(Arc::clone(streams));
        }
        let opened = Arc::new(Streams::open(&self.client, &self.context, &self.settings).await?);
        *streams = Some(Arc::clone(&opened));
        Ok(opened)
    }

    fn leads(&self, project: &str) -> bool {
        let drainages = self
            .drainages
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // One that is busy at the moment is one that drains.
        drainages.get(project).is_some_and(|drainage| {
            drainage
                .try_lock()
                .map_or(true, |drainage| drainage.leads())
        })
    }

    /// Publishes one run until the stream has said that it has it. A repeated try is recognised by
    /// its id, so it is there once however often it is tried.
    async fn publish(&self, project: &str, run: &Run, until: Instant) -> Result<(), SpoolError> {
        let mut tries = 0_u32;
        let published = loop {
            match self.try_publish(project, run).await {
                Err(_) if Instant::now() + PAUSE < until => tokio::time::sleep(PAUSE).await,
                other => break other?,
            }
            tries += 1;
        };
        // Known at the first try: a client has sent it again, and it is counted already. Known at a
        // later one: it is the try before whose answer was lost.
        {
            let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
            let latest = own.entry(project.to_owned()).or_default();
            *latest = (*latest).max(i64::try_from(published.sequence).unwrap_or(i64::MAX));
        }
        if published.duplicate && tries == 0 {
            Counters::add(&self.counters.collapsed, run.events);
        } else {
            Counters::add(&self.counters.appended, run.events);
            self.gauges.of(project).add(run.events, run.bytes);
        }
        Counters::add(&self.counters.commits, 1);
        Ok(())
    }

    async fn try_publish(&self, project: &str, run: &Run) -> Result<PublishAck, SpoolError> {
        let streams = self.streams().await?;
        let message = PublishMessage::build()
            .payload(run.payload.clone())
            .message_id(format!("{}:{}", names::token(project), run.id))
            .header(message::FIRST_ARRIVAL, run.first_arrival.to_string());
        self.context
            .send_publish(streams.events_of(project), message)
            .await
            .map_err(|error| remote("keep events", error))?
            .await
            .map_err(|error| remote("keep events", error))
    }
}

#[async_trait]
impl Store for NatsSpool {
    async fn append(&self, project: &str, events: Vec<SpooledEvent>) -> Result<(), SpoolError> {
        let inner = Arc::clone(&self.inner);
        let project = project.to_owned();
        // A task of its own: it goes on when the client has left.
        let task = tokio::spawn(async move {
            let limit = match inner.client.server_info().max_payload {
                0 => RUN_BYTES,
                payload => RUN_BYTES.min(payload / 2),
            };
            let until = Instant::now() + APPEND;
            // One after the other: a later run must not be there without the one before it.
            for run in message::runs(&events, limit) {
                if let Err(error) = inner.publish(&project, &run, until).await {
                    Counters::add(&inner.counters.refused, events.len() as u64);
                    return Err(error);
                }
            }
            inner.gauges.announce();
            Ok(())
        });
        task.await.unwrap_or(Err(SpoolError::Closed))
    }

    async fn take(&self, project: &str, portion: Portion) -> Result<Taken, SpoolError> {
        let drainage = self.drainage(project);
        let mut drainage = drainage.lock().await;
        drainage.take(portion, &self.inner.gauges.of(project)).await
    }

    async fn settle(&self, project: &str, positions: Vec<Position>) {
        let drainage = self.drainage(project);
        let mut drainage = drainage.lock().await;
        let number = positions.len() as u64;
        let gauge = self.inner.gauges.of(project);
        drainage.settle(positions, &gauge).await;
        if let Err(error) = self.inner.client.flush().await {
            log::debug!("acknowledgements may be lost: {error}");
        }
        Counters::add(&self.inner.counters.settled, number);
    }

    async fn bury(
        &self,
        project: &str,
        position: Position,
        refusal: Refusal,
    ) -> Result<(), SpoolError> {
        let streams = self.streams().await?;
        let drainage = self.drainage(project);
        let mut drainage = drainage.lock().await;
        let Some(held) = drainage.find(position) else {
            return Ok(());
        };
        let payload: Bytes = held.body;
        let arrived = super::event::milliseconds(held.first_arrival);
        let reason: String = refusal
            .reason
            .chars()
            .filter(|character| character.is_ascii() && !character.is_control())
            .collect();
        let letter = PublishMessage::build()
            .payload(payload)
            .message_id(format!("{}:{}", names::token(project), position.0))
            .header(message::FIRST_ARRIVAL, arrived.to_string())
            .header(message::STATUS, refusal.status.to_string())
            .header(message::REASON, reason);
        self.inner
            .context
            .send_publish(streams.dead_of(project), letter)
            .await
            .map_err(|error| remote("keep a dead letter", error))?
            .await
            .map_err(|error| remote("keep a dead letter", error))?;
        Counters::add(&self.inner.counters.buried, 1);
        let gauge = self.inner.gauges.of(project);
        drainage.settle(vec![position], &gauge).await;
        Ok(())
    }

    async fn closing(&self, project: &str) {
        self.inner.tell(project, End::Closing).await;
    }

    async fn opened(&self, project: &str) {
        let drainage = self.drainage(project);
        let through = drainage.lock().await.through();
        self.inner.tell(project, End::Open { through }).await;
    }

    async fn lead(&self, project: &str) -> Lead {
        let drainage = self.drainage(project);
        let mut drainage = drainage.lock().await;
        let streams = match self.streams().await {
            Ok(streams) => streams,
            Err(error) => {
                log::debug!("{error}");
                return Lead::Theirs;
            }
        };
        match drainage.lead(&streams, project).await {
            Ok(lead) => lead,
            Err(error) => {
                log::debug!("{error}");
                Lead::Theirs
            }
        }
    }

    async fn resign(&self) {
        let drainages = std::mem::take(
            &mut *self
                .inner
                .drainages
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let Ok(streams) = self.streams().await else {
            return;
        };
        for (project, drainage) in drainages {
            if drainage.lock().await.leads() {
                if let Err(error) = streams.resign(&project).await {
                    log::debug!("{error}");
                }
            }
        }
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
