//! The functions of every spool, on this machine's disk or in a distributed log.

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

/// The position of an event in its spool; a larger one is later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub(super) i64);

/// An event that waits, as the replay takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedEvent {
    /// Its position.
    pub position: Position,
    /// Its JSON text.
    pub body: Bytes,
    /// When its request arrived.
    pub first_arrival: SystemTime,
}

/// The events that the replay has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peeked {
    /// The oldest events, in order.
    pub events: Vec<QueuedEvent>,
    /// Whether there was more at that moment.
    pub rest: Rest,
}

/// Whether more waits than was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rest {
    /// That was all.
    #[default]
    Nothing,
    /// There is more, or that is unknown.
    More,
}

/// How much the replay takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeekLimit {
    /// Events at most.
    pub events: usize,
    /// Bytes of JSON at most; the first event is read even if it is larger.
    pub bytes: usize,
}

/// Why an event was put among the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// PostHog's status, or 0 if it was not PostHog that refused.
    pub status: u16,
    /// The first words of PostHog's answer.
    pub reason: String,
}

/// How capture begins its refusals (posthog-ingestion 1.7).
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
    /// The reason in a form for the log: capture's own messages. Another answer may repeat the
    /// event, so only people who may see events get it.
    pub fn for_log(&self) -> &'static str {
        let known = REFUSALS
            .iter()
            .find(|known| self.reason.starts_with(**known));
        known.copied().unwrap_or("with words of its own")
    }
}

/// An event that PostHog rejected for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number, for `hedgerow spool show`, `retry` and `drop`.
    pub number: i64,
    /// The project it was for.
    pub project: String,
    /// When its request arrived.
    pub first_arrival: SystemTime,
    /// When PostHog rejected it, by the spool's own time: the time of day, minus the time during
    /// which no process had the spool open.
    pub refused_at: SystemTime,
    /// Why.
    pub refusal: Refusal,
    /// Its JSON text.
    pub body: Bytes,
}

/// Tells the time of day.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Whether this process may drain a project's events now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lead {
    /// It may, for at least this time. A request must have ended by then, or another process could
    /// overtake it with later events of the same person.
    Ours(Duration),
    /// Another process does it.
    Theirs,
}

/// Whether this process drains a spool that several processes fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leadership {
    /// It is the leader, or no other process can be seen.
    Leader,
    /// Another process is the leader. New events here have to go behind the events that the leader
    /// stores.
    Follower,
}

/// Whether a spool takes events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// It does.
    Available,
    /// It is full, cannot be written, or cannot be reached.
    Unavailable,
}

/// A place that keeps events until PostHog has them.
///
/// Order: events that a caller appended after another append had returned come after its events.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Keeps events. Returns once they are durable; after an error nothing is promised.
    ///
    /// The work continues when the caller is dropped: a client's events are delivered even if it
    /// has left. After [`SpoolError::TooLarge`] the events that are not too large are durable.
    async fn append(&self, project: &str, events: Vec<SpooledEvent>) -> Result<(), SpoolError>;

    /// The oldest events of a project, in order. They stay where they are: the next call has them again
    /// until they are acknowledged or dead letters.
    async fn peek(&self, project: &str, limit: PeekLimit) -> Result<Peeked, SpoolError>;

    /// PostHog has these. This process never reads them again, even when the storage cannot remove
    /// them now; then a restart may send them twice, and PostHog collapses them.
    async fn acknowledge(&self, project: &str, positions: Vec<Position>);

    /// PostHog will never take this one: moves it to the dead letters.
    async fn dead_letter(
        &self,
        project: &str,
        position: Position,
        refusal: Refusal,
    ) -> Result<(), SpoolError>;

    /// The replay is about to send all that waits. A spool that others fill as well asks them to
    /// hold what arrives for a moment, or it would never be empty.
    async fn final_batch_begins(&self, _project: &str) {}

    /// Nothing waits any more: the way is free for all.
    async fn queue_is_empty(&self, _project: &str) {}

    /// Whether this process may drain the project.
    ///
    /// # Errors
    /// If the spool cannot say which process may. That does not mean that another process drains.
    async fn lead(&self, project: &str) -> Result<Lead, SpoolError>;

    /// Gives up all leads, so that a successor need not wait. Call it once nothing drains.
    async fn resign(&self);

    /// Whether appends succeed, as far as it is known without one: at most a few seconds old.
    fn availability(&self) -> Availability;

    /// Why it takes no events, in words for an operator, while
    /// [`availability`](Self::availability) says so.
    fn trouble(&self) -> Option<String>;

    /// The waiting events of each project; up to date when an append has returned.
    fn gauges(&self) -> &Gauges;

    /// The counts since the start.
    fn counters(&self) -> &Counters;
}

/// The waiting events of each project. Reading them costs an atomic load.
#[derive(Debug, Default)]
pub struct Gauges {
    projects: ByProject<Arc<Gauge>>,
    changed: Notify,
    used: AtomicU64,
    /// Zero while it is unknown.
    limit: AtomicU64,
}

/// Whether all that waits is on its way: when that has arrived, the way is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum FinalBatch {
    #[default]
    None,
    InFlight,
}

/// The waiting events of one project.
#[derive(Debug, Default)]
pub struct Gauge {
    events: AtomicU64,
    bytes: AtomicU64,
    /// Milliseconds since 1970; zero while it is not known.
    oldest: AtomicU64,
    dead_letters: AtomicU64,
    last: watch::Sender<FinalBatch>,
    additions: std::sync::Mutex<u64>,
}

