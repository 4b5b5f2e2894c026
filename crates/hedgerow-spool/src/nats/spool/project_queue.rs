//! The events of one project that this process has fetched from the stream while it leads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use async_nats::jetstream::consumer::{pull, Consumer};
use async_nats::jetstream::message::Acker;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::faults::remote;
use super::message::{arrival, unpack, FIRST_ARRIVAL};
use super::streams::{self, Created, Streams, GIVEN_OUT};
use crate::error::SpoolError;
use crate::store::{Gauge, Lead, PeekLimit, Peeked, Position, QueuedEvent, Rest};

/// How long a fetch waits for the next message, and how long a peek waits for the first.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A peek stops fetching after this time if it has any events, because the lead may expire.
const LONGEST_TAKE: Duration = Duration::from_secs(1);

/// The most messages that one fetch requests.
const MESSAGES: usize = 200;

/// The pause in which the server receives acknowledgements that have been sent.
const MOMENT: Duration = Duration::from_millis(20);

/// The factor in a position: the number of the message times this, plus the event's place in the message.
/// A message holds fewer events than this, because it has at most a mebibyte and each event takes
/// more than two bytes.
const PLACES: i64 = 1 << 20;

/// The number of delivered messages that the queue remembers, in case their acknowledgements are lost.
const REMEMBERED: usize = 100_000;

/// The events of a project that this process holds in memory.
#[derive(Default)]
pub(super) struct ProjectQueue {
    lead: Option<streams::HeldLead>,
    feed: Option<ConsumerFeed>,
    messages: BTreeMap<i64, PulledMessage>,
    done: BTreeSet<i64>,
    /// [`Gauge::additions`] when a fetch last found that the stream holds no more events than this
    /// queue.
    complete: Option<u64>,
    /// The number of the latest message that this queue has received.
    through: i64,
}

/// The stream's consumer, and its limits.
struct ConsumerFeed {
    consumer: Consumer<pull::Config>,
    /// When the stream of the consumer was created.
    created: Created,
    /// The most messages that the consumer delivers before some of them are acknowledged.
    max_pending: usize,
    /// The most messages that one fetch may request.
    max_batch: usize,
}

impl ConsumerFeed {
    fn new(consumer: Consumer<pull::Config>, created: Created) -> Self {
        let config = &consumer.cached_info().config;
        let bound = |value: i64, limit: usize| match usize::try_from(value) {
            Ok(value @ 1..) => value.min(limit),
            _ => limit,
        };
        Self {
            max_pending: bound(config.max_ack_pending, GIVEN_OUT as usize),
            max_batch: bound(config.max_batch, MESSAGES),
            consumer,
            created,
        }
    }

    /// Returns whether the stream may hold more messages although a fetch returned none. A consumer with
    /// a low limit waits for acknowledgements before it delivers more.
    async fn may_have_more(&self) -> Result<bool, SpoolError> {
        if self.max_pending >= GIVEN_OUT as usize {
            return Ok(false);
        }
        let info = self.consumer.get_info().await;
        let info = info.map_err(|error| remote("report its deliveries", error))?;
        Ok(info.num_pending > 0)
    }
}

/// The result of a fetch from the stream.
enum Fetched {
    Some,
    /// No new message, because the stream holds no more messages than the queue.
    Nothing,
    /// No new message yet: more wait, but the server first needs acknowledgements.
    NothingYet,
}

struct PulledMessage {
    events: BTreeMap<i64, Bytes>,
    first_arrival: SystemTime,
    acker: Acker,
}

impl ProjectQueue {
    pub(super) fn leads(&self) -> bool {
        self.lead
            .as_ref()
            .is_some_and(|lead| !lead.left().is_zero())
    }

    /// Returns the number of the latest message that this queue has received. When the queue is empty,
    /// every message up to this one has been delivered.
    pub(super) fn through(&self) -> i64 {
        self.through
    }

