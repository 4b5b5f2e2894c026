//! Runs `hedgerow spool` on a distributed spool. The command uses the streams directly, and the proxies
//! keep running.

use std::io::Write;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::RawMessageErrorKind;
use async_nats::HeaderMap;
use bytes::Bytes;
use futures_util::StreamExt;

use super::connection::NatsConnection;
use super::faults::remote;
use super::limits::event_in;
use super::message::{alone, arrival, FIRST_ARRIVAL, REASON, STATUS};
use super::names;
use super::settings::NatsSettings;
use super::streams::Streams;
use crate::command::{CommandError, Selection, SpoolCommand};
use crate::error::SpoolError;
use crate::listing::{time, ListedCount, Listing, WaitingRow};
use crate::store::{DeadLetter, Refusal};

/// How long a command waits for a connection to a server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl NatsSettings {
    /// Returns the size, in bytes, of the largest event that the servers (`max_payload`) and the stream,
    /// if it exists, accept. Returns `None` if there is no limit.
    ///
    /// # Errors
    ///
    /// [`SpoolError::Away`] when no server answers, else [`SpoolError::Remote`].
    pub(super) fn ask_largest_event(&self) -> Result<Option<usize>, CommandError> {
        let (connection, _thread_guard) = NatsConnection::open(self)?;
        let runtime = connection.runtime.clone();
        runtime.block_on(async {
            connection.wait(CONNECT_TIMEOUT).await?;
            let servers = Some(connection.client.server_info().max_payload);
            let servers = servers.filter(|limit| *limit > 0);
            let stream = match Streams::find(&connection, self).await {
                Ok(streams) => streams.largest_message(),
                Err(SpoolError::NoStream(_)) => None,
                Err(error) => return Err(error.into()),
            };
            Ok(servers.into_iter().chain(stream).min().map(event_in))
        })
    }
}

impl NatsSettings {
    /// Checks whether a process could use the streams. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`SpoolError::Away`] when no server answers, else [`SpoolError::Remote`] with the reason.
    pub(super) fn ask_streams(&self) -> Result<(), SpoolError> {
        let (connection, _thread_guard) = NatsConnection::open(self)?;
        let runtime = connection.runtime.clone();
        runtime.block_on(async {
            connection.wait(CONNECT_TIMEOUT).await?;
            let examined = Streams::examine(&connection, self).await;
            examined.map_err(|error| connection.explain(error))
        })
    }
}

impl SpoolCommand {
    /// Runs the command on the spool on NATS, and writes the result as lines. The number of a dead letter
    /// is the number of its message. `ls` counts waiting events in messages, and a message holds one
    /// event or more.
    ///
    /// `retry` and `drop` process one letter after the other. If an error occurs, the letters before it
    /// are done, and the result states how many.
    ///
    /// # Errors
    /// [`SpoolError::Away`] when no server answers, [`SpoolError::NoStream`] if no proxy has created
    /// the streams, [`SpoolError::NoSuchDeadLetter`] for a number that no letter has (the command checks
    /// all numbers before it changes anything), else [`SpoolError::Remote`].
    pub(super) fn run_on_nats(
        &self,
        settings: &NatsSettings,
        out: &mut dyn Write,
    ) -> Result<(), CommandError> {
        let (connection, _thread_guard) = NatsConnection::open(settings)?;
        let runtime = connection.runtime.clone();
        runtime.block_on(async {
            connection.wait(CONNECT_TIMEOUT).await?;
            let streams = Streams::find(&connection, settings).await?;
            self.carry_out(&streams, out).await
        })
    }

    async fn carry_out(&self, streams: &Streams, out: &mut dyn Write) -> Result<(), CommandError> {
        match self {
            Self::Ls(format) => Ok(format.write(&list(streams).await?, out)?),
            Self::Show { number } => {
                let letter = streams.letter(*number).await?;
                out.write_all(&letter.body)?;
                writeln!(out)?;
                Ok(())
            }
            Self::Retry(letters) => {
                let numbers = streams.resolve(letters).await?;
                let mut done = 0;
                let result = streams
                    .each(&numbers, &mut done, DeadLetterAction::Retry)
                    .await;
                writeln!(out, "{done} back in the queue")?;
                Ok(result?)
            }
            Self::Drop(letters) => {
                let numbers = streams.resolve(letters).await?;
                let mut done = 0;
                let result = streams
                    .each(&numbers, &mut done, DeadLetterAction::Drop)
                    .await;
                writeln!(out, "{done} dropped")?;
                Ok(result?)
            }
        }
    }
}

/// The action that a command performs on a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeadLetterAction {
    Retry,
    Drop,
}

impl Streams {
    /// Returns the first dead letter that has this number or a larger one.
    async fn letter_from(&self, number: u64) -> Result<Option<DeadLetter>, SpoolError> {
        let found = self
            .dead
            .get_first_raw_message_by_subject(self.all_dead(), number)
            .await;
        match found {
            Ok(message) => Ok(Some(self.letter_of(message))),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(remote("read its dead letters", error)),
        }
    }

