//! `mode: group`: the requests of a project leave together, and each client is answered when its
//! events are safe.
//!
//! No task waits for requests: the first one sets a timer, and what leaves is carried by a task of
//! its own, so that a client that hangs up takes no other client's events with it.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use pingora::time::timeout;
use tokio::sync::oneshot;

use crate::config;
use crate::delivery::{
    Bounds, DeliveryMode, Encoding, Finished, Queue, Received, RequestId, RequestInfo, SpoolError,
    SpooledEvent,
};
use crate::posthog::{events_within, join, Bearing, Envelope, Outline};

use crate::proxy::intake::stop::UploadError;
use crate::proxy::intake::verdict::{Fallback, Trouble, Verdict};
use crate::proxy::limits::budget::Reservation;
use crate::proxy::operator::log_limit::LogLimit;
use crate::proxy::outbound::culprits::{blames_events, deliver_without, Culprit};
use crate::proxy::outbound::sender::Destination;
use crate::proxy::spool::backlog::{Holder, ProjectSpool};

/// Groups of a project under way at once. What comes while so many wait for their answers leaves
/// in larger groups afterwards.
const UNDER_WAY: usize = 64;

/// What became of a request: with `Ok` its events are safe, but for those that PostHog refuses for
/// good while it takes others of the group.
type Outcome = Result<(Holder, Vec<Culprit>), UploadError>;

/// The requests of one project that wait to leave together.
pub(crate) struct Gathering {
    destination: Arc<Destination>,
    spool: Option<ProjectSpool>,
    log_limit: Arc<LogLimit>,
    state: Mutex<State>,
}

struct State {
    queue: Queue<Entry>,
    timer: Timer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Timer {
    Idle,
    Set,
}

/// A whole batch of one client.
pub(crate) struct Request {
    /// The batch in its envelope.
    pub(crate) batch: Bytes,
    /// Where its events stand, if it was noted.
    pub(crate) outline: Option<Outline>,
    /// What is known of its events.
    pub(crate) bearing: Bearing,
    /// When the request arrived, and from which address as PostHog may be told it.
    pub(crate) arrived: Received,
    /// Its bytes in the budget of all requests; given back when they are gone.
    pub(crate) held: Reservation,
}

/// A request in the queue.
struct Entry {
    batch: Bytes,
    ticket: Ticket,
}

/// What is left of a request when its events stand in a group.
struct Ticket {
    arrived: Received,
    outline: Option<Outline>,
    answer: oneshot::Sender<Outcome>,
    _held: Reservation,
}

impl Ticket {
    /// The events of the request's own batch, for the spool.
    fn events(&self, batch: &Bytes) -> Result<Vec<SpooledEvent>, SpoolError> {
        SpooledEvent::of_written(batch, self.outline.as_ref(), self.arrived)
    }
}

/// One request of a group, and where its events stand in the group's batch.
struct Part {
    place: Range<usize>,
    ticket: Ticket,
}

/// A group on its way, as one batch.
struct Load {
    batch: Bytes,
    parts: Vec<Part>,
    client: Option<IpAddr>,
}

impl Gathering {
    /// The requests of this project, if its mode is `group`.
    pub(crate) fn of(
        delivery: &config::Delivery,
        destination: &Arc<Destination>,
        spool: Option<ProjectSpool>,
        log_limit: &Arc<LogLimit>,
    ) -> Option<Arc<Self>> {
        if destination.project().mode != DeliveryMode::Group {
            return None;
        }
        let bounds = Bounds {
            linger: delivery.linger,
            bytes: delivery.group_size,
            under_way: UNDER_WAY,
        };
        Some(Arc::new(Self {
            destination: Arc::clone(destination),
            spool,
            log_limit: Arc::clone(log_limit),
            state: Mutex::new(State {
                queue: Queue::new(bounds),
                timer: Timer::Idle,
            }),
        }))
    }

