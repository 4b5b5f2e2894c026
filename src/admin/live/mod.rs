//! The last messages, each as it came and as it left.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, SecondsFormat, Utc};
use http::header::{HeaderValue, CACHE_CONTROL};
use http::StatusCode;
use serde_json::{json, Value};

use crate::plain::{pairs, Response};
use crate::rewrite::{Fate, Watch};

/// The time of day.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

mod pretty;
mod terminal;

pub use terminal::render_terminal;

/// How many entries are kept by default.
const ENTRIES: usize = 200;

/// The most bytes of one side of an entry; what is longer is cut and says so.
const SIDE_LIMIT: usize = 32 << 10;

/// The most entries in one answer to the page.
const ANSWER_LIMIT: usize = 100;

/// The last messages and what became of them, shared between threads.
///
/// It holds what visitors did, in plain text: it is for the machine of the one who watches, not
/// for a server that others use.
pub struct Live {
    clock: Clock,
    capacity: usize,
    ring: Mutex<Ring>,
}

#[derive(Default)]
struct Ring {
    next: u64,
    entries: VecDeque<Arc<Entry>>,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number, from 1.
    pub number: u64,
    /// When it was recorded.
    pub at: DateTime<Utc>,
    /// The Segment message, as it stood in its body.
    pub came: String,
    /// What became of it.
    pub left: Left,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// It left as this PostHog event (JSON text).
    Event(String),
    /// It was left out on purpose, for this reason.
    LeftOut(String),
    /// It was refused, for this reason.
    Refused(String),
}

impl Live {
    /// An empty ring of the default size.
    pub fn new(clock: Clock) -> Self {
        Self::with_capacity(clock, ENTRIES)
    }

    /// An empty ring that keeps this many entries, each of at most 64 KiB.
    pub fn with_capacity(clock: Clock, capacity: usize) -> Self {
        Self {
            clock,
            capacity,
            ring: Mutex::default(),
        }
    }

    /// Records one message and what became of it, and gives the entry back.
    pub fn record(&self, came: &[u8], fate: Fate<'_>) -> Arc<Entry> {
        let left = match fate {
            Fate::Event(event) => Left::Event(cut(event)),
            Fate::LeftOut(omission) => Left::LeftOut(omission.to_string()),
            Fate::Refused(fault) => Left::Refused(fault.to_string()),
        };
        let came = cut(came);
        let at = (self.clock)();
        let mut ring = self.ring();
        ring.next += 1;
        let number = ring.next;
        let entry = Arc::new(Entry {
            number,
            at,
            came,
            left,
        });
        ring.entries.push_back(Arc::clone(&entry));
        while ring.entries.len() > self.capacity {
            ring.entries.pop_front();
        }
        entry
    }

    /// The entries with a number above this one that are kept, oldest first.
    pub fn after(&self, number: u64) -> Vec<Arc<Entry>> {
        let ring = self.ring();
        let from = ring.entries.partition_point(|entry| entry.number <= number);
        ring.entries.iter().skip(from).cloned().collect()
    }

    /// What the page asks for: `{"latest":n,"entries":[{number, at, came, fate, left}…]}`, the
    /// newest hundred above `number`, oldest first. `came` and `left` are indented JSON text or a
    /// reason; `fate` is `event`, `left_out` or `refused`. A `latest` below what the page has seen
    /// means that the counting began anew; then everything is sent.
    pub fn json_after(&self, number: u64) -> String {
        let latest = self.ring().next;
        let entries = self.after(if number > latest { 0 } else { number });
        let from = entries.len().saturating_sub(ANSWER_LIMIT);
        let entries: Vec<Value> = entries
            .iter()
            .skip(from)
            .map(|entry| entry.json())
            .collect();
        json!({"latest": latest, "entries": entries}).to_string()
    }

    /// The answer to a request whose query says `after=NUMBER`; without it, all that is kept.
    pub(crate) fn news(&self, query: Option<&str>) -> Response {
        let after = pairs(query.unwrap_or_default())
            .into_iter()
            .find(|(name, _)| name == "after")
            .and_then(|(_, value)| value.parse::<u64>().ok())
            .unwrap_or_default();
        let text = self.json_after(after);
        Response::new(StatusCode::OK, "application/json", text)
            .with(CACHE_CONTROL, HeaderValue::from_static("no-store"))
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Entries hold what people did; a debug print shows only how many there were.
        formatter
            .debug_struct("Live")
            .field("recorded", &self.ring().next)
            .finish_non_exhaustive()
    }
}

