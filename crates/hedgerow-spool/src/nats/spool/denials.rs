//! The operations that the servers forbid. The servers report a denial as a separate message, and do
//! not answer the forbidden operation itself.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;

/// How often a publication that waits for its answer checks for a denial.
const LOOK: Duration = Duration::from_millis(20);

/// How long a denial counts as the reason for a missing answer.
const RECENT: Duration = Duration::from_secs(10);

/// The servers' most recent denial.
#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<Option<Denial>>);

#[derive(Debug)]
struct Denial {
    at: Instant,
    /// The servers' message.
    text: String,
    /// When the log last reported the denial.
    logged: Instant,
}

/// The login lacks the right to perform the operation.
#[derive(Debug, Clone, Error)]
#[error("the NATS servers deny the login a permission: {0}")]
pub(super) struct Denied(String);

/// The shortest time between two log lines about the same denial.
const REMINDER: Duration = Duration::from_secs(60);

impl Denials {
    /// Records a server's message if it is a denial.
    pub(super) fn note(&self, text: &str) {
        if !text.to_ascii_lowercase().contains("permissions violation") {
            return;
        }
        let now = Instant::now();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last
            .as_ref()
            .filter(|last| last.text == text && now.duration_since(last.logged) < REMINDER);
        let logged = known.map(|last| last.logged).unwrap_or_else(|| {
            log::error!("the NATS servers of the spool deny the login a permission: {text}");
            now
        });
        *last = Some(Denial {
            at: now,
            text: text.to_owned(),
            logged,
        });
    }

    /// Waits until the servers deny an operation on this subject.
    pub(super) async fn of(&self, subject: &str) -> Denied {
        let since = Instant::now();
        let named = format!("\"{subject}\"").to_ascii_lowercase();
        loop {
            tokio::time::sleep(LOOK).await;
            let text = self.text_since(since);
            if let Some(text) = text.filter(|text| text.to_ascii_lowercase().contains(&named)) {
                return Denied(text);
            }
        }
    }

    /// Returns the most recent denial, if it can be the reason for a missing answer.
    pub(super) fn recent(&self) -> Option<Denied> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A denied subscription counts at any age. The client subscribes to the answers only once for each
        // connection, and without this subscription no answer arrives.
        let counts = |last: &&Denial| {
            last.at.elapsed() <= RECENT || last.text.to_ascii_lowercase().contains("subscription")
        };
        let last = last.as_ref().filter(counts);
        last.map(|last| Denied(last.text.clone()))
    }

    /// Returns the most recent denial if it forbids the login to receive the servers' answers. The client
    /// subscribes to the answers once for each connection.
    pub(super) fn of_answers(&self) -> Option<Denied> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_answers = |last: &&Denial| {
            let text = last.text.to_ascii_lowercase();
            text.contains("subscription") && text.contains("_inbox")
        };
        let last = last.as_ref().filter(of_answers);
        last.map(|last| Denied(last.text.clone()))
    }

    /// Forgets the denial, because a new connection may have other rights.
    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn text_since(&self, since: Instant) -> Option<String> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.as_ref().filter(|last| last.at >= since);
        last.map(|last| last.text.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_publication_learns_that_its_subject_is_forbidden_and_another_one_does_not() {
        let denials = Denials::default();
        assert!(denials.recent().is_none());
        let (denied, ()) = tokio::join!(denials.of("H.events.a"), async {
            denials.note("nats: slow consumer");
            denials.note("nats: Permissions Violation for Publish to \"H.events.a\"");
        });
        assert!(denials.of_answers().is_none());
        assert!(denied.to_string().contains("H.events.a"), "{denied}");
        let other = tokio::time::timeout(LOOK * 4, denials.of("H.events.b"));
        assert!(other.await.is_err());
        assert!(denials.recent().is_some());
        denials.note("nats: Permissions Violation for Subscription to \"_INBOX.a.*\" (sid \"0\")");
        assert!(denials.of_answers().is_some());
    }
}