    /// Lets a request leave with others and waits until its events are safe.
    ///
    /// It waits for its turn as long as for a place among the batches under way, and no longer.
    pub(crate) async fn deliver(self: &Arc<Self>, request: Request) -> Outcome {
        let (answer, mut answered) = oneshot::channel();
        let id = self.enter(request, answer);
        let closed = |_| Err(self.lost());
        let patience = self.destination.patience();
        if let Ok(outcome) = timeout(patience, &mut answered).await {
            return outcome.unwrap_or_else(closed);
        }
        match self.withdraw(id) {
            Some(entry) => self.crowded(entry).await,
            // It is on its way, which has bounds of its own.
            None => answered.await.unwrap_or_else(closed),
        }
    }

    /// What becomes of a request whose group ended without a word, which only the end of the process
    /// does.
    fn lost(&self) -> UploadError {
        match self.spool {
            Some(_) => UploadError::Spool,
            None => UploadError::Verdict(Verdict::Unreachable(Trouble::Closed)),
        }
    }

    fn enter(self: &Arc<Self>, request: Request, answer: oneshot::Sender<Outcome>) -> RequestId {
        let now = Instant::now();
        let info = RequestInfo {
            bytes: request.batch.len(),
            bearing: request.bearing,
            client: request.arrived.from,
        };
        let entry = Entry {
            batch: request.batch,
            ticket: Ticket {
                arrived: request.arrived,
                outline: request.outline,
                answer,
                _held: request.held,
            },
        };
        let mut state = self.lock();
        let id = state.queue.push(entry, info, now);
        let looks = if state.queue.may_be_full() {
            Looks::WhoMayLeave
        } else {
            Looks::WhenToLook
        };
        self.go_on(state, looks, now);
        id
    }

    fn withdraw(&self, id: RequestId) -> Option<Entry> {
        self.lock().queue.withdraw(id)
    }

    /// Sends off every group that may leave, and sees that what waits for its time gets it.
    ///
    /// Nothing is spawned under the lock: a runtime that ends drops a task at once, and a group
    /// that is dropped takes the lock.
    fn go_on(self: &Arc<Self>, mut state: MutexGuard<'_, State>, looks: Looks, now: Instant) {
        let mut leaving = Vec::new();
        if looks == Looks::WhoMayLeave {
            while let Some(group) = state.queue.next_group(now) {
                leaving.push(group);
            }
        }
        let due = match state.timer {
            Timer::Set => None,
            Timer::Idle => state.queue.due(now),
        };
        if due.is_some() {
            state.timer = Timer::Set;
        }
        drop(state);
        for group in leaving {
            let client = group.client;
            let (entries, finished) = group.part();
            let landing = Landing {
                gathering: Arc::clone(self),
                finished: Some(finished),
            };
            tokio::spawn(landing.carry(entries, client));
        }
        if let Some(due) = due {
            let alarm = Alarm(Some(Arc::clone(self)));
            tokio::spawn(alarm.ring(due));
        }
    }

    /// A request whose turn did not come in time.
    async fn crowded(&self, entry: Entry) -> Outcome {
        let project = self.destination.project();
        let verdict = Verdict::Unreachable(Trouble::Crowded);
        let Some(spool) = &self.spool else {
            verdict.report(project, &self.log_limit, Fallback::ClientRetries);
            return Err(UploadError::Verdict(verdict));
        };
        let events = entry.ticket.events(&entry.batch);
        let kept = spool.keep(events).await;
        spool.tell(verdict, &kept);
        kept.map(|holder| (holder, Vec::new()))
            .map_err(UploadError::from)
    }

    /// Brings a group to PostHog, or into the spool, and tells each client.
    async fn bring(&self, load: Load) {
        let Some(spool) = &self.spool else {
            return match self.stream(&load).await {
                Verdict::Accepted => load.tell(|_| Ok((Holder::PostHog, Vec::new()))),
                verdict if blames_events(verdict) => self.halve(load, verdict).await,
                verdict => load.tell(|_| Err(UploadError::Verdict(verdict))),
            };
        };
        let events = || load.events(self.destination.envelope());
        match spool.bring(&load.batch, load.client, events).await {
            Ok(holder) => load.tell(|_| Ok((holder, Vec::new()))),
            Err(unkept) => load.tell(|_| Err(UploadError::from(unkept))),
        }
    }

    async fn stream(&self, load: &Load) -> Verdict {
        let destination = &self.destination;
        let sent = destination.deliver(&load.batch, Encoding::Identity, load.client);
        let verdict = sent.await.verdict;
        destination.note(verdict);
        if !blames_events(verdict) {
            verdict.report(
                destination.project(),
                &self.log_limit,
                Fallback::ClientRetries,
            );
        }
        verdict
    }

