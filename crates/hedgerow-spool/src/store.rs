//! The interface of every spool, on this machine's disk or in a distributed log.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{watch, Notify};

use crate::by_project::ByProject;
use crate::error::SpoolError;
use crate::event::SpooledEvent;

/// The position of an event in its spool. A later event has a larger position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub(super) i64);

/// A waiting event, as the replay reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedEvent {
    /// The position of the event in the spool.
    pub position: Position,
    /// The JSON of the event.
    pub body: Bytes,
    /// When the first request with this event arrived.
    pub first_arrival: SystemTime,
}

/// The events that the replay has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peeked {
    /// The oldest events, in order.
    pub events: Vec<QueuedEvent>,
    /// Whether more events were waiting at that moment.
    pub rest: Rest,
}

/// Whether more events wait than were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rest {
    /// No more events wait.
    #[default]
    Nothing,
    /// More events wait, or it is unknown whether they do.
    More,
}

/// How much the replay reads at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeekLimit {
    /// The maximum number of events.
    pub events: usize,
    /// The maximum size in bytes of JSON. The first event is read even if it is larger.
    pub bytes: usize,
}

/// The reason why an event became a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// PostHog's status, or 0 if PostHog did not refuse the event.
    pub status: u16,
    /// The first words of PostHog's answer.
    pub reason: String,
}

/// The beginnings of the messages with which capture refuses events (posthog-ingestion 1.7).
const REFUSALS: [&str; 14] = [
    "failed to decode request",
    "failed to parse request",
    "failed to hydrate events from request",
    "Failed to deserialize query string",
    "request missing data payload",
    "request holds no event",
    "event submitted with an empty event name",
    "event submitted without a distinct_id",
    "event submitted with invalid cookieless mode",
    "event submitted without an api_key",
    "batch submitted with inconsistent api_key values",
    "invalid event",
    "API key is not valid",
    "maximum event size exceeded",
];

impl Refusal {
    /// Returns the text for the log: the message of capture with which the reason begins, or a fixed text.
    /// Another answer may repeat the event, so only people who may see events may see it.
    pub fn for_log(&self) -> &'static str {
        let known = REFUSALS
            .iter()
            .find(|known| self.reason.starts_with(**known));
        known.copied().unwrap_or("with words of its own")
    }
}

/// An event that PostHog rejected for good, or whose bytes were damaged on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The number of the dead letter, for `hedgerow spool show`, `retry` and `drop`.
    pub number: i64,
    /// The project of the event.
    pub project: String,
    /// When the first request with this event arrived.
    pub first_arrival: SystemTime,
    /// When the event became a dead letter. In a folder, by the spool's own time: the time of day, minus
    /// the time during which no process had the spool open. In NATS, by the time of its servers.
    pub refused_at: SystemTime,
    /// The reason.
    pub refusal: Refusal,
    /// The JSON of the event.
    pub body: Bytes,
}

/// A function that returns the time of day.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Whether this process may drain a project's events now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lead {
    /// This process may drain, for at least this time. A request must end within it, or another process
    /// could overtake the request with later events of the same person.
    Ours(Duration),
    /// Another process drains the project.
    Theirs,
}

/// Whether this process drains a spool that several processes fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leadership {
    /// This process is the leader, or it can see no other process.
    Leader,
    /// Another process is the leader. This process must append new events to the spool, after the events
    /// that the leader stores.
    Follower,
}

/// Whether a spool accepts events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// The spool accepts events.
    Available,
    /// The spool is full, cannot be written, or cannot be reached.
    Unavailable,
}

