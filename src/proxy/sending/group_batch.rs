//! The requests of a group as one batch, and the answer that each client waits for.

use std::net::IpAddr;
use std::ops::Range;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::delivery::{Received, SpoolError, SpooledEvent};
use crate::posthog::{events_within, join, BatchOutline, Envelope};

use crate::proxy::limits::budget::Reservation;
use crate::proxy::outbound::refused_events::RefusedEvent;
use crate::proxy::sending::upload_error::UploadError;
use crate::proxy::spool::backlog::AcceptedBy;

/// The outcome of a request. `Ok` means that its events are stored or accepted, except the listed ones:
/// PostHog rejects these for good while it accepts others of the group.
pub(super) type GroupOutcome = Result<(AcceptedBy, Vec<RefusedEvent>), UploadError>;

/// A request in the queue.
pub(super) struct QueuedRequest {
    pub(super) batch: Vec<u8>,
    pub(super) pending: PendingAnswer,
}

/// The part of a request that is stored until the request is answered. It contains the channel to the
/// waiting client.
pub(super) struct PendingAnswer {
    pub(super) arrived: Received,
    pub(super) outline: Option<BatchOutline>,
    pub(super) sender: oneshot::Sender<GroupOutcome>,
    /// Its share of the memory budget of all requests, which is released with it.
    pub(super) reservation: Reservation,
}

impl PendingAnswer {
    /// Returns the events of the request's own batch, for the spool.
    pub(super) fn events(&self, batch: &Bytes) -> Result<Vec<SpooledEvent>, SpoolError> {
        SpooledEvent::of_written(batch, self.outline.as_ref(), self.arrived)
    }

    /// Sends the client the outcome of its request, unless the client has gone.
    pub(super) fn answer(self, outcome: GroupOutcome) {
        let Self {
            sender,
            reservation,
            ..
        } = self;
        let _ = sender.send(outcome);
        drop(reservation);
    }
}

/// One request of a group, and the byte range of its events in the group's batch.
struct GroupPart {
    range: Range<usize>,
    pending: PendingAnswer,
}

/// A group in flight, as one batch.
pub(super) struct GroupBatch {
    pub(super) batch: Bytes,
    parts: Vec<GroupPart>,
    pub(super) client: Option<IpAddr>,
}

impl GroupBatch {
    pub(super) fn new(
        envelope: &Envelope,
        requests: Vec<QueuedRequest>,
        client: Option<IpAddr>,
    ) -> Self {
        let requests = match <[QueuedRequest; 1]>::try_from(requests) {
            Ok([QueuedRequest { batch, pending }]) => {
                let range = events_within(envelope, &batch);
                return Self {
                    batch: Bytes::from(batch),
                    parts: vec![GroupPart { range, pending }],
                    client,
                };
            }
            Err(requests) => requests,
        };
        let batches = requests.iter().map(|queued| queued.batch.as_slice());
        let (batch, ranges) = join(envelope, batches);
        let pending_answers = requests.into_iter().map(|queued| queued.pending);
        let parts = ranges.into_iter().zip(pending_answers);
        Self {
            batch: Bytes::from(batch),
            parts: parts
                .map(|(range, pending)| GroupPart { range, pending })
                .collect(),
            client,
        }
    }

    /// Returns the events of one request as a separate batch.
    fn batch_of(&self, envelope: &Envelope, part: &GroupPart) -> Bytes {
        let events = self.batch.get(part.range.clone()).unwrap_or_default();
        Bytes::from(envelope.wrap(events))
    }

    /// Returns all events, each with the time at which its request arrived.
    pub(super) fn events(&self, envelope: &Envelope) -> Result<Vec<SpooledEvent>, SpoolError> {
        let mut all = Vec::new();
        for part in &self.parts {
            let batch = self.batch_of(envelope, part);
            all.extend(part.pending.events(&batch)?);
        }
        Ok(all)
    }

    /// Answers the clients in order. `outcome` returns the outcome for the byte range of a client's events.
    pub(super) fn answer_all(self, mut outcome: impl FnMut(&Range<usize>) -> GroupOutcome) {
        for GroupPart { range, pending } in self.parts {
            pending.answer(outcome(&range));
        }
    }
}
