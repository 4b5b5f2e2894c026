//! A batch that PostHog rejects for good and no spool can store: it is halved at once, so that its
//! good events arrive and the rejected one is reported.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::delivery::{self, events_of, Encoding, Halving, Refusal, RefusedPart, REFUSED_IN_ROW};
use crate::posthog::Batch;

use crate::proxy::outbound::sender::Destination;
use crate::proxy::outbound::verdict::BatchVerdict;

/// The most requests for the parts of one batch. One refused event among a thousand costs twenty.
const REQUESTS: usize = 400;

/// How long a project's bodies leave as whole batches after PostHog has refused a streamed one: a
/// streamed batch cannot be halved, so the client sends it again.
const CAUTION: Duration = Duration::from_secs(600);

/// An event that PostHog rejects for good.
pub(crate) struct RefusedEvent {
    pub(crate) event: Bytes,
    pub(crate) refusal: Refusal,
}

/// Sends the events that PostHog takes of a batch that it has refused as a whole with `verdict`, and
/// returns those that it does not take.
///
/// # Errors
///
/// The final verdict, if the client has to retry the batch: PostHog failed meanwhile, the limits on
/// requests and time were reached, or it accepted no event at all. Then the events may not be the
/// cause, and none of them is dropped.
pub(crate) async fn deliver_without(
    destination: &Destination,
    batch: &Bytes,
    from: Option<IpAddr>,
    verdict: BatchVerdict,
) -> Result<Vec<RefusedEvent>, BatchVerdict> {
    let events = events_of(batch).unwrap_or_default();
    if events.len() < 2 {
        return Err(verdict);
    }
    let until = Instant::now() + destination.patience();
    let mut halving = Halving::new(events);
    let mut culprits = Vec::new();
    let mut accepted = PartAccepted::Nothing;
    // The whole batch was sent before.
    if let Some(whole) = halving.next_part() {
        halving.refused(whole);
    }
    for _ in 0..REQUESTS {
        let Some(part) = halving.next_part() else {
            return match accepted {
                PartAccepted::Something => Ok(culprits),
                PartAccepted::Nothing => Err(verdict),
            };
        };
        if Instant::now() >= until {
            break;
        }
        let body = Bytes::from(Batch::of(destination.envelope(), &part));
        let said = destination.deliver(&body, Encoding::Identity, from).await;
        destination.note(said.verdict);
        match said.for_delivery() {
            delivery::Verdict::Accepted => accepted = PartAccepted::Something,
            delivery::Verdict::TryLater { .. } => return Err(said.verdict),
            delivery::Verdict::RefusedForGood(refusal) => {
                if let RefusedPart::Culprit(event) = halving.refused(part) {
                    culprits.push(RefusedEvent { event, refusal });
                    let hopeless = culprits.len() >= REFUSED_IN_ROW as usize;
                    if hopeless && accepted == PartAccepted::Nothing {
                        break;
                    }
                }
            }
        }
    }
    Err(verdict)
}

/// Whether PostHog has taken any part of a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PartAccepted {
    Nothing,
    Something,
}

/// The projects whose bodies leave as whole batches for some time.
#[derive(Debug, Default)]
pub(crate) struct WholeBatchProjects(Mutex<HashMap<String, Instant>>);

impl WholeBatchProjects {
    /// PostHog has refused a batch of this project that streamed.
    pub(crate) fn begin(&self, project: &str) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.insert(project.to_owned(), Instant::now() + CAUTION);
    }

    pub(crate) fn applies_to(&self, project: &str) -> bool {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.get(project)
            .is_some_and(|until| Instant::now() < *until)
    }
}
