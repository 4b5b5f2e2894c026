//! The spool on NATS JetStream: shared by all proxies, and replicated where NATS is a cluster.

mod command;
mod connection;
mod drainage;
mod message;
mod names;
mod outlook;
mod settings;
mod streams;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Mutex;

use super::store::{Counters, Gauges, Lead, Portion, Position, Standing, Store, Taken};
use super::{Refusal, SpoolError, SpooledEvent};
use connection::{Connection, Ending};
use drainage::Drainage;
use message::Run;
use outlook::End;
use streams::Streams;

pub use settings::NatsSettings;

/// How long one answer of the server is waited for.
const ANSWER: Duration = Duration::from_secs(2);

/// How long an append is tried again: about what a cluster takes to replace a server that is gone.
const APPEND: Duration = Duration::from_secs(10);

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// Bytes of a message at most, unless one event is larger; the server's own default limit is 1 MiB.
const RUN_BYTES: usize = 512 << 10;

/// A spool on NATS JetStream. Clones share their connection.
#[derive(Clone)]
pub struct NatsSpool {
    inner: Arc<Inner>,
    _ending: Arc<Ending>,
}

struct Inner {
    connection: Connection,
    settings: NatsSettings,
    streams: Mutex<Option<Arc<Streams>>>,
    drainages: std::sync::Mutex<HashMap<String, Arc<Mutex<Drainage>>>>,
    /// The latest message of each project that was published here.
    own: std::sync::Mutex<HashMap<String, i64>>,
    gauges: Gauges,
    counters: Counters,
    /// Whether the last looks found no stream.
    unusable: AtomicBool,
}

impl NatsSpool {
    /// Begins to connect to the servers, from a thread of its own. When none answers, the spool
    /// answers with errors until one does.
    ///
    /// # Errors
    /// [`SpoolError::Remote`] for a URL that is none, or when no thread can be started.
    pub fn open(settings: NatsSettings) -> Result<Self, SpoolError> {
        let (connection, ending) = Connection::open(&settings)?;
        let inner = Arc::new(Inner {
            connection,
            settings,
            streams: Mutex::default(),
            drainages: std::sync::Mutex::default(),
            own: std::sync::Mutex::default(),
            gauges: Gauges::default(),
            counters: Counters::default(),
            unusable: AtomicBool::new(false),
        });
        let looking = outlook::look(Arc::clone(&inner));
        inner.connection.runtime.spawn(looking);
        Ok(Self {
            inner,
            _ending: Arc::new(ending),
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
        self.connection.present()?;
        let mut streams = self.streams.lock().await;
        if let Some(streams) = &*streams {
            return Ok(Arc::clone(streams));
        }
        let opened = Arc::new(Streams::open(&self.connection, &self.settings).await?);
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
            // Commands that nobody takes would wait for ever in the client's queue.
            let tried = tokio::time::timeout(ANSWER * 2, self.try_publish(project, run)).await;
            match tried.unwrap_or_else(|late| Err(remote("keep events", late))) {
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
        let context = &self.connection.context;
        let sent = context.send_publish(streams.events_of(project), message);
        let published = match sent.await {
            Ok(acknowledged) => acknowledged.await,
            Err(error) => Err(error),
        };
        if let Err(error) = &published {
            if error.kind() == PublishErrorKind::StreamNotFound {
                // Somebody has deleted it: it is looked for, and made, once more.
                *self.streams.lock().await = None;
            }
        }
        published.map_err(|error| remote("keep events", error))
    }
}

#[async_trait]
impl Store for NatsSpool {
    async fn append(&self, project: &str, events: Vec<SpooledEvent>) -> Result<(), SpoolError> {
        let inner = Arc::clone(&self.inner);
        let project = project.to_owned();
        // A task of its own: it goes on when the client has left.
        let task = self.inner.connection.runtime.spawn(async move {
            let limit = match inner.connection.client.server_info().max_payload {
                0 => RUN_BYTES,
                payload => RUN_BYTES.min(payload / 2),
            };
            // Servers that have been away for long will not be back for this one.
            let patience = match inner.connection.away() {
                away if away > APPEND => Duration::ZERO,
                _ => APPEND,
            };
            let until = Instant::now() + patience;
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
        if let Err(error) = self.inner.connection.client.flush().await {
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
            .connection
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

    fn standing(&self) -> Standing {
        match self.inner.unusable.load(Ordering::Relaxed) {
            true => Standing::TakesNothing,
            false => Standing::Takes,
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
