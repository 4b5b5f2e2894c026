//! Records the last messages, each with its original text and its event.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use http::header::{HeaderValue, CACHE_CONTROL};
use http::StatusCode;
use serde_json::{json, Value};

use crate::delivery::Refusal;
use crate::handler::{pairs, Response};
use crate::rewrite::{Fault, MessageOutcome};

use super::requests::RejectedRequest;

/// A function that returns the current time.
pub type UtcClock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

mod entry;
mod pretty;
mod redact;
mod ring;
mod terminal;
mod visibility;

pub use entry::{FinalOutcome, LiveEntry, MessageOrigin, RewriteResult};
use ring::Ring;
pub use terminal::render_terminal;
pub use visibility::Visibility;

/// The default number of entries.
const ENTRIES: usize = 4000;

/// The maximum number of bytes of all entries together.
const BYTES: usize = 16 << 20;

/// The time for which events are recorded after the last request of a page, in seconds. Most of the time
/// no page is open; then an event costs only one load and one addition.
const WATCHED: i64 = 15;

/// When events are recorded. Dropped and rejected messages are always recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recording {
    /// While a page requests them.
    WhileWatched,
    /// All the time.
    Always,
}

/// The last messages and their outcomes, shared between threads.
///
/// It contains the actions of visitors in plain text. It is meant for the machine of the person who
/// watches, not for a server that other people use.
pub struct Live {
    clock: UtcClock,
    /// Whether messages are redacted ([`Visibility::Redacted`]).
    redacted: AtomicBool,
    recording: Recording,
    /// The time until which events are recorded, in seconds since 1970; 0 if they are not recorded.
    watched: AtomicU64,
    /// The number of events that were not recorded because no page requested them.
    unseen: AtomicU64,
    ring: Mutex<Ring>,
}

impl Live {
    /// Creates an empty ring of the default size.
    pub fn new(clock: UtcClock, visibility: Visibility, recording: Recording) -> Self {
        Self::with_capacity(clock, visibility, recording, ENTRIES)
    }

    /// Creates an empty ring that stores at most this many entries, and at most 16 MiB.
    pub fn with_capacity(
        clock: UtcClock,
        visibility: Visibility,
        recording: Recording,
        entries: usize,
    ) -> Self {
        Self {
            clock,
            redacted: AtomicBool::new(visibility == Visibility::Redacted),
            recording,
            watched: AtomicU64::new(0),
            unseen: AtomicU64::new(0),
            ring: Mutex::new(Ring::new(entries, BYTES)),
        }
    }

    /// Sets whether messages that arrive from now on are shown or redacted.
    pub fn show(&self, visibility: Visibility) {
        self.redacted
            .store(visibility == Visibility::Redacted, Ordering::Relaxed);
    }

    fn visibility(&self) -> Visibility {
        match self.redacted.load(Ordering::Relaxed) {
            true => Visibility::Redacted,
            false => Visibility::Shown,
        }
    }

    /// Returns whether events are recorded now.
    pub fn is_watched(&self) -> bool {
        if self.recording == Recording::Always {
            return true;
        }
        match self.watched.load(Ordering::Relaxed) {
            // The most frequent case. It does not read the clock.
            0 => false,
            until => {
                let now = (self.clock)().timestamp();
                let watched = i64::try_from(until).is_ok_and(|until| now <= until);
                if !watched {
                    self.watched.store(0, Ordering::Relaxed);
                }
                watched
            }
        }
    }

    fn page_opened(&self) {
        let until = (self.clock)().timestamp().saturating_add(WATCHED);
        self.watched
            .store(u64::try_from(until).unwrap_or(0), Ordering::Relaxed);
    }

    /// Records one message and its result. An event is recorded only if [`is_watched`](Self::is_watched)
    /// returns `true`; any other result is always recorded. Returns the number of the entry of an event,
    /// whose final outcome is not known yet.
    pub fn message(
        &self,
        of: MessageOrigin<'_>,
        original: &[u8],
        message_outcome: MessageOutcome<'_>,
        explanation: Option<&[u8]>,
    ) -> Option<u64> {
        let is_event = matches!(message_outcome, MessageOutcome::Event(_));
        if is_event && !self.is_watched() {
            self.unseen.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let entry = LiveEntry::of_message(
            of,
            (self.clock)(),
            (self.visibility(), original),
            message_outcome,
            explanation,
        );
        let number = self.ring().add(entry);
        is_event.then_some(number)
    }

    /// Records a request that produced no message. A request without a route is recorded only while
    /// events are recorded: if the routes are for a part of the site, most requests have no route.
    pub fn rejected(&self, request: &RejectedRequest<'_>) {
        if request.asked == super::requests::RequestKind::Nothing && !self.is_watched() {
            return;
        }
        let path = match self.visibility() {
            Visibility::Shown => request.path,
            Visibility::Redacted => "(hidden: privacy is configured)",
        };
        let entry = LiveEntry::of_request((self.clock)(), &RejectedRequest { path, ..*request });
        self.ring().add(entry);
    }

    /// Sets the final outcome of the entries with these numbers. It skips entries that are no longer in
    /// the ring or already have a final outcome.
    pub fn settle(&self, numbers: &[u64], outcome: &FinalOutcome) {
        if numbers.is_empty() {
            return;
        }
        let now = (self.clock)();
        let mut ring = self.ring();
        for number in numbers {
            let under_way = ring.get(*number);
            if under_way.is_some_and(|entry| entry.outcome == FinalOutcome::UnderWay) {
                ring.change(*number, outcome.clone(), now);
            }
        }
    }

    /// Sets the final outcome of an event of this project, which it finds by the uuid. Returns whether the
    /// event is in the ring.
    pub fn settle_event(&self, project: &str, event: &[u8], outcome: FinalOutcome) -> bool {
        let now = (self.clock)();
        let mut ring = self.ring();
        let number = ring.number_of(project, event);
        if let Some(number) = number {
            ring.change(number, outcome, now);
        }
        number.is_some()
    }

    /// Records that these events were delivered from the spool to PostHog. It does nothing while events
    /// are not recorded.
    pub fn delivered_from_spool<'e>(&self, project: &str, events: impl Iterator<Item = &'e [u8]>) {
        if self.is_watched() {
            for event in events {
                self.settle_event(project, event, FinalOutcome::Delivered);
            }
        }
    }