    /// Takes, renews or loses the lead of the project.
    pub(super) async fn lead(
        &mut self,
        streams: &Streams,
        project: &str,
    ) -> Result<Lead, SpoolError> {
        let before = self.lead.take().filter(|lead| lead.is_valid(streams));
        let was_leader = before.is_some();
        let lead = match before {
            Some(lead) if !lead.is_to_be_renewed() => lead,
            before => match streams.lead(project, before.as_ref()).await {
                Ok(Some(lead)) => lead,
                Ok(None) => {
                    self.forget();
                    return Ok(Lead::Theirs);
                }
                // The lead could not be renewed, but is still valid for its remaining time.
                Err(error) => before.ok_or(error)?,
            },
        };
        let left = lead.left();
        self.lead = Some(lead);
        let created = streams::created(&streams.waiting);
        if !was_leader
            || self
                .feed
                .as_ref()
                .is_none_or(|feed| feed.created != created)
        {
            // The queue may have missed changes: begin again with the oldest event in the stream.
            self.forget();
            self.feed = Some(ConsumerFeed::new(streams.consumer(project).await?, created));
        }
        Ok(Lead::Ours(left))
    }

    fn forget(&mut self) {
        self.feed = None;
        self.through = 0;
        self.messages.clear();
        self.done.clear();
        self.complete = None;
    }

    /// Forgets messages up to this number, which have been dropped because of their age.
    pub(super) fn drop_expired(&mut self, through: i64) {
        if through >= self.messages.keys().next().copied().unwrap_or(i64::MAX) {
            self.messages = self.messages.split_off(&(through + 1));
        }
    }