/// A place that stores events until PostHog has accepted them.
///
/// A store keeps this order: if an append begins after another append has returned, its events follow the
/// events of that other append.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Stores events. Returns once they are durable; after an error, it is unknown which of them are.
    ///
    /// The work continues when the returned future is dropped, so a client's events are delivered even if
    /// the client has left. After [`SpoolError::TooLarge`], the events that are not too large are durable.
    async fn append(&self, project: &str, events: Vec<SpooledEvent>) -> Result<(), SpoolError>;

    /// Returns the oldest events of a project, in order. It does not remove them: further calls return them
    /// again until they are acknowledged or become dead letters.
    async fn peek(&self, project: &str, limit: PeekLimit) -> Result<Peeked, SpoolError>;

    /// Removes events that PostHog has accepted. This process never reads them again, even if the storage
    /// cannot remove them now. In that case a restart may send them twice, and PostHog deduplicates them.
    async fn acknowledge(&self, project: &str, positions: Vec<Position>);

    /// Moves an event that PostHog will never accept to the dead letters.
    async fn dead_letter(
        &self,
        project: &str,
        position: Position,
        refusal: Refusal,
    ) -> Result<(), SpoolError>;

    /// The replay calls this before it sends all waiting events. A spool that other processes also fill
    /// asks them to hold new events for a moment; otherwise it would never become empty.
    async fn final_batch_begins(&self, _project: &str) {}

    /// The replay calls this when no event waits any more after a final batch. A spool that other processes
    /// also fill tells them that they may send new events directly.
    async fn queue_is_empty(&self, _project: &str) {}

    /// Returns whether this process may drain the project.
    ///
    /// # Errors
    /// If the spool does not know which process may drain. That does not mean that another process drains.
    async fn lead(&self, project: &str) -> Result<Lead, SpoolError>;

    /// Gives up all leads, so that a successor need not wait. Call it when this process no longer drains.
    async fn resign(&self);

    /// Returns whether an append would probably succeed. The answer is at most a few seconds old.
    fn availability(&self) -> Availability;

    /// Returns the reason why the spool accepts no events, in words for an operator, while
    /// [`availability`](Self::availability) reports that.
    fn trouble(&self) -> Option<String>;

    /// Returns the amount of waiting events for each project. It includes an append that has returned.
    fn gauges(&self) -> &Gauges;

    /// Returns the counts since the start of the process.
    fn counters(&self) -> &Counters;
}

/// The amount of waiting events for each project. Reading a value costs an atomic load.
#[derive(Debug, Default)]
pub struct Gauges {
    projects: ByProject<Arc<Gauge>>,
    changed: Notify,
    used: AtomicU64,
    /// The limit in bytes; zero while it is unknown.
    limit: AtomicU64,
}

/// Whether the replay is sending all waiting events. Once PostHog has accepted them, new events can be sent
/// directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum FinalBatch {
    #[default]
    None,
    InFlight,
}

/// The amount of waiting events of one project.
#[derive(Debug, Default)]
pub struct Gauge {
    events: AtomicU64,
    bytes: AtomicU64,
    /// When the oldest waiting event arrived, in milliseconds since 1970; zero while it is unknown.
    oldest: AtomicU64,
    dead_letters: AtomicU64,
    final_batch: watch::Sender<FinalBatch>,
    additions: std::sync::Mutex<u64>,
}

impl Gauges {
    /// Returns the gauge of a project. It exists until the spool is dropped.
    pub fn of(&self, project: &str) -> Arc<Gauge> {
        self.projects.of(project, Arc::default)
    }

    /// Returns the names of the projects that have waiting events.
    pub fn waiting(&self) -> Vec<String> {
        let projects = self.projects.all().into_iter();
        projects
            .filter(|(_, gauge)| gauge.events() > 0)
            .map(|(name, _)| name)
            .collect()
    }

    /// Returns the number of additions so far of each project, for [`Gauge::correct`].
    pub fn snapshot(&self) -> HashMap<String, u64> {
        let projects = self.projects.all().into_iter();
        projects
            .map(|(name, gauge)| (name, gauge.additions()))
            .collect()
    }

    /// Returns the bytes in use and the limit in bytes, if they are known.
    pub fn size(&self) -> Option<(u64, u64)> {
        let limit = self.limit.load(Ordering::Relaxed);
        (limit > 0).then(|| (self.used.load(Ordering::Relaxed), limit))
    }

    /// Sets the bytes in use and the limit in bytes.
    pub fn set_size(&self, used: u64, limit: u64) {
        self.used.store(used, Ordering::Relaxed);
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Sets the number of dead letters of each project. A project that is not in `letters` has none.
    pub fn set_dead_letters(&self, letters: &HashMap<String, u64>) {
        for name in letters.keys() {
            self.of(name);
        }
        for (name, gauge) in self.projects.all() {
            let number = letters.get(&name).copied().unwrap_or_default();
            gauge.set_dead_letters(number);
        }
    }

    /// Waits until something is appended. It may also return without an append.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Wakes a task in [`changed`](Self::changed), because something was appended.
    pub fn announce(&self) {
        self.changed.notify_one();
    }
}

impl Gauge {
    /// Returns the number of waiting events.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Acquire)
    }

