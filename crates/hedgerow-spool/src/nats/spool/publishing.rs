//! Publishes runs of events and dead letters to the streams.

use std::sync::PoisonError;
use std::time::Instant;

use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;

use super::faults::{self, remote, NotPublished, PublishFault};
use super::inner::NatsSpoolInner;
use super::limits::{ANSWER, HEADERS, PAUSE};
use super::message::{self, Run};
use super::names;
use super::trouble::Outlook;
use crate::error::SpoolError;
use crate::store::Refusal;
use crate::store::{Counters, QueuedEvent};

/// The result of publishing a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeadLetterResult {
    Kept,
    TooLarge,
}

impl NatsSpoolInner {
    /// Publishes one run. Retries until the stream confirms it, the time `until` has passed, or a retry
    /// cannot help. The stream recognises a retry by the message id, so it stores the run once.
    pub(super) async fn publish(
        &self,
        project: &str,
        run: &Run,
        until: Instant,
    ) -> Result<(), SpoolError> {
        let mut tries = 0_u32;
        let published = loop {
            // Without a timeout, a command that no server accepts would wait forever in the client's queue.
            let tried = tokio::time::timeout(ANSWER * 2, self.try_publish(project, run)).await;
            let tried = tried.unwrap_or_else(|late| {
                let error = remote("store events", late);
                Err((PublishFault::Passing, error))
            });
            match tried {
                Ok(published) => break published,
                // A retry would fail for the same reason.
                Err((
                    PublishFault::TooLarge | PublishFault::Full | PublishFault::Lasting,
                    error,
                )) => return Err(error),
                Err(_) if Instant::now() + PAUSE < until => tokio::time::sleep(PAUSE).await,
                Err((_, error)) => return Err(error),
            }
            tries += 1;
        };
        // If the stream knows the run at the first try, a client has sent it again, and it is already
        // counted. If the stream knows it at a later try, only the answer to an earlier try was lost.
        {
            let mut last_published = self
                .last_published
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let latest = last_published.entry(project.to_owned()).or_default();
            *latest = (*latest).max(i64::try_from(published.sequence).unwrap_or(i64::MAX));
        }
        if published.duplicate && tries == 0 {
            Counters::add(&self.counters.deduplicated, run.events);
        } else {
            Counters::add(&self.counters.appended, run.events);
            self.gauges.of(project).add(run.events, run.bytes);
        }
        Counters::add(&self.counters.commits, 1);
        Ok(())
    }

    async fn try_publish(
        &self,
        project: &str,
        run: &Run,
    ) -> Result<PublishAck, (PublishFault, SpoolError)> {
        let streams = self
            .streams()
            .await
            .map_err(|error| self.without_streams(error))?;
        let message = PublishMessage::build()
            .payload(run.payload.clone())
            .message_id(format!("{}:{}", names::token(project), run.id))
            .header(message::FIRST_ARRIVAL, run.first_arrival.to_string());
        let error = match self.publish_once(streams.events_of(project), message).await {
            Ok(published) => return Ok(published),
            Err(error) => error,
        };
        let fault = faults::of(&error);
        Err(match fault {
            PublishFault::TooLarge => {
                let error = SpoolError::TooLarge {
                    events: run.events,
                    of: run.events,
                    largest: self.largest_event().await.unwrap_or(0),
                };
                (fault, error)
            }
            PublishFault::NoStream => {
                self.forget_streams().await;
                (fault, remote("store events", error))
            }
            PublishFault::Full | PublishFault::Lasting | PublishFault::Passing => {
                (fault, remote("store events", error))
            }
        })
    }

    /// Returns the fault and the error of an append when the streams cannot be found.
    fn without_streams(&self, error: SpoolError) -> (PublishFault, SpoolError) {
        if let Some(denied) = self.connection.denials().recent() {
            return (PublishFault::Lasting, remote("find its streams", denied));
        }
        match self.outlook(&error) {
            Outlook::Lasting => (PublishFault::Lasting, error),
            Outlook::Passing => (PublishFault::Passing, error),
        }
    }

    /// Publishes a message once. Also waits for a denial, because the servers do not answer a message that
    /// they forbid.
    pub(super) async fn publish_once(
        &self,
        subject: String,
        message: PublishMessage,
    ) -> Result<PublishAck, NotPublished> {
        let denied = self.connection.denials().of(&subject);
        let published = async {
            let sent = self
                .connection
                .context
                .send_publish(subject.clone(), message);
            sent.await?.await
        };
        tokio::select! {
            published = published => Ok(published?),
            denied = denied => Err(denied.into()),
        }
    }

    /// Publishes an event that PostHog refused to the stream of dead letters. Creates the stream again if
    /// it has been deleted.
    pub(super) async fn publish_dead_letter(
        &self,
        project: &str,
        event: &QueuedEvent,
        refusal: &Refusal,
    ) -> Result<DeadLetterResult, SpoolError> {
        let arrived = crate::event::milliseconds(event.first_arrival);
        let reason = refusal.reason.chars();
        let reason = reason.filter(|character| character.is_ascii() && !character.is_control());
        let reason: String = reason.take(HEADERS / 2).collect();
        let letter = || {
            PublishMessage::build()
                .payload(event.body.clone())
                .message_id(format!("{}:{}", names::token(project), event.position.0))
                .header(message::FIRST_ARRIVAL, arrived.to_string())
                .header(message::STATUS, refusal.status.to_string())
                .header(message::REASON, reason.clone())
        };
        let mut tries = 0;
        loop {
            let streams = self.streams().await?;
            let sent = self.publish_once(streams.dead_of(project), letter());
            let Err(error) = sent.await else {
                return Ok(DeadLetterResult::Kept);
            };
            match faults::of(&error) {
                PublishFault::TooLarge => return Ok(DeadLetterResult::TooLarge),
                PublishFault::NoStream if tries == 0 => {
                    self.forget_streams().await;
                    tries += 1;
                }
                _ => return Err(remote("store a dead letter", error)),
            }
        }
    }
}