    /// Records that PostHog has rejected an event for good, in the entry of its message. If the ring
    /// has no such entry, it adds a new one, which contains the event instead of the message.
    pub fn refused_by_posthog(&self, project: &str, event: &[u8], refusal: &Refusal) {
        let outcome = FinalOutcome::RefusedByPostHog(refusal.clone());
        if !self.settle_event(project, event, outcome.clone()) {
            let of = MessageOrigin {
                project,
                ..MessageOrigin::default()
            };
            let message_outcome = MessageOutcome::Refused(Fault::RefusedByPostHog);
            // The event was sent to PostHog, so it may be shown.
            let original = (Visibility::Shown, event);
            let mut entry =
                LiveEntry::of_message(of, (self.clock)(), original, message_outcome, None);
            entry.outcome = outcome;
            self.ring().add(entry);
        }
    }

    /// Returns the entries of the ring with a version above this one, in the order of their versions, the
    /// last version, and the number of the last entry.
    fn after(&self, version: u64) -> (Vec<Arc<LiveEntry>>, u64, u64) {
        let ring = self.ring();
        let after = match version > ring.version() {
            // The page has seen versions of another process, so it gets all entries.
            true => 0,
            false => version,
        };
        let mut new: Vec<Arc<LiveEntry>> = ring
            .entries()
            .filter(|entry| entry.version > after)
            .cloned()
            .collect();
        new.sort_unstable_by_key(|entry| entry.version);
        (new, ring.version(), ring.last())
    }

    /// Returns the JSON for the page: `{"latest":n,"recorded":n,"unseen":n,"entries":[row…]}`, with a row
    /// for each entry that is new or has changed since `version`. `recorded` counts entries, so that a
    /// page knows how many it has missed; `unseen` counts events that arrived while no page was open. If
    /// `latest` is below the page's version, the process has restarted, and all entries are sent.
    /// If there is a text to find, `found` of each row states whether the entry contains it.
    pub fn json_after(&self, version: u64, find: Option<&str>) -> String {
        let (entries, latest, recorded) = self.after(version);
        let row = |entry: &Arc<LiveEntry>| {
            let mut row = entry.row();
            if let (Some(text), Some(row)) = (find, row.as_object_mut()) {
                row.insert("found".to_owned(), json!(entry.contains(text)));
            }
            row
        };
        let rows: Vec<Value> = entries.iter().map(row).collect();
        json!({
            "latest": latest,
            "recorded": recorded,
            "unseen": self.unseen.load(Ordering::Relaxed),
            "entries": rows,
        })
        .to_string()
    }

    /// Returns the response to a request with the query `after=VERSION` (without it, all entries of the
    /// ring) and optionally `find=TEXT`. Events are recorded for the next `WATCHED` seconds.
    pub(crate) fn updates(&self, query: Option<&str>) -> Response {
        self.page_opened();
        let after = number("after", query).unwrap_or_default();
        let text = self.json_after(after, value("find", query).as_deref());
        no_store(Response::new(StatusCode::OK, "application/json", text))
    }

    /// Returns the response to a request with the query `number=NUMBER`: one entry with message and event,
    /// or 404 if the entry is not in the ring.
    pub(crate) fn detail(&self, query: Option<&str>) -> Response {
        let entry = number("number", query).and_then(|number| self.ring().get(number).cloned());
        no_store(match entry {
            Some(entry) => {
                let text = entry.detail().to_string();
                Response::new(StatusCode::OK, "application/json", text)
            }
            None => Response::empty(StatusCode::NOT_FOUND),
        })
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_store(response: Response) -> Response {
    response.with(CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

fn value(wanted: &str, query: Option<&str>) -> Option<String> {
    let pairs = pairs(query.unwrap_or_default());
    let mut named = pairs.into_iter().filter(|(name, _)| name == wanted);
    named.next().map(|(_, value)| value)
}

fn number(wanted: &str, query: Option<&str>) -> Option<u64> {
    value(wanted, query)?.parse().ok()
}

impl std::fmt::Debug for Live {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Entries contain data about visitors, so only the number of entries is printed.
        formatter
            .debug_struct("Live")
            .field("recorded", &self.ring().last())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
