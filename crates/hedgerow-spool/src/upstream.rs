//! The interface to PostHog: it takes a batch and returns a verdict.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hedgerow_rewrite::posthog::Envelope;

use crate::store::{QueuedEvent, Refusal};

/// The maximum number of characters of an answer that are stored.
const REASON: usize = 200;

/// A batch on its way to PostHog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingBatch {
    /// The whole request body.
    pub body: Bytes,
    /// How the body is encoded.
    pub encoding: Encoding,
    /// The number of events in the batch.
    pub events: usize,
}

/// The `Content-Encoding` of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// No encoding: plain JSON.
    Identity,
    /// gzip.
    #[default]
    Gzip,
}

/// The meaning of PostHog's status for a batch (posthog-ingestion 1.7 and 1.8). This table alone decides
/// what happens to batches and what their clients get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusMeaning {
    /// PostHog has accepted the batch.
    Yes,
    /// PostHog refuses something in the body, and would refuse it again.
    Refused,
    /// PostHog refuses the project key. The events are good, and wait until the key is corrected.
    KeyRefused,
    /// PostHog may accept the batch later.
    Busy,
    /// PostHog's ingestion does not send this status. The region may be wrong, or another proxy may have
    /// answered.
    Other,
}

impl StatusMeaning {
    /// Returns the meaning of a status.
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
    /// PostHog has accepted the batch.
    Accepted,
    /// PostHog would refuse the same bytes again: status 400 or 413.
    RefusedForGood(Refusal),
    /// PostHog may accept the batch later, or it is unknown whether PostHog accepted it.
    TryLater {
        /// How long PostHog asks to wait, if it does.
        retry_after: Option<Duration>,
        /// The reason, for people.
        why: String,
    },
}

impl Verdict {
    /// Returns the verdict for a status. Every batch that is neither accepted nor rejected for good waits.
    ///
    /// `answer` is the start of the answer's body, without the keys that it may repeat. The first 200
    /// characters of its first line are stored as the reason.
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

    /// Returns a permanent rejection with this status; `answer` as in [`of_status`](Self::of_status).
    pub fn refused(status: u16, answer: &str) -> Self {
        let line = answer.lines().next().unwrap_or_default().trim();
        let line = line.chars().filter(|character| !character.is_control());
        Self::RefusedForGood(Refusal {
            status,
            reason: line.take(REASON).collect(),
        })
    }
}

/// Sends batches to PostHog. The sender of the proxy implements this trait.
#[async_trait]
pub trait Upstream: Send + Sync + 'static {
    /// Returns the envelope of a project, or `None` if no such project is configured. Then its events wait
    /// until it is configured, or until they are too old.
    fn envelope(&self, project: &str) -> Option<Envelope>;

    /// Sends one batch. It must return within the sender's own timeouts.
    async fn deliver(&self, project: &str, batch: OutgoingBatch) -> Verdict;

    /// The replay calls this when PostHog has accepted events of the spool. `_waiting` is the number of
    /// events that still wait.
    fn delivered(&self, _project: &str, _events: &[QueuedEvent], _waiting: u64) {}

    /// The replay calls this when an event has become a dead letter.
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