    /// What PostHog refuses as a whole and no spool can keep: each client is told of its own events.
    async fn halve(&self, load: Load, verdict: Verdict) {
        let destination = &self.destination;
        let without = deliver_without(destination, &load.batch, load.client, verdict);
        match without.await {
            Ok(culprits) => {
                let mut culprits = culprits.into_iter().peekable();
                let batch = load.batch.clone();
                load.tell(|part| {
                    let is_of_it = |culprit: &Culprit| {
                        let place = culprit.event.as_ptr() as usize;
                        part.contains(&place.wrapping_sub(batch.as_ptr() as usize))
                    };
                    // They come in the order of their events.
                    let own = std::iter::from_fn(|| culprits.next_if(is_of_it));
                    Ok((Holder::PostHog, own.collect()))
                });
            }
            Err(verdict) => {
                verdict.report(
                    destination.project(),
                    &self.log_limit,
                    Fallback::ClientRetries,
                );
                load.tell(|_| Err(UploadError::Verdict(verdict)));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be looked for in the queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looks {
    WhoMayLeave,
    WhenToLook,
}

/// The timer of a queue. It is idle again however the task ends.
struct Alarm(Option<Arc<Gathering>>);

impl Alarm {
    async fn ring(mut self, due: Instant) {
        tokio::time::sleep_until(due.into()).await;
        if let Some(gathering) = self.0.take() {
            let mut state = gathering.lock();
            state.timer = Timer::Idle;
            gathering.go_on(state, Looks::WhoMayLeave, Instant::now());
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(gathering) = self.0.take() {
            gathering.lock().timer = Timer::Idle;
        }
    }
}

/// A group under way. However it ends, what waits for its persons may leave afterwards.
struct Landing {
    gathering: Arc<Gathering>,
    finished: Option<Finished>,
}

impl Landing {
    async fn carry(self, entries: Vec<Entry>, client: Option<IpAddr>) {
        let gathering = &self.gathering;
        let envelope = gathering.destination.envelope();
        let load = Load::new(envelope, entries, client);
        gathering.bring(load).await;
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let Some(finished) = self.finished.take() else {
            return;
        };
        let mut state = self.gathering.lock();
        state.queue.finish(finished);
        // Where a runtime ends nothing can be sent any more.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.gathering
                .go_on(state, Looks::WhoMayLeave, Instant::now());
        }
    }
}

impl Load {
    fn new(envelope: &Envelope, entries: Vec<Entry>, client: Option<IpAddr>) -> Self {
        let (batch, places) = match entries.as_slice() {
            [only] => {
                let place = events_within(envelope, &only.batch);
                (only.batch.clone(), vec![place])
            }
            all => {
                let batches = all.iter().map(|entry| entry.batch.as_ref());
                let (batch, places) = join(envelope, batches);
                (Bytes::from(batch), places)
            }
        };
        let tickets = entries.into_iter().map(|entry| entry.ticket);
        let parts = places.into_iter().zip(tickets);
        Self {
            batch,
            parts: parts
                .map(|(place, ticket)| Part { place, ticket })
                .collect(),
            client,
        }
    }

    /// One request as a batch of its own.
    fn alone(&self, envelope: &Envelope, part: &Part) -> Bytes {
        let events = self.batch.get(part.place.clone()).unwrap_or_default();
        Bytes::from(envelope.around(events))
    }

    /// All events, each with when its request arrived.
    fn events(&self, envelope: &Envelope) -> Result<Vec<SpooledEvent>, SpoolError> {
        let mut all = Vec::new();
        for part in &self.parts {
            let batch = self.alone(envelope, part);
            all.extend(part.ticket.events(&batch)?);
        }
        Ok(all)
    }

    /// Tells the clients, in order, what became of the events in their place; one that is gone is
    /// told nothing.
    fn tell(self, mut outcome: impl FnMut(&Range<usize>) -> Outcome) {
        for Part { place, ticket } in self.parts {
            let _ = ticket.answer.send(outcome(&place));
        }
    }
}
