//! What this process has taken of one project, while it has the lead.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use async_nats::jetstream::consumer::{pull, Consumer};
use async_nats::jetstream::message::Acker;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::message::{arrival, unpack, FIRST_ARRIVAL};
use super::streams::{self, Streams};
use crate::delivery::store::{Gauge, Held, Lead, Portion, Position, Rest, Taken};
use crate::delivery::SpoolError;

/// How long the next message of those that were asked for may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// After this, what is here is enough: the lead goes on running.
const LONGEST_TAKE: Duration = Duration::from_secs(1);

/// Messages that are asked for at once.
const MESSAGES: usize = 200;

/// A position is the number of the message, and the event's place in it: a message holds fewer
/// events than this, because each takes more than two bytes of at most a mebibyte.
const PLACES: i64 = 1 << 20;

/// Delivered messages that are remembered, in case their acknowledgement was lost.
const REMEMBERED: usize = 100_000;

/// The part of a project's events that is in this process.
#[derive(Default)]
pub(super) struct Drainage {
    lead: Option<streams::Held>,
    consumer: Option<Consumer<pull::Config>>,
    messages: BTreeMap<i64, Message>,
    done: BTreeSet<i64>,
    /// What had been added from here when the stream was last found to hold no more than is here.
    complete: Option<u64>,
    /// The latest message that was ever here.
    through: i64,
}

struct Message {
    events: BTreeMap<i64, Bytes>,
    first_arrival: SystemTime,
    acker: Acker,
}

impl Drainage {
    pub(super) fn leads(&self) -> bool {
        self.lead.is_some_and(|lead| !lead.left().is_zero())
    }

    /// Once nothing is left: everything up to this message has been delivered.
    pub(super) fn through(&self) -> i64 {
        self.through
    }

    /// Takes, renews or loses the lead.
    pub(super) async fn lead(
        &mut self,
        streams: &Streams,
        project: &str,
    ) -> Result<Lead, SpoolError> {
        let before = self.lead.filter(|lead| !lead.left().is_zero());
        let lead = match before {
            Some(lead) if !lead.is_to_be_renewed() => lead,
            _ => match streams.lead(project, before).await {
                Ok(Some(lead)) => lead,
                Ok(None) => {
                    self.lead = None;
                    self.forget();
                    return Ok(Lead::Theirs);
                }
                // Not renewed this time, but still ours for what is left of it.
                Err(error) => before.ok_or(error)?,
            },
        };
        self.lead = Some(lead);
        if before.is_none() || self.consumer.is_none() {
            // Nobody knows what happened since: begin with the oldest that is there.
            self.forget();
            self.consumer = Some(streams.consumer(project).await?);
        }
        Ok(Lead::Ours(lead.left()))
    }

    fn forget(&mut self) {
        self.consumer = None;
        self.messages.clear();
        self.done.clear();
        self.complete = None;
    }

    /// The oldest events, fetched from the stream as far as they are not here yet.
    pub(super) async fn take(
        &mut self,
        portion: Portion,
        gauge: &Gauge,
    ) -> Result<Taken, SpoolError> {
        let mut rest = Rest::More;
        self.complete = None;
        let begun = Instant::now();
        while !self.holds(portion) {
            if begun.elapsed() > LONGEST_TAKE && !self.messages.is_empty() {
                break;
            }
            let additions = gauge.additions();
            let fetched = self.fetch().await;
            if fetched.is_err() {
                // It may be gone for good: the next lead makes it anew.
                self.consumer = None;
            }
            if fetched? == 0 {
                rest = Rest::Nothing;
                self.complete = Some(additions);
                break;
            }
        }
        self.tell(gauge);
        let mut events: Vec<Held> = Vec::new();
        let mut bytes = 0;
        'all: for (number, message) in &self.messages {
            for (place, body) in &message.events {
                bytes += body.len();
                let enough = events.len() >= portion.events || bytes > portion.bytes;
                if enough && !events.is_empty() {
                    rest = Rest::More;
                    break 'all;
                }
                events.push(Held {
                    position: Position(number * PLACES + place),
                    body: body.clone(),
                    first_arrival: message.first_arrival,
                });
            }
        }
        Ok(Taken { events, rest })
    }

    /// Whether a portion is here without asking the stream.
    fn holds(&self, portion: Portion) -> bool {
        let (mut events, mut bytes) = (0, 0);
        self.messages.values().any(|message| {
            events += message.events.len();
            bytes += message.events.values().map(Bytes::len).sum::<usize>();
            events >= portion.events || bytes > portion.bytes
        })
    }

    /// Asks the stream for more; how many messages it gave that were not here yet.
    async fn fetch(&mut self) -> Result<usize, SpoolError> {
        let Some(consumer) = &self.consumer else {
            return Err(SpoolError::Away("its consumer is not there".to_owned()));
        };
        let failed = |error| SpoolError::Remote {
            doing: "give out events",
            source: std::sync::Arc::from(error),
        };
        let mut messages = consumer
            .fetch()
            .max_messages(MESSAGES)
            .messages()
            .await
            .map_err(|error| failed(error.into()))?;
        let mut new = 0;
        let late = |late| super::remote("give out events", late);
        while let Some(message) = timeout(PATIENCE, messages.next()).await.map_err(late)? {
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
                // Delivered before; its acknowledgement was lost.
                acknowledge(&acker).await;
                continue;
            }
            if let Some(known) = self.messages.get_mut(&number) {
                // Given out again, because it has been here for long.
                known.acker = acker;
                continue;
            }
            let Some(events) = unpack(&message.payload) else {
                log::error!("a message in the spool's stream is not one of ours; it is left out");
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
                Message {
                    events: (0..).zip(events).collect(),
                    first_arrival,
                    acker,
                },
            );
            new += 1;
        }
        Ok(new)
    }

    /// The event at a position, if it is still here.
    pub(super) fn find(&self, position: Position) -> Option<Held> {
        let message = self.messages.get(&(position.0 / PLACES))?;
        Some(Held {
            position,
            body: message.events.get(&(position.0 % PLACES))?.clone(),
            first_arrival: message.first_arrival,
        })
    }

    /// Says that nothing is left, if that is known.
    fn tell(&self, gauge: &Gauge) {
        if let (true, Some(additions)) = (self.messages.is_empty(), self.complete) {
            gauge.correct(additions, |_| 0);
        }
    }

    /// Forgets events, and acknowledges messages of which none is left.
    pub(super) async fn settle(&mut self, positions: Vec<Position>, gauge: &Gauge) {
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
        self.tell(gauge);
    }
}

async fn acknowledge(acker: &Acker) {
    if let Err(error) = acker.ack().await {
        log::debug!("an acknowledgement could not be sent: {error}");
    }
}