/// Lets a rewriting be watched: `rewrite.pull(batch, limit, &mut &*live)`.
impl Watch for &Live {
    fn message(&mut self, _index: usize, came: &[u8], fate: Fate<'_>) {
        self.record(came, fate);
    }
}

impl Entry {
    fn json(&self) -> Value {
        let (fate, left) = match &self.left {
            Left::Event(event) => ("event", pretty::indent(event)),
            Left::LeftOut(reason) => ("left_out", reason.clone()),
            Left::Refused(reason) => ("refused", reason.clone()),
        };
        json!({
            "number": self.number,
            "at": self.at.to_rfc3339_opts(SecondsFormat::Millis, true),
            "came": pretty::indent(&self.came),
            "fate": fate,
            "left": left,
        })
    }
}

fn cut(bytes: &[u8]) -> String {
    match bytes.get(..SIDE_LIMIT) {
        Some(head) if bytes.len() > SIDE_LIMIT => {
            let rest = bytes.len() - SIDE_LIMIT;
            format!("{} … {rest} more bytes", String::from_utf8_lossy(head))
        }
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::{Fault, Omission};

    fn live(capacity: usize) -> Live {
        let clock: Clock = Arc::new(|| DateTime::from_timestamp_millis(1_795_166_130_250).unwrap());
        Live::with_capacity(clock, capacity)
    }

    #[test]
    fn the_newest_entries_are_kept_and_asked_for_by_number() {
        let live = live(3);
        for number in 1..=5 {
            let came = format!("{{\"n\":{number}}}");
            live.record(came.as_bytes(), Fate::Event(b"{}"));
        }
        let numbers = |after| -> Vec<u64> {
            let entries = live.after(after);
            entries.iter().map(|entry| entry.number).collect()
        };
        assert_eq!(numbers(0), [3, 4, 5]);
        assert_eq!(numbers(4), [5]);
        assert_eq!(numbers(5), [0u64; 0]);
        assert_eq!(live.after(4)[0].came, "{\"n\":5}");
    }

    #[test]
    fn the_page_learns_what_became_of_each_message() {
        let live = live(10);
        live.record(b"{\"price\":1.50}", Fate::Event(b"{\"event\":\"a\"}"));
        live.record(b"{}", Fate::LeftOut(Omission::SelfAlias));
        live.record(b"\xff", Fate::Refused(Fault::MissingDistinctId));
        let answer: Value = serde_json::from_str(&live.json_after(0)).unwrap();
        assert_eq!(answer["latest"], 3);
        let entries = answer["entries"].as_array().unwrap();
        let told: Vec<_> = entries.iter().map(|entry| &entry["fate"]).collect();
        assert_eq!(told, ["event", "left_out", "refused"]);
        assert_eq!(entries[0]["came"], "{\n  \"price\": 1.50\n}");
        assert_eq!(entries[0]["at"], "2026-11-20T09:15:30.250Z");
        assert_eq!(entries[1]["left"], "it is an alias of an id onto itself");
        assert_eq!(entries[2]["left"], Fault::MissingDistinctId.to_string());
        // A page that has seen more than there is starts over.
        let anew: Value = serde_json::from_str(&live.json_after(99)).unwrap();
        assert_eq!(anew, answer);
        let nothing: Value = serde_json::from_str(&live.json_after(3)).unwrap();
        assert_eq!(nothing["entries"].as_array().unwrap().len(), 0);
    }

    #[test]
    fn a_huge_message_is_cut() {
        let live = live(1);
        live.record(&vec![b'['; SIDE_LIMIT + 9], Fate::Event(b"{}"));
        let came = live.after(0)[0].came.clone();
        assert!(came.ends_with("… 9 more bytes"));
        // Depth must not turn 32 KiB into many megabytes of indentation.
        assert!(live.json_after(0).len() < 100 * SIDE_LIMIT);
    }
}