    async fn letter(&self, number: i64) -> Result<DeadLetter, SpoolError> {
        let missing = SpoolError::NoSuchDeadLetter(number);
        let Some(from) = u64::try_from(number).ok().filter(|from| *from > 0) else {
            return Err(missing);
        };
        let found = self.letter_from(from).await?;
        found
            .filter(|letter| letter.number == number)
            .ok_or(missing)
    }

    fn letter_of(&self, message: StreamMessage) -> DeadLetter {
        let text = |name: &str| message.headers.get(name).map(|value| value.as_str());
        let refused_at = SystemTime::from(message.time);
        DeadLetter {
            number: i64::try_from(message.sequence).unwrap_or(i64::MAX),
            project: self.project_of(&message.subject).unwrap_or_default(),
            first_arrival: first_arrival(&message.headers).unwrap_or(refused_at),
            refused_at,
            refusal: Refusal {
                status: text(STATUS).and_then(|text| text.parse().ok()).unwrap_or(0),
                reason: text(REASON).unwrap_or_default().to_owned(),
            },
            body: message.payload,
        }
    }

    async fn resolve(&self, letters: &Selection) -> Result<Vec<i64>, SpoolError> {
        if let Selection::Numbers(numbers) = letters {
            let mut numbers = numbers.clone();
            numbers.sort_unstable();
            numbers.dedup();
            for number in &numbers {
                self.letter(*number).await?;
            }
            return Ok(numbers);
        }
        let mut numbers = Vec::new();
        while let Some(letter) = self.letter_from(next(numbers.last())).await? {
            numbers.push(letter.number);
        }
        Ok(numbers)
    }

    async fn each(
        &self,
        numbers: &[i64],
        done: &mut usize,
        action: DeadLetterAction,
    ) -> Result<(), SpoolError> {
        for number in numbers {
            let letter = self.letter(*number).await?;
            if action == DeadLetterAction::Retry {
                self.requeue(&letter).await?;
            }
            // Deletes the letter last, so that a retry that fails keeps it.
            self.dead
                .delete_message(letter.number.unsigned_abs())
                .await
                .map_err(|error| remote("delete a dead letter", error))?;
            *done += 1;
        }
        Ok(())
    }

    /// Appends a dead letter to the waiting events.
    async fn requeue(&self, letter: &DeadLetter) -> Result<(), SpoolError> {
        let arrived = crate::event::milliseconds(letter.first_arrival);
        let payload: Bytes = alone(&letter.body);
        let token = names::token(&letter.project);
        // Not the id of the first message: the stream may still remember it, and would drop this one.
        let refused_at = crate::event::milliseconds(letter.refused_at);
        let message = PublishMessage::build()
            .payload(payload)
            .message_id(format!("{token}:letter:{}:{refused_at}", letter.number))
            .header(FIRST_ARRIVAL, arrived.to_string());
        let sent = self
            .context
            .send_publish(self.events_of(&letter.project), message)
            .await;
        let published = match sent {
            Ok(acknowledged) => acknowledged.await,
            Err(error) => Err(error),
        };
        published
            .map(drop)
            .map_err(|error| remote("put a dead letter back", error))
    }
}

async fn list(streams: &Streams) -> Result<Listing, SpoolError> {
    let failed = |error| remote("report its waiting events", error);
    let found = streams
        .waiting
        .info_with_subjects(streams.all_events())
        .await;
    let mut subjects = found.map_err(|error| remote("report its waiting events", error))?;
    let mut waiting = Vec::new();
    while let Some(subject) = subjects.next().await {
        let (subject, messages) = subject.map_err(failed)?;
        if messages > 0 {
            waiting.push((subject, messages));
        }
    }
    waiting.sort_unstable();
    let mut listing = Listing::default();
    for (subject, messages) in waiting {
        let project = streams.project_of(&subject).unwrap_or_default();
        let first = streams
            .waiting
            .get_first_raw_message_by_subject(&subject, 1)
            .await;
        // A proxy may have delivered the message meanwhile.
        let oldest = first.ok().and_then(|first| first_arrival(&first.headers));
        listing.waiting.push(WaitingRow {
            project,
            amount: ListedCount::Messages {
                messages: messages as u64,
            },
            oldest: oldest.map(time),
        });
    }
    let mut number = None;
    while let Some(letter) = streams.letter_from(next(number.as_ref())).await? {
        number = Some(letter.number);
        listing.dead.push(letter.into());
    }
    for stream in [&streams.waiting, &streams.dead] {
        let info = stream.get_info().await;
        listing.bytes += info
            .map_err(|error| remote("report its contents", error))?
            .state
            .bytes;
    }
    Ok(listing)
}

/// Returns the number after this one, or 1.
fn next(number: Option<&i64>) -> u64 {
    number.map_or(1, |number| number.unsigned_abs() + 1)
}

fn first_arrival(headers: &HeaderMap) -> Option<SystemTime> {
    arrival(headers.get(FIRST_ARRIVAL)?.as_str())
}
