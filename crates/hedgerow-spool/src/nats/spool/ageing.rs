//! Drops messages that are older than `max_age`, and shares the record of ages with the other proxies.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};

use super::age::{AgeBook, AgeRecord, LastNumbers, StreamsMade};
use super::faults::{self, remote, NotPublished};
use super::inner::NatsSpoolInner;
use super::message::unpack;
use super::streams::{created, Streams};
use super::trouble::Outlook;
use crate::error::SpoolError;
use crate::store::Counters;

/// The most messages that one round drops from a stream.
const AT_ONCE: usize = 1_000;
/// How long a round may read from a stream: other work waits during a round.
const LONGEST_ROUND: Duration = Duration::from_millis(500);

/// The messages that a round has dropped.
#[derive(Default)]
struct DroppedMessages {
    /// The number of the last message.
    through: u64,
    messages: u64,
    /// The number of events and their bytes, by project.
    events: HashMap<String, (u64, u64)>,
}

impl NatsSpoolInner {
    /// Runs one round: shares the record when that is due, and drops messages that are too old.
    pub(super) async fn age(&self, book: &mut Option<AgeBook>) -> Result<(), SpoolError> {
        let streams = self.streams().await?;
        let made = StreamsMade {
            waiting: created(&streams.waiting),
            dead: created(&streams.dead),
        };
        let known = book.take().filter(|known| known.is_of(&made));
        let book = book.insert(known.unwrap_or_else(|| {
            // The streams are new to this process: what it knew about earlier messages is not valid.
            self.expired.store(0, Ordering::Relaxed);
            let mut beginning = [0; 8];
            // Without a source of randomness, two beginnings may be equal, and ages slightly wrong.
            let _ = getrandom::fill(&mut beginning);
            let beginning = u64::from_le_bytes(beginning);
            AgeBook::new(self.settings.max_age, made, beginning, Instant::now())
        }));
        if book.is_due(Instant::now()) {
            let failed = |error| remote("report its contents", error);
            let waiting = streams.waiting.get_info().await.map_err(failed)?.state;
            let dead = streams.dead.get_info().await.map_err(failed)?.state;
            let last = LastNumbers {
                waiting: waiting.last_sequence,
                dead: dead.last_sequence,
            };
            book.mark(last, Instant::now());
            if waiting.messages + dead.messages > 0 {
                if let Err(error) = self.share(&streams, book).await {
                    self.log_once(&error);
                }
            }
            book.shared(Instant::now());
        }
        let old = book.too_old(Instant::now());
        if old.waiting > 0 {
            self.drop_waiting(&streams, old.waiting).await?;
        }
        if old.dead > 0 {
            self.drop_dead(&streams, old.dead).await?;
        }
        Ok(())
    }

    /// Logs once that the record cannot be stored: without the record, each start of a process begins
    /// the ages of the waiting events again. Does not log an error that may pass by itself.
    fn log_once(&self, error: &SpoolError) {
        let is_lasting = faults::outlook(error) == Outlook::Lasting;
        if is_lasting && self.age_is_shared.swap(false, Ordering::Relaxed) {
            log::warn!(
                "the age of waiting events cannot be stored, so it begins again with each start: {error}"
            );
        }
    }

    /// Merges the record in the stream of ages into this process's record, and publishes the result.
    async fn share(&self, streams: &Streams, book: &mut AgeBook) -> Result<(), SpoolError> {
        let stream = streams.ages().await?;
        let subject = streams.age_subject();
        let found = stream.get_last_raw_message_by_subject(&subject).await;
        let sequence = match found {
            Ok(message) => {
                match serde_json::from_slice::<AgeRecord>(&message.payload) {
                    Ok(shared) => book.merge(shared, Instant::now()),
                    Err(error) => log::debug!("the record of ages cannot be read: {error}"),
                }
                message.sequence
            }
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => 0,
            Err(error) => return Err(remote("read the age of its events", error)),
        };
        let text = serde_json::to_vec(book.record(Instant::now()))
            .map_err(|error| remote("write the age of its events", error))?;
        let message = PublishMessage::build()
            .payload(text.into())
            .expected_last_subject_sequence(sequence);
        match self.publish_once(subject, message).await {
            Ok(_) => {
                book.joined();
                Ok(())
            }
            // Another proxy wrote first. The next call merges its record.
            Err(NotPublished::Failed(error))
                if error.kind() == PublishErrorKind::WrongLastSequence =>
            {
                Ok(())
            }
            Err(error) => Err(remote("write the age of its events", error)),
        }
    }

    async fn drop_waiting(&self, streams: &Streams, old: u64) -> Result<(), SpoolError> {
        let subjects = streams.all_events();
        let dropped = drop_round(streams, &streams.waiting, subjects, old).await?;
        let through = i64::try_from(dropped.through).unwrap_or(i64::MAX);
        // The next `peek` also removes these messages from this process's memory.
        self.expired.fetch_max(through, Ordering::Relaxed);
        let events = dropped.events.values().map(|(events, _)| events).sum();
        for (project, (events, bytes)) in dropped.events {
            self.gauges.of(&project).subtract(events, bytes);
        }
        if dropped.messages > 0 {
            log::error!("{events} events were dropped: they were older than `max_age`");
            Counters::add(&self.counters.expired, events);
        }
        Ok(())
    }

    async fn drop_dead(&self, streams: &Streams, old: u64) -> Result<(), SpoolError> {
        let dropped = drop_round(streams, &streams.dead, streams.all_dead(), old).await?;
        if dropped.messages > 0 {
            log::error!(
                "{} dead letters were dropped: they were older than `max_age`",
                dropped.messages
            );
            Counters::add(&self.counters.expired, dropped.messages);
        }
        Ok(())
    }
}

/// Drops the first messages up to the number `old`, at most as many as one round may drop.
async fn drop_round(
    streams: &Streams,
    stream: &Stream,
    subjects: String,
    old: u64,
) -> Result<DroppedMessages, SpoolError> {
    let begun = Instant::now();
    let mut dropped = DroppedMessages::default();
    let mut read = 0;
    while read < AT_ONCE && begun.elapsed() < LONGEST_ROUND {
        let next = stream.get_first_raw_message_by_subject(&subjects, dropped.through + 1);
        let message = match next.await {
            Ok(message) if message.sequence <= old => message,
            Ok(_) => break,
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => break,
            Err(error) => return Err(remote("read its oldest messages", error)),
        };
        read += 1;
        dropped.through = message.sequence;
        let project = streams.project_of(&message.subject).unwrap_or_default();
        let events = unpack(&message.payload).map_or(1, |events| events.len() as u64);
        let of_project = dropped.events.entry(project).or_default();
        of_project.0 += events;
        of_project.1 += message.payload.len() as u64;
    }
    if read == 0 {
        return Ok(dropped);
    }
    // The server purges up to but not including this number.
    let purge = stream
        .purge()
        .filter(subjects)
        .sequence(dropped.through + 1);
    let purged = purge
        .await
        .map_err(|error| remote("drop its oldest messages", error))?;
    // If another proxy has dropped the messages first, that proxy counts them.
    dropped.messages = purged.purged;
    if purged.purged == 0 {
        dropped.events.clear();
    }
    Ok(dropped)
}
