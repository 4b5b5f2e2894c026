//! `mode: group`: sends the requests of a project together, and answers each client when its events are
//! safe.
//!
//! No task waits for requests: a request sets the timers that are not set. There are three for all requests
//! together: when the next one is due, when many wait and no other comes, and when the oldest has waited too
//! long. A separate task sends each group, so that a client that hangs up does not end the delivery of other
//! clients' events.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::config;
use crate::delivery::{
    DeliveryMode, Encoding, Finished, Group, GroupBounds, Queue, Received, RequestInfo,
};
use crate::posthog::{BatchFacts, BatchOutline};

use crate::proxy::limits::budget::Reservation;
use crate::proxy::limits::log_limit::LogLimit;
use crate::proxy::outbound::refused_events::{deliver_without, RefusedEvent};
use crate::proxy::outbound::sender::Destination;
use crate::proxy::outbound::verdict::{is_about_events, BatchVerdict, Fallback, NoAnswerReason};
use crate::proxy::sending::group_batch::{GroupBatch, GroupOutcome, PendingAnswer, QueuedRequest};
use crate::proxy::sending::upload_error::UploadError;
use crate::proxy::spool::backlog::{AcceptedBy, ProjectSpool};

/// The maximum number of a project's groups in flight. Requests that arrive while this many groups wait for
/// their answers are sent afterwards in larger groups.
const UNDER_WAY: usize = 64;

/// Requests that have waited too long are stored together up to this size, in bytes.
const STORED_AT_ONCE: usize = 1 << 20;

/// Collects the requests of one project and sends them in groups.
pub(crate) struct RequestGrouper {
    destination: Arc<Destination>,
    spool: Option<ProjectSpool>,
    log_limit: Arc<LogLimit>,
    bounds: GroupBounds,
    state: Mutex<GrouperState>,
}

struct GrouperState {
    queue: Queue<QueuedRequest>,
    /// Fires when the next request is due.
    due: Timer,
    /// Fires when many requests wait and no other arrives.
    pause: Timer,
    /// Fires when the oldest request has waited too long.
    patience: Timer,
}