    /// Returns the oldest events. Fetches those that the queue does not hold yet.
    pub(super) async fn peek(
        &mut self,
        limit: PeekLimit,
        gauge: &Gauge,
    ) -> Result<Peeked, SpoolError> {
        let mut rest = Rest::More;
        self.complete = None;
        let begun = Instant::now();
        while !self.holds(limit) {
            if begun.elapsed() > LONGEST_TAKE && !self.messages.is_empty() {
                break;
            }
            let max_pending = self.feed.as_ref().map_or(0, |feed| feed.max_pending);
            if !self.messages.is_empty() && self.messages.len() >= max_pending {
                break;
            }
            let additions = gauge.additions();
            match self.fetch().await {
                Ok(Fetched::Some) => {}
                Ok(Fetched::Nothing) => {
                    rest = Rest::Nothing;
                    self.complete = Some(additions);
                    break;
                }
                Ok(Fetched::NothingYet) if !self.messages.is_empty() => break,
                Ok(Fetched::NothingYet) if begun.elapsed() < TIMEOUT => {
                    tokio::time::sleep(MOMENT).await;
                }
                Ok(Fetched::NothingYet) => {
                    // The consumer has delivered messages that did not arrive here. A new consumer
                    // delivers them again.
                    self.feed = None;
                    let why = "its consumer delivers nothing although events wait";
                    return Err(SpoolError::Away(why.to_owned()));
                }
                Err(error) => {
                    // The consumer may have been deleted. The next call of `lead` creates it again.
                    self.feed = None;
                    return Err(error);
                }
            }
        }
        self.correct_gauge(gauge);
        let mut events: Vec<QueuedEvent> = Vec::new();
        let mut bytes = 0;
        'all: for (number, message) in &self.messages {
            for (place, body) in &message.events {
                bytes += body.len();
                let enough = events.len() >= limit.events || bytes > limit.bytes;
                if enough && !events.is_empty() {
                    rest = Rest::More;
                    break 'all;
                }
                events.push(QueuedEvent {
                    position: Position(number * PLACES + place),
                    body: body.clone(),
                    first_arrival: message.first_arrival,
                });
            }
        }
        Ok(Peeked { events, rest })
    }

    /// Returns whether the queue holds enough events to reach a limit, without a fetch.
    fn holds(&self, limit: PeekLimit) -> bool {
        let (mut events, mut bytes) = (0, 0);
        self.messages.values().any(|message| {
            events += message.events.len();
            bytes += message.events.values().map(Bytes::len).sum::<usize>();
            events >= limit.events || bytes > limit.bytes
        })
    }

    /// Fetches more messages from the stream, and returns whether any of them is new to the queue.
    async fn fetch(&mut self) -> Result<Fetched, SpoolError> {
        let Some(feed) = &self.feed else {
            return Err(SpoolError::Away("its consumer does not exist".to_owned()));
        };
        let failed = |error| SpoolError::Remote {
            doing: "deliver events",
            source: std::sync::Arc::from(error),
        };
        let room = feed.max_pending.saturating_sub(self.messages.len()).max(1);
        let mut messages = feed
            .consumer
            .fetch()
            // A larger request would make the consumer wait for acknowledgements halfway.
            .max_messages(feed.max_batch.min(room))
            .messages()
            .await
            .map_err(|error| failed(error.into()))?;
        let mut new = 0_u32;
        let late = |late| remote("deliver events", late);
        while let Some(message) = timeout(TIMEOUT, messages.next()).await.map_err(late)? {
            let message = message.map_err(failed)?;
            let Some(number) = message
                .info()
                .ok()
                .and_then(|info| i64::try_from(info.stream_sequence).ok())
            else {
                continue;
            };
            let (message, acker) = message.split();
            self.through = self.through.max(number);
            if self.done.contains(&number) {
                // The message was delivered before, and its acknowledgement was lost.
                acknowledge(&acker).await;
                continue;
            }
            if let Some(known) = self.messages.get_mut(&number) {
                // The server sent the message again, because it was not acknowledged for long.
                known.acker = acker;
                continue;
            }
            let Some(events) = unpack(&message.payload) else {
                log::error!(
                    "a message in the spool's stream was not written by Hedgerow; it is \
                    ignored"
                );
                acknowledge(&acker).await;
                continue;
            };
            let first_arrival = message
                .headers
                .as_ref()
                .and_then(|headers| headers.get(FIRST_ARRIVAL))
                .and_then(|text| arrival(text.as_str()))
                .unwrap_or_else(SystemTime::now);
            self.messages.insert(
                number,
                PulledMessage {
                    events: (0..).zip(events).collect(),
                    first_arrival,
                    acker,
                },
            );
            new += 1;
        }
        match (new, &self.feed) {
            (1.., _) => Ok(Fetched::Some),
            (0, Some(feed)) if feed.may_have_more().await? => Ok(Fetched::NothingYet),
            _ => Ok(Fetched::Nothing),
        }
    }

    /// Returns the event at a position, if the queue still holds it.
    pub(super) fn find(&self, position: Position) -> Option<QueuedEvent> {
        let message = self.messages.get(&(position.0 / PLACES))?;
        Some(QueuedEvent {
            position,
            body: message.events.get(&(position.0 % PLACES))?.clone(),
            first_arrival: message.first_arrival,
        })
    }

    /// Sets the gauge to zero if it is known that no event is left.
    fn correct_gauge(&self, gauge: &Gauge) {
        if let (true, Some(additions)) = (self.messages.is_empty(), self.complete) {
            gauge.correct(additions, |_| 0);
        }
    }

    /// Removes events, and acknowledges messages whose events are all removed.
    pub(super) async fn acknowledge(&mut self, positions: Vec<Position>, gauge: &Gauge) {
        let number = positions.len() as u64;
        let mut bytes = 0;
        for position in positions {
            let number = position.0 / PLACES;
            let Some(message) = self.messages.get_mut(&number) else {
                continue;
            };
            if let Some(body) = message.events.remove(&(position.0 % PLACES)) {
                bytes += body.len() as u64;
            }
            if message.events.is_empty() {
                acknowledge(&message.acker).await;
                self.messages.remove(&number);
                self.done.insert(number);
                if self.done.len() > REMEMBERED {
                    self.done.pop_first();
                }
            }
        }
        gauge.subtract(number, bytes);
        self.correct_gauge(gauge);
    }
}

async fn acknowledge(acker: &Acker) {
    if let Err(error) = acker.ack().await {
        log::debug!("an acknowledgement could not be sent: {error}");
    }
}
