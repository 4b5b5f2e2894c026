//! PostHog as the delivery sees it: something that takes a batch and gives a verdict.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hedgerow_rewrite::posthog::Envelope;

use crate::store::{QueuedEvent, Refusal};

/// The maximum number of characters of a stored answer.
const REASON: usize = 200;

/// A batch on its way to PostHog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingBatch {
    /// The whole request body.
    pub body: Bytes,
    /// How the body is encoded.
    pub encoding: Encoding,
    /// The number of events in it.
    pub events: usize,
}

/// The `Content-Encoding` of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// None: plain JSON.
    Identity,
    /// gzip.
    #[default]
    Gzip,
}

/// The meaning of PostHog's status for a batch (posthog-ingestion 1.7 and 1.8). Everything that
/// happens to batches and to their clients follows from this one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusMeaning {
    /// PostHog has it.
    Yes,
    /// Something in the body is refused, and will be again.
    Refused,
    /// The project key is not taken. The events are good, and wait until that is put right.
    KeyRefused,
    /// It may be taken in a moment.
    Busy,
    /// Not a status of PostHog's ingestion: a wrong region, or a page of another proxy.
    Other,
}

impl StatusMeaning {
    /// The meaning of this status.
    pub fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Yes,
            400 | 413 => Self::Refused,
            401 | 403 => Self::KeyRefused,
            408 | 429 | 500..=599 => Self::Busy,
            _ => Self::Other,
        }
    }
}

/// The outcome of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// PostHog has it.
    Accepted,
    /// The same bytes will be refused again: 400 or 413.
    RefusedForGood(Refusal),
    /// It may be taken later, or it is unknown whether it was taken.
    TryLater {
        /// How long PostHog asks to wait.
        retry_after: Option<Duration>,
        /// The reason, for people.
        why: String,
    },
}

impl Verdict {
    /// The verdict of a status: everything but a permanent rejection waits.
    ///
    /// `answer` is the start of the answer's body, without the keys that it may repeat; its first
    /// 200 characters are stored as the reason.
    pub fn of_status(status: u16, answer: &str, retry_after: Option<Duration>) -> Self {
        match StatusMeaning::of(status) {
            StatusMeaning::Yes => Self::Accepted,
            StatusMeaning::Refused => Self::refused(status, answer),
            StatusMeaning::KeyRefused | StatusMeaning::Busy | StatusMeaning::Other => {
                Self::TryLater {
                    retry_after,
                    why: format!("status {status}"),
                }
            }
        }
    }

    /// A permanent rejection with this status; `answer` as in [`of_status`](Self::of_status).
    pub fn refused(status: u16, answer: &str) -> Self {
        let line = answer.lines().next().unwrap_or_default().trim();
        let line = line.chars().filter(|character| !character.is_control());
        Self::RefusedForGood(Refusal {
            status,
            reason: line.take(REASON).collect(),
        })
    }
}

/// Carries batches to PostHog. The sender of the proxy implements it.
#[async_trait]
pub trait Upstream: Send + Sync + 'static {
    /// The envelope of a project, or nothing if no such project is configured: then its events wait
    /// until it is, or until they are too old.
    fn envelope(&self, project: &str) -> Option<Envelope>;

    /// Sends one batch. Has to come back within the sender's own timeouts.
    async fn deliver(&self, project: &str, batch: OutgoingBatch) -> Verdict;

    /// Called when PostHog has accepted these events of the spool, with the number of those that
    /// still wait.
    fn delivered(&self, _project: &str, _events: &[QueuedEvent], _waiting: u64) {}

    /// Called when this event has become a dead letter.
    fn dead_lettered(&self, _project: &str, _event: &Bytes, _refusal: &Refusal) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_400_and_413_are_about_the_body() {
        for status in [200, 204] {
            assert_eq!(Verdict::of_status(status, "", None), Verdict::Accepted);
        }
        for status in [400, 413] {
            let Verdict::RefusedForGood(refusal) =
                Verdict::of_status(status, "bad \u{1b}event\nsecond line", None)
            else {
                panic!("{status} is final");
            };
            assert_eq!(
                (refusal.status, refusal.reason.as_str()),
                (status, "bad event")
            );
        }
        let wait = Some(Duration::from_secs(3));
        for status in [301, 401, 403, 404, 405, 408, 429, 500, 502, 503, 504] {
            assert!(
                matches!(Verdict::of_status(status, "", wait),
                    Verdict::TryLater { retry_after, .. } if retry_after == wait),
                "{status}"
            );
        }
    }
}
