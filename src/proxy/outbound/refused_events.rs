//! Halves a batch that PostHog rejects for good when there is no spool to store it, so that its good
//! events arrive and the rejected ones are reported.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::delivery::{self, events_of, Encoding, Halving, Refusal, RefusedPart, REFUSED_IN_ROW};
use crate::posthog::Batch;

use crate::proxy::outbound::sender::Destination;
use crate::proxy::outbound::verdict::BatchVerdict;

/// The maximum number of requests for the parts of one batch. One refused event among a thousand needs
/// about twenty.
const REQUESTS: usize = 400;

/// How long a project's events are sent in whole batches after PostHog has refused a streamed batch. A
/// streamed batch cannot be halved, so its client has to send it again.
const CAUTION: Duration = Duration::from_secs(600);

/// An event that PostHog rejects for good.
pub(crate) struct RefusedEvent {
    pub(crate) event: Bytes,
    pub(crate) refusal: Refusal,
}

/// Delivers a batch that PostHog has refused as a whole with `verdict`: sends parts of it until PostHog has
/// accepted all good events, and returns the events that it rejects.
///
/// # Errors
///
/// The final verdict, if the client has to retry the batch: it has fewer than two events, PostHog failed
/// meanwhile, a limit on requests or time was reached, or PostHog accepted no event at all. The events may
/// then not be the cause, so none of them is dropped.
pub(crate) async fn deliver_good_events(
    destination: &Destination,
    batch: &Bytes,
    client: Option<IpAddr>,
    verdict: BatchVerdict,
) -> Result<Vec<RefusedEvent>, BatchVerdict> {
    let events = events_of(batch).unwrap_or_default();
    if events.len() < 2 {
        return Err(verdict);
    }
    let until = Instant::now() + destination.timeout();
    let mut halving = Halving::new(events);
    let mut refused_events = Vec::new();
    let mut accepted = PartAccepted::Nothing;
    // The whole batch was sent before.
    if let Some(whole) = halving.next_part() {
        halving.refused(whole);
    }
    for _ in 0..REQUESTS {
        let Some(part) = halving.next_part() else {
            return match accepted {
                PartAccepted::Something => Ok(refused_events),
                PartAccepted::Nothing => Err(verdict),
            };
        };
        if Instant::now() >= until {
            break;
        }
        let body = Bytes::from(Batch::of(destination.envelope(), &part));
        let answer = destination.deliver(&body, Encoding::Identity, client).await;
        destination.note(answer.verdict);
        match answer.for_delivery() {
            delivery::Verdict::Accepted => accepted = PartAccepted::Something,
            delivery::Verdict::TryLater { .. } => return Err(answer.verdict),
            delivery::Verdict::RefusedForGood(refusal) => {
                if let RefusedPart::Culprit(event) = halving.refused(part) {
                    refused_events.push(RefusedEvent { event, refusal });
                    let hopeless = refused_events.len() >= REFUSED_IN_ROW as usize;
                    if hopeless && accepted == PartAccepted::Nothing {
                        break;
                    }
                }
            }
        }
    }
    Err(verdict)
}

/// Whether PostHog has accepted any part of a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PartAccepted {
    Nothing,
    Something,
}

/// The projects whose events are sent in whole batches for some time, with the end of that time.
#[derive(Debug, Default)]
pub(crate) struct WholeBatchProjects(Mutex<HashMap<String, Instant>>);

impl WholeBatchProjects {
    /// Records that PostHog has refused a streamed batch of this project.
    pub(crate) fn begin(&self, project: &str) {
        let mut projects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        projects.insert(project.to_owned(), Instant::now() + CAUTION);
    }

    pub(crate) fn applies_to(&self, project: &str) -> bool {
        let projects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        projects
            .get(project)
            .is_some_and(|until| Instant::now() < *until)
    }
}