impl GrouperState {
    fn timer(&mut self, waits_for: SendMoment) -> &mut Timer {
        match waits_for {
            SendMoment::Due => &mut self.due,
            SendMoment::Pause => &mut self.pause,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Timer {
    Idle,
    Set,
}

impl Timer {
    /// Sets an idle timer if there is a time for it, and returns this time.
    fn set(&mut self, at: impl FnOnce() -> Option<Instant>) -> Option<Instant> {
        let at = match self {
            Self::Set => None,
            Self::Idle => at(),
        };
        if at.is_some() {
            *self = Self::Set;
        }
        at
    }
}

/// A whole batch of one client.
pub(crate) struct GroupedRequest {
    /// The batch in its envelope.
    pub(crate) batch: Vec<u8>,
    /// The positions of its events, if they were recorded.
    pub(crate) outline: Option<BatchOutline>,
    /// The facts about its events.
    pub(crate) bearing: BatchFacts,
    /// When the request arrived, and its client's address in the form that PostHog may get.
    pub(crate) arrived: Received,
    /// Its share of the memory budget of all requests. It is released after the request was answered.
    pub(crate) held: Reservation,
}

impl RequestGrouper {
    /// Creates the grouper of this project. Returns `None` if its mode is not `group`.
    pub(crate) fn of(
        delivery: &config::DeliveryConfig,
        destination: &Arc<Destination>,
        spool: Option<ProjectSpool>,
        log_limit: &Arc<LogLimit>,
    ) -> Option<Arc<Self>> {
        if destination.project().mode != DeliveryMode::Group {
            return None;
        }
        let bounds = bounds(delivery);
        Some(Arc::new(Self {
            destination: Arc::clone(destination),
            spool,
            log_limit: Arc::clone(log_limit),
            bounds,
            state: Mutex::new(GrouperState {
                queue: Queue::new(bounds),
                due: Timer::Idle,
                pause: Timer::Idle,
                patience: Timer::Idle,
            }),
        }))
    }

    /// Returns whether a grouper with these settings would behave the same.
    pub(crate) fn is_as_good(&self, delivery: &config::DeliveryConfig) -> bool {
        self.bounds == bounds(delivery)
    }

    /// Sends a request together with others, and waits until its events are safe.
    ///
    /// The request waits in the queue no longer than `Destination::patience`, or with a spool until the
    /// events of its persons in flight are safe. The wait for a permit has the same limit.
    pub(crate) async fn deliver(self: &Arc<Self>, request: GroupedRequest) -> GroupOutcome {
        let (answer, answered) = oneshot::channel();
        self.enter(request, answer);
        // A group in flight has its own time limits.
        answered.await.unwrap_or_else(|_| Err(self.no_answer()))
    }

    /// Returns the outcome of a request whose group ended without an answer. This happens only when the
    /// process ends.
    fn no_answer(&self) -> UploadError {
        match self.spool {
            Some(_) => UploadError::Spool,
            None => UploadError::Verdict(BatchVerdict::Unreachable(NoAnswerReason::Closed)),
        }
    }

    fn enter(self: &Arc<Self>, request: GroupedRequest, answer: oneshot::Sender<GroupOutcome>) {
        let now = Instant::now();
        let info = RequestInfo {
            bytes: request.batch.len(),
            bearing: request.bearing,
            client: request.arrived.from,
        };
        let entry = QueuedRequest {
            batch: request.batch,
            ticket: PendingAnswer {
                arrived: request.arrived,
                outline: request.outline,
                answer,
                held: request.held,
            },
        };
        let mut state = self.lock();
        state.queue.push(entry, info, now);
        let looks = if state.queue.may_leave_early() {
            QueueCheck::WhoMayLeave
        } else {
            QueueCheck::WhenToLook
        };
        self.send_due(state, looks, now);
    }

    /// Sends every group that may leave (only for `QueueCheck::WhoMayLeave`), and sets the timers for the
    /// requests that still wait.
    ///
    /// No task is spawned under the lock: a runtime that ends drops a new task at once, and dropping a group
    /// takes the lock.
    fn send_due(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, GrouperState>,
        looks: QueueCheck,
        now: Instant,
    ) {
        let mut leaving = Vec::new();
        if looks == QueueCheck::WhoMayLeave {
            while let Some(group) = state.queue.next_group(now) {
                leaving.push(group);
            }
        }
        let GrouperState {
            queue,
            due,
            pause,
            patience,
        } = &mut *state;
        let due = due.set(|| queue.due(now));
        let pause = pause.set(|| queue.pause(now));
        let longest = self.destination.patience();
        let waiting_since = patience.set(|| queue.oldest(longest, now));
        drop(state);
        for group in leaving {
            let client = group.client;
            let (landing, entries) = self.delivery(group);
            tokio::spawn(landing.deliver(entries, client));
        }
        for (at, waits_for) in [(due, SendMoment::Due), (pause, SendMoment::Pause)] {
            if let Some(at) = at {
                let grouper = Some(Arc::clone(self));
                tokio::spawn(SendTimer { grouper, waits_for }.wait_until(at));
            }
        }
        if let Some(since) = waiting_since {
            let patience = PatienceTimer(Arc::downgrade(self));
            tokio::spawn(patience.end(since + longest));
        }
    }

    /// Returns the delivery of a group, and its requests.
    fn delivery(
        self: &Arc<Self>,
        group: Group<QueuedRequest>,
    ) -> (GroupDelivery, Vec<QueuedRequest>) {
        let (entries, finished) = group.part();
        let landing = GroupDelivery {
            grouper: Arc::clone(self),
            finished: Some(finished),
        };
        (landing, entries)
    }

    /// Removes the requests that have waited too long.
    fn give_up(self: &Arc<Self>, now: Instant) {
        let mut state = self.lock();
        state.patience = Timer::Idle;
        let (queue, longest) = (&mut state.queue, self.destination.patience());
        let late = match self.spool {
            // The order in the spool is that of the requests.
            Some(_) => queue.withdraw_free(longest, now),
            None => queue.withdraw(longest, now),
        };
        // Sets the timers for the requests that are left.
        self.send_due(state, QueueCheck::WhenToLook, now);
        if let Some(group) = late {
            let (landing, entries) = self.delivery(group);
            tokio::spawn(landing.give_up(entries));
        }
    }

    /// Answers requests that have waited too long. They are stored in their order, some of them at a time:
    /// several may be of one person.
    async fn waited_too_long(&self, mut late: Vec<QueuedRequest>) {
        let project = self.destination.project();
        let verdict = BatchVerdict::Unreachable(NoAnswerReason::Overloaded);
        let Some(spool) = &self.spool else {
            verdict.report(project, &self.log_limit, Fallback::ClientRetries);
            for QueuedRequest { ticket, .. } in late {
                ticket.answer(Err(UploadError::Verdict(verdict)));
            }
            return;
        };
        while !late.is_empty() {
            let rest = late.split_off(stored_at_once(&late));
            let load = GroupBatch::new(self.destination.envelope(), late, None);
            late = rest;
            let kept = spool.keep(load.events(self.destination.envelope())).await;
            spool.log_outcome(verdict, &kept);
            load.answer_all(|_| {
                let accepted_by = kept.map_err(UploadError::from)?;
                Ok((accepted_by, Vec::new()))
            });
        }
    }

    /// Sends a group to PostHog, or to the spool, and answers each client.
    async fn deliver_or_store(&self, load: GroupBatch) {
        let Some(spool) = &self.spool else {
            return match self.stream(&load).await {
                BatchVerdict::Accepted => {
                    load.answer_all(|_| Ok((AcceptedBy::PostHog, Vec::new())))
                }
                verdict if is_about_events(verdict) => self.halve(load, verdict).await,
                verdict => load.answer_all(|_| Err(UploadError::Verdict(verdict))),
            };
        };
        let events = || load.events(self.destination.envelope());
        match spool
            .deliver_or_store(&load.batch, load.client, events)
            .await
        {
            Ok(accepted_by) => load.answer_all(|_| Ok((accepted_by, Vec::new()))),
            Err(unkept) => load.answer_all(|_| Err(UploadError::from(unkept))),
        }
    }

    async fn stream(&self, load: &GroupBatch) -> BatchVerdict {
        let destination = &self.destination;
        let sent = destination.deliver(&load.batch, Encoding::Identity, load.client);
        let verdict = sent.await.verdict;
        destination.note(verdict);
        if !is_about_events(verdict) {
            verdict.report(
                destination.project(),
                &self.log_limit,
                Fallback::ClientRetries,
            );
        }
        verdict
    }

    /// Halves a group that PostHog rejects when there is no spool to store it. Each client gets the outcome
    /// of its own events.
    async fn halve(&self, load: GroupBatch, verdict: BatchVerdict) {
        let destination = &self.destination;
        let without = deliver_without(destination, &load.batch, load.client, verdict);
        match without.await {
            Ok(culprits) => {
                let mut culprits = culprits.into_iter().peekable();
                let batch = load.batch.clone();
                load.answer_all(|part| {
                    let is_of_it = |culprit: &RefusedEvent| {
                        let place = culprit.event.as_ptr() as usize;
                        part.contains(&place.wrapping_sub(batch.as_ptr() as usize))
                    };
                    // The rejected events are in the order of the batch.
                    let own = std::iter::from_fn(|| culprits.next_if(is_of_it));
                    Ok((AcceptedBy::PostHog, own.collect()))
                });
            }
            Err(verdict) => {
                verdict.report(
                    destination.project(),
                    &self.log_limit,
                    Fallback::ClientRetries,
                );
                load.answer_all(|_| Err(UploadError::Verdict(verdict)));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, GrouperState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bounds(delivery: &config::DeliveryConfig) -> GroupBounds {
    GroupBounds {
        linger: delivery.linger,
        bytes: delivery.group_size,
        under_way: UNDER_WAY,
    }
}

/// Whether a check of the queue also sends groups.
#[derive(Clone, Copy, PartialEq, Eq)]
enum QueueCheck {
    /// Send the groups that may leave now, and set the timers.
    WhoMayLeave,
    /// Only set the timers.
    WhenToLook,
}

/// A timer that sends groups. When its task ends for any reason, the timer is marked idle again.
struct SendTimer {
    grouper: Option<Arc<RequestGrouper>>,
    waits_for: SendMoment,
}

/// The moment at which a timer sends groups.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SendMoment {
    /// The oldest request has waited for the linger.
    Due,
    /// Many requests wait, and no other arrives.
    Pause,
}

impl SendTimer {
    async fn wait_until(mut self, mut at: Instant) {
        loop {
            tokio::time::sleep_until(at.into()).await;
            let Some(grouper) = &self.grouper else { return };
            let now = Instant::now();
            let mut state = grouper.lock();
            if self.waits_for == SendMoment::Pause {
                // Another request has arrived in the meantime.
                if let Some(later) = state.queue.pause(now) {
                    at = later;
                    continue;
                }
            }
            *state.timer(self.waits_for) = Timer::Idle;
            grouper.send_due(state, QueueCheck::WhoMayLeave, now);
            self.grouper = None;
            return;
        }
    }
}

impl Drop for SendTimer {
    fn drop(&mut self) {
        if let Some(grouper) = self.grouper.take() {
            *grouper.lock().timer(self.waits_for) = Timer::Idle;
        }
    }
}

/// The timer for requests that wait too long. It fires long after most of them have left, so it holds only
/// a weak reference to the grouper. The group in flight or a timer that sends groups, for which a request
/// waits, holds a strong one.
struct PatienceTimer(Weak<RequestGrouper>);

impl PatienceTimer {
    async fn end(mut self, at: Instant) {
        tokio::time::sleep_until(at.into()).await;
        if let Some(grouper) = std::mem::take(&mut self.0).upgrade() {
            grouper.give_up(Instant::now());
        }
    }
}

impl Drop for PatienceTimer {
    fn drop(&mut self) {
        if let Some(grouper) = self.0.upgrade() {
            grouper.lock().patience = Timer::Idle;
        }
    }
}

/// The delivery of a group. When it ends for any reason, requests that wait for the persons of the group may
/// leave.
struct GroupDelivery {
    grouper: Arc<RequestGrouper>,
    finished: Option<Finished>,
}

impl GroupDelivery {
    async fn deliver(self, entries: Vec<QueuedRequest>, client: Option<IpAddr>) {
        let grouper = &self.grouper;
        let envelope = grouper.destination.envelope();
        let load = GroupBatch::new(envelope, entries, client);
        grouper.deliver_or_store(load).await;
    }

    /// Answers requests that have waited too long.
    async fn give_up(self, entries: Vec<QueuedRequest>) {
        self.grouper.waited_too_long(entries).await;
    }
}

/// Returns how many of these requests are stored at once: as many as fit, and at least one.
fn stored_at_once(late: &[QueuedRequest]) -> usize {
    let mut bytes = 0;
    let fit = late.iter().take_while(|entry| {
        let fits = bytes < STORED_AT_ONCE;
        bytes += entry.batch.len();
        fits
    });
    fit.count()
}

impl Drop for GroupDelivery {
    fn drop(&mut self) {
        let Some(finished) = self.finished.take() else {
            return;
        };
        let mut state = self.grouper.lock();
        state.queue.finish(finished);
        // Without a runtime the process ends, and no group can be sent.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.grouper
                .send_due(state, QueueCheck::WhoMayLeave, Instant::now());
        }
    }
}