impl Gauges {
    /// The gauge of a project; it exists until the spool is dropped.
    pub fn of(&self, project: &str) -> Arc<Gauge> {
        self.projects.of(project, Arc::default)
    }

    /// The projects that have events waiting.
    pub fn waiting(&self) -> Vec<String> {
        let projects = self.projects.all().into_iter();
        projects
            .filter(|(_, gauge)| gauge.events() > 0)
            .map(|(name, _)| name)
            .collect()
    }

    /// The number of additions so far of each project, for [`Gauge::correct`].
    pub fn snapshot(&self) -> HashMap<String, u64> {
        let projects = self.projects.all().into_iter();
        projects
            .map(|(name, gauge)| (name, gauge.additions()))
            .collect()
    }

    /// The bytes in use and the limit, when they are known.
    pub fn size(&self) -> Option<(u64, u64)> {
        let limit = self.limit.load(Ordering::Relaxed);
        (limit > 0).then(|| (self.used.load(Ordering::Relaxed), limit))
    }

    /// Sets the bytes in use, and those that may be.
    pub fn set_size(&self, used: u64, limit: u64) {
        self.used.store(used, Ordering::Relaxed);
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Sets how many dead letters there are of each project: none of those that are not named.
    pub fn set_dead_letters(&self, letters: &HashMap<String, u64>) {
        for name in letters.keys() {
            self.of(name);
        }
        for (name, gauge) in self.projects.all() {
            let number = letters.get(&name).copied().unwrap_or_default();
            gauge.set_dead_letters(number);
        }
    }

    /// Returns when something was appended; may return without.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Says that something was appended.
    pub fn announce(&self) {
        self.changed.notify_one();
    }
}

impl Gauge {
    /// Events that wait.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Acquire)
    }

    /// Their JSON in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// When the oldest event that waits arrived, where this process drains them.
    pub fn oldest(&self) -> Option<SystemTime> {
        let millis = self.oldest.load(Ordering::Relaxed);
        let is_known = self.events() > 0 && millis > 0;
        is_known.then(|| SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
    }

    /// Events that PostHog rejected for good and that the spool keeps.
    pub fn dead_letters(&self) -> u64 {
        self.dead_letters.load(Ordering::Relaxed)
    }

    pub(crate) fn set_dead_letters(&self, number: u64) {
        self.dead_letters.store(number, Ordering::Relaxed);
    }

    /// Sets when the oldest event that waits arrived.
    pub fn set_oldest(&self, oldest: Option<SystemTime>) {
        let since = oldest.and_then(|oldest| oldest.duration_since(SystemTime::UNIX_EPOCH).ok());
        let millis = since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
        self.oldest.store(millis, Ordering::Relaxed);
    }

    pub(super) fn set_final_batch(&self, last: FinalBatch) {
        self.last.send_if_modified(|now| {
            let changed = *now != last;
            *now = last;
            changed
        });
    }

    /// Waits until no final batch is in flight, at most for `hold`; whether one still is.
    pub(super) async fn wait_for_final_batch(&self, hold: Duration) -> FinalBatch {
        let mut last = self.last.subscribe();
        let over =
            tokio::time::timeout(hold, last.wait_for(|last| *last == FinalBatch::None)).await;
        match over {
            Ok(_) => FinalBatch::None,
            Err(_) => FinalBatch::InFlight,
        }
    }

    /// Sets how many events wait, and their JSON in bytes.
    pub fn set(&self, events: u64, bytes: u64) {
        self.bytes.store(bytes, Ordering::Release);
        self.events.store(events, Ordering::Release);
    }
}

/// For a spool that others fill and drain as well: what comes from here is counted here, that
/// nothing is left has to be learnt.
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

    /// Subtracts delivered events. Never down to zero: they may have been others' events.
    pub fn subtract(&self, events: u64, bytes: u64) {
        let _additions = self
            .additions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = self.events();
        let left = before.saturating_sub(events).max(before.min(1));
        self.set(left, self.bytes().saturating_sub(bytes));
    }

    /// The number of additions so far, for [`correct`](Self::correct).
    pub fn additions(&self) -> u64 {
        *self
            .additions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Corrects the number of events, unless something was added since `additions` was read: an
    /// answer that was under way meanwhile knows nothing of it.
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

/// The counts of a spool since the start of the process, in events unless documented otherwise.
#[derive(Debug, Default)]
pub struct Counters {
    /// Made durable.
    pub appended: AtomicU64,
    /// Not stored because the same event was waiting already.
    pub deduplicated: AtomicU64,
    /// Delivered and forgotten.
    pub delivered: AtomicU64,
    /// Moved to the dead letters.
    pub dead_lettered: AtomicU64,
    /// Dropped because they were older than `max_age`, dead letters included.
    pub expired: AtomicU64,
    /// Dead letters dropped because their share of `max_size` was used up.
    pub dead_letters_evicted: AtomicU64,
    /// Refused before they were acknowledged: the spool was full or could not be written.
    pub refused: AtomicU64,
    /// Commits: each is one wait for the disk, for any number of requests that it answers.
    pub commits: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, number: u64) {
        counter.fetch_add(number, Ordering::Relaxed);
    }
}