    /// Returns the size of the waiting events, in bytes of JSON.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Returns when the oldest waiting event arrived, if this process drains the project.
    pub fn oldest(&self) -> Option<SystemTime> {
        let millis = self.oldest.load(Ordering::Relaxed);
        let is_known = self.events() > 0 && millis > 0;
        is_known.then(|| SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
    }

    /// Returns the number of dead letters that the spool stores.
    pub fn dead_letters(&self) -> u64 {
        self.dead_letters.load(Ordering::Relaxed)
    }

    pub(crate) fn set_dead_letters(&self, number: u64) {
        self.dead_letters.store(number, Ordering::Relaxed);
    }

    /// Sets when the oldest waiting event arrived.
    pub fn set_oldest(&self, oldest: Option<SystemTime>) {
        let since = oldest.and_then(|oldest| oldest.duration_since(SystemTime::UNIX_EPOCH).ok());
        let millis = since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
        self.oldest.store(millis, Ordering::Relaxed);
    }

    pub(super) fn set_final_batch(&self, final_batch: FinalBatch) {
        self.final_batch.send_if_modified(|current| {
            let changed = *current != final_batch;
            *current = final_batch;
            changed
        });
    }

    /// Waits until no final batch is in flight, but at most for `hold`. Returns whether one is still in
    /// flight.
    pub(super) async fn wait_for_final_batch(&self, hold: Duration) -> FinalBatch {
        let mut final_batch = self.final_batch.subscribe();
        let ended = tokio::time::timeout(
            hold,
            final_batch.wait_for(|final_batch| *final_batch == FinalBatch::None),
        )
        .await;
        match ended {
            Ok(_) => FinalBatch::None,
            Err(_) => FinalBatch::InFlight,
        }
    }

    /// Sets the number of waiting events and their size in bytes of JSON.
    pub fn set(&self, events: u64, bytes: u64) {
        self.bytes.store(bytes, Ordering::Release);
        self.events.store(events, Ordering::Release);
    }
}

/// These functions are for a spool that other processes fill and drain as well. This process counts the
/// events that it appends and delivers, but only the spool or the leader knows that no event is left.
impl Gauge {
    /// Counts events that this process appended.
    pub fn add(&self, events: u64, bytes: u64) {
        let mut additions = self
            .additions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *additions += 1;
        self.set(self.events() + events, self.bytes() + bytes);
    }

    /// Subtracts delivered events, but not down to zero. The delivered events may be those of another
    /// process, and then the events of this process still wait.
    pub fn subtract(&self, events: u64, bytes: u64) {
        let _additions = self
            .additions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = self.events();
        let left = before.saturating_sub(events).max(before.min(1));
        self.set(left, self.bytes().saturating_sub(bytes));
    }

    /// Returns the number of additions so far, for [`correct`](Self::correct).
    pub fn additions(&self) -> u64 {
        *self
            .additions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Corrects the number of events, unless events were added since `additions` was read: the answer on
    /// which the correction is based may not include them.
    pub fn correct(&self, additions: u64, correct: impl FnOnce(u64) -> u64) {
        let now = self
            .additions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *now == additions {
            let events = correct(self.events());
            self.set(events, if events == 0 { 0 } else { self.bytes() });
        }
    }
}

/// The counts of a spool since the start of the process. They count events unless stated otherwise.
#[derive(Debug, Default)]
pub struct Counters {
    /// Events that were made durable.
    pub appended: AtomicU64,
    /// Events that were not stored because the same event was already waiting.
    pub deduplicated: AtomicU64,
    /// Events that were delivered and acknowledged.
    pub delivered: AtomicU64,
    /// Events that were moved to the dead letters.
    pub dead_lettered: AtomicU64,
    /// Events and dead letters that were dropped because they were older than `max_age`.
    pub expired: AtomicU64,
    /// Dead letters that were dropped because their share of `max_size` was used up.
    pub dead_letters_evicted: AtomicU64,
    /// Events that were refused because the spool was full or could not be written. No client got a 200
    /// for them.
    pub refused: AtomicU64,
    /// Commits. Each is one wait for the storage and may answer any number of requests.
    pub commits: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, number: u64) {
        counter.fetch_add(number, Ordering::Relaxed);
    }
}
