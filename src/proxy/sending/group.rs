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
use crate::proxy::outbound::refused_events::{deliver_good_events, RefusedEvent};
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
    timeout: Timer,
}

impl GrouperState {
    fn timer(&mut self, moment: SendMoment) -> &mut Timer {
        match moment {
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
    pub(crate) facts: BatchFacts,
    /// When the request arrived, and its client's address in the form that PostHog may get.
    pub(crate) arrived: Received,
    /// Its share of the memory budget of all requests. It is released after the request was answered.
    pub(crate) reservation: Reservation,
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
                timeout: Timer::Idle,
            }),
        }))
    }

    /// Returns whether a grouper with these settings would behave the same.
    pub(crate) fn behaves_the_same(&self, delivery: &config::DeliveryConfig) -> bool {
        self.bounds == bounds(delivery)
    }

    /// Sends a request together with others, and waits until its events are safe.
    ///
    /// The request waits in the queue no longer than `Destination::timeout`, or with a spool until the
    /// events of its persons in flight are safe. The wait for a permit has the same limit.
    pub(crate) async fn deliver(self: &Arc<Self>, request: GroupedRequest) -> GroupOutcome {
        let (sender, receiver) = oneshot::channel();
        self.enqueue(request, sender);
        // A group in flight has its own time limits.
        receiver.await.unwrap_or_else(|_| Err(self.no_answer()))
    }

    /// Returns the outcome of a request whose group ended without an answer. This happens only when the
    /// process ends.
    fn no_answer(&self) -> UploadError {
        match self.spool {
            Some(_) => UploadError::Spool,
            None => UploadError::Verdict(BatchVerdict::Unreachable(NoAnswerReason::Closed)),
        }
    }

    fn enqueue(self: &Arc<Self>, request: GroupedRequest, sender: oneshot::Sender<GroupOutcome>) {
        let now = Instant::now();
        let info = RequestInfo {
            bytes: request.batch.len(),
            facts: request.facts,
            client: request.arrived.from,
        };
        let queued = QueuedRequest {
            batch: request.batch,
            pending: PendingAnswer {
                arrived: request.arrived,
                outline: request.outline,
                sender,
                reservation: request.reservation,
            },
        };
        let mut state = self.lock();
        state.queue.push(queued, info, now);
        let check = if state.queue.may_leave_early() {
            QueueCheck::WhoMayLeave
        } else {
            QueueCheck::WhenToLook
        };
        self.send_due(state, check, now);
    }

    /// Sends every group that may leave (only for `QueueCheck::WhoMayLeave`), and sets the timers for the
    /// requests that still wait.
    ///
    /// No task is spawned under the lock: a runtime that ends drops a new task at once, and dropping a group
    /// takes the lock.
    fn send_due(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, GrouperState>,
        check: QueueCheck,
        now: Instant,
    ) {
        let mut leaving = Vec::new();
        if check == QueueCheck::WhoMayLeave {
            while let Some(group) = state.queue.next_group(now) {
                leaving.push(group);
            }
        }
        let GrouperState {
            queue,
            due,
            pause,
            timeout,
        } = &mut *state;
        let due = due.set(|| queue.due(now));
        let pause = pause.set(|| queue.pause(now));
        let limit = self.destination.timeout();
        let waiting_since = timeout.set(|| queue.oldest(limit, now));
        drop(state);
        for group in leaving {
            let client = group.client;
            let (delivery, requests) = self.delivery(group);
            tokio::spawn(delivery.deliver(requests, client));
        }
        for (at, moment) in [(due, SendMoment::Due), (pause, SendMoment::Pause)] {
            if let Some(at) = at {
                let grouper = Some(Arc::clone(self));
                tokio::spawn(SendTimer { grouper, moment }.wait_until(at));
            }
        }
        if let Some(since) = waiting_since {
            let timer = TimeoutTimer(Arc::downgrade(self));
            tokio::spawn(timer.wait_until(since + limit));
        }
    }

    /// Returns the delivery of a group, and its requests.
    fn delivery(
        self: &Arc<Self>,
        group: Group<QueuedRequest>,
    ) -> (GroupDelivery, Vec<QueuedRequest>) {
        let (requests, finished) = group.part();
        let delivery = GroupDelivery {
            grouper: Arc::clone(self),
            finished: Some(finished),
        };
        (delivery, requests)
    }

    /// Removes the requests that have waited too long.
    fn give_up(self: &Arc<Self>, now: Instant) {
        let mut state = self.lock();
        state.timeout = Timer::Idle;
        let (queue, limit) = (&mut state.queue, self.destination.timeout());
        let late = match self.spool {
            // The order in the spool is that of the requests.
            Some(_) => queue.withdraw_free(limit, now),
            None => queue.withdraw(limit, now),
        };
        // Sets the timers for the requests that are left.
        self.send_due(state, QueueCheck::WhenToLook, now);
        if let Some(group) = late {
            let (delivery, requests) = self.delivery(group);
            tokio::spawn(delivery.give_up(requests));
        }
    }

    /// Answers requests that have waited too long. They are stored in their order, some of them at a time:
    /// several may be of one person.
    async fn waited_too_long(&self, mut late: Vec<QueuedRequest>) {
        let project = self.destination.project();
        let verdict = BatchVerdict::Unreachable(NoAnswerReason::Overloaded);
        let Some(spool) = &self.spool else {
            verdict.report(project, &self.log_limit, Fallback::ClientRetries);
            for QueuedRequest { pending, .. } in late {
                pending.answer(Err(UploadError::Verdict(verdict)));
            }
            return;
        };
        while !late.is_empty() {
            let rest = late.split_off(stored_at_once(&late));
            let group = GroupBatch::new(self.destination.envelope(), late, None);
            late = rest;
            let stored = spool.keep(group.events(self.destination.envelope())).await;
            spool.log_outcome(verdict, &stored);
            group.answer_all(|_| {
                let accepted_by = stored.map_err(UploadError::from)?;
                Ok((accepted_by, Vec::new()))
            });
        }
    }

    /// Sends a group to PostHog, or to the spool, and answers each client.
    async fn deliver_or_store(&self, group_batch: GroupBatch) {
        let Some(spool) = &self.spool else {
            return match self.stream(&group_batch).await {
                BatchVerdict::Accepted => {
                    group_batch.answer_all(|_| Ok((AcceptedBy::PostHog, Vec::new())))
                }
                verdict if is_about_events(verdict) => self.halve(group_batch, verdict).await,
                verdict => group_batch.answer_all(|_| Err(UploadError::Verdict(verdict))),
            };
        };
        let events = || group_batch.events(self.destination.envelope());
        match spool
            .deliver_or_store(&group_batch.batch, group_batch.client, events)
            .await
        {
            Ok(accepted_by) => group_batch.answer_all(|_| Ok((accepted_by, Vec::new()))),
            Err(error) => group_batch.answer_all(|_| Err(UploadError::from(error))),
        }
    }

    async fn stream(&self, group_batch: &GroupBatch) -> BatchVerdict {
        let destination = &self.destination;
        let answer =
            destination.deliver(&group_batch.batch, Encoding::Identity, group_batch.client);
        let verdict = answer.await.verdict;
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
    async fn halve(&self, group_batch: GroupBatch, verdict: BatchVerdict) {
        let destination = &self.destination;
        let halving =
            deliver_good_events(destination, &group_batch.batch, group_batch.client, verdict);
        match halving.await {
            Ok(refused_events) => {
                let mut refused_events = refused_events.into_iter().peekable();
                let batch = group_batch.batch.clone();
                group_batch.answer_all(|range| {
                    let is_in_range = |refused: &RefusedEvent| {
                        let address = refused.event.as_ptr() as usize;
                        range.contains(&address.wrapping_sub(batch.as_ptr() as usize))
                    };
                    // The rejected events are in the order of the batch.
                    let own = std::iter::from_fn(|| refused_events.next_if(is_in_range));
                    Ok((AcceptedBy::PostHog, own.collect()))
                });
            }
            Err(verdict) => {
                verdict.report(
                    destination.project(),
                    &self.log_limit,
                    Fallback::ClientRetries,
                );
                group_batch.answer_all(|_| Err(UploadError::Verdict(verdict)));
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
    moment: SendMoment,
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
            if self.moment == SendMoment::Pause {
                // Another request has arrived in the meantime.
                if let Some(later) = state.queue.pause(now) {
                    at = later;
                    continue;
                }
            }
            *state.timer(self.moment) = Timer::Idle;
            grouper.send_due(state, QueueCheck::WhoMayLeave, now);
            self.grouper = None;
            return;
        }
    }
}

impl Drop for SendTimer {
    fn drop(&mut self) {
        if let Some(grouper) = self.grouper.take() {
            *grouper.lock().timer(self.moment) = Timer::Idle;
        }
    }
}

/// The timer for requests that wait too long. It fires long after most of them have left, so it holds only
/// a weak reference to the grouper. The group in flight or a timer that sends groups, for which a request
/// waits, holds a strong one.
struct TimeoutTimer(Weak<RequestGrouper>);

impl TimeoutTimer {
    async fn wait_until(mut self, at: Instant) {
        tokio::time::sleep_until(at.into()).await;
        if let Some(grouper) = std::mem::take(&mut self.0).upgrade() {
            grouper.give_up(Instant::now());
        }
    }
}

impl Drop for TimeoutTimer {
    fn drop(&mut self) {
        if let Some(grouper) = self.0.upgrade() {
            grouper.lock().timeout = Timer::Idle;
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
    async fn deliver(self, requests: Vec<QueuedRequest>, client: Option<IpAddr>) {
        let grouper = &self.grouper;
        let envelope = grouper.destination.envelope();
        let group_batch = GroupBatch::new(envelope, requests, client);
        grouper.deliver_or_store(group_batch).await;
    }

    /// Answers requests that have waited too long.
    async fn give_up(self, requests: Vec<QueuedRequest>) {
        self.grouper.waited_too_long(requests).await;
    }
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

/// Returns how many of these requests are stored at once: as many as fit, and at least one.
fn stored_at_once(late: &[QueuedRequest]) -> usize {
    let mut bytes = 0;
    let fit = late.iter().take_while(|request| {
        let fits = bytes < STORED_AT_ONCE;
        bytes += request.batch.len();
        fits
    });
    fit.count()
}
