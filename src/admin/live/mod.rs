//! The last messages, each as it came and as it left.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, SecondsFormat, Utc};
use http::header::{HeaderValue, CACHE_CONTROL};
use http::StatusCode;
use serde_json::{json, Value};

use crate::delivery::Refusal;
use crate::plain::{pairs, Response};
use crate::rewrite::{Fate, Fault, Watch};

use super::requests::TurnedAway;

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
    /// The number of the newest entry.
    last: u64,
    /// Counts entries and changes of them.
    version: u64,
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
    /// What became of it here.
    pub left: Left,
    /// What became of it after that.
    pub outcome: Outcome,
    /// Grows with each new entry and each change of one: what a page that has seen as much knows.
    pub version: u64,
}

/// What became of a message here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// It left as this PostHog event (JSON text).
    Event(String),
    /// It was left out on purpose, for this reason.
    LeftOut(String),
    /// It was refused, for this reason.
    Refused(String),
    /// It never became a message: the request was answered like this.
    TurnedAway(String),
}

/// Where a message is in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// On its way to PostHog, or not known.
    UnderWay,
    /// PostHog has it.
    Delivered,
    /// It waits in the spool.
    InSpool,
    /// PostHog did not take it, and its client was told to send it again.
    SentAgain,
    /// PostHog refused it for good.
    RefusedByPostHog(Refusal),
    /// It was left out or refused here.
    DroppedHere,
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Self::UnderWay => "under_way",
            Self::Delivered => "delivered",
            Self::InSpool => "in_spool",
            Self::SentAgain => "sent_again",
            Self::RefusedByPostHog(_) => "refused_by_posthog",
            Self::DroppedHere => "dropped_here",
        }
    }
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
        let outcome = match &left {
            Left::Event(_) => Outcome::UnderWay,
            _ => Outcome::DroppedHere,
        };
        self.add(cut(came), left, outcome)
    }

    /// Records a request that became no message.
    pub fn turn_away(&self, request: &TurnedAway<'_>) {
        let came = json!({
            "request": format!("{} {}", request.method, request.path),
            "route": request.route,
            "call": request.asked.word(),
            "write_key": request.key,
        });
        let answer = format!("{} {}", request.answered.status(), request.answered.code());
        self.add(
            cut(came.to_string().as_bytes()),
            Left::TurnedAway(answer),
            Outcome::DroppedHere,
        );
    }

    /// Says where the entries of these numbers are in the end, those of them that are kept.
    pub fn settle(&self, numbers: &[u64], outcome: &Outcome) {
        let Some(first) = numbers.first() else {
            return;
        };
        let mut ring = self.ring();
        let from = ring.entries.partition_point(|entry| entry.number < *first);
        for place in from..ring.entries.len() {
            let entry = ring.entries.get(place);
            let under_way = entry.filter(|entry| entry.outcome == Outcome::UnderWay);
            if under_way.is_some_and(|entry| numbers.contains(&entry.number)) {
                ring.change(place, outcome.clone());
            }
        }
    }

    /// Says where an event is in the end, which is known again by its uuid; whether it is kept.
    pub fn settle_event(&self, event: &[u8], outcome: Outcome) -> bool {
        let Some(uuid) = uuid(event) else {
            return false;
        };
        let mut ring = self.ring();
        let is_it = |entry: &Arc<Entry>| match &entry.left {
            Left::Event(event) => self::uuid(event.as_bytes()) == Some(uuid),
            _ => false,
        };
        let place = ring.entries.iter().rposition(is_it);
        if let Some(place) = place {
            ring.change(place, outcome);
        }
        place.is_some()
    }

    /// Records an event that PostHog has refused for good: in the entry of its message, or in one
    /// of its own, with the event in the place of its message, which is gone.
    pub fn refused_by_posthog(&self, event: &[u8], refusal: &Refusal) {
        let outcome = Outcome::RefusedByPostHog(refusal.clone());
        if !self.settle_event(event, outcome.clone()) {
            let reason = Fault::RefusedByPostHog.to_string();
            self.add(cut(event), Left::Refused(reason), outcome);
        }
    }

    fn add(&self, came: String, left: Left, outcome: Outcome) -> Arc<Entry> {
        let at = (self.clock)();
        let mut ring = self.ring();
        ring.last += 1;
        ring.version += 1;
        let entry = Arc::new(Entry {
            number: ring.last,
            at,
            came,
            left,
            outcome,
            version: ring.version,
        });
        ring.entries.push_back(Arc::clone(&entry));
        while ring.entries.len() > self.capacity {
            ring.entries.pop_front();
        }
        entry
    }

    /// The entries with a version above this one that are kept, in the order of their versions.
    pub fn after(&self, version: u64) -> Vec<Arc<Entry>> {
        let ring = self.ring();
        let new = ring.entries.iter().filter(|entry| entry.version > version);
        let mut new: Vec<Arc<Entry>> = new.cloned().collect();
        new.sort_unstable_by_key(|entry| entry.version);
        new
    }

    /// What the page asks for:
    /// `{"latest":n,"recorded":n,"entries":[{number, at, came, fate, left, outcome, answer}…]}`, the
    /// newest hundred that are new or have changed since `version`, oldest first. `came` and `left`
    /// are indented JSON text or a reason; `fate` is `event`, `left_out`, `refused` or
    /// `turned_away`; `answer` is PostHog's to an event that it refused. A `latest` below what the
    /// page has seen means that the counting began anew; then everything is sent.
    pub fn json_after(&self, version: u64) -> String {
        let (latest, recorded) = {
            let ring = self.ring();
            (ring.version, ring.last)
        };
        let entries = self.after(if version > latest { 0 } else { version });
        let from = entries.len().saturating_sub(ANSWER_LIMIT);
        let entries: Vec<Value> = entries
            .iter()
            .skip(from)
            .map(|entry| entry.json())
            .collect();
        json!({"latest": latest, "recorded": recorded, "entries": entries}).to_string()
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
            .field("recorded", &self.ring().last)
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
            Left::Event(event) => match self.outcome {
                Outcome::RefusedByPostHog(_) => ("refused", pretty::indent(event)),
                _ => ("event", pretty::indent(event)),
            },
            Left::LeftOut(reason) => ("left_out", reason.clone()),
            Left::Refused(reason) => ("refused", reason.clone()),
            Left::TurnedAway(answer) => ("turned_away", answer.clone()),
        };
        let answer = match &self.outcome {
            Outcome::RefusedByPostHog(Refusal { status, reason }) => {
                Some(format!("{status}: {reason}"))
            }
            _ => None,
        };
        json!({
            "number": self.number,
            "at": self.at.to_rfc3339_opts(SecondsFormat::Millis, true),
            "came": pretty::indent(&self.came),
            "fate": fate,
            "left": left,
            "outcome": self.outcome.word(),
            "answer": answer,
        })
    }
}

impl Ring {
    fn change(&mut self, place: usize, outcome: Outcome) {
        self.version += 1;
        let version = self.version;
        if let Some(entry) = self.entries.get_mut(place) {
            let entry = Arc::make_mut(entry);
            entry.outcome = outcome;
            entry.version = version;
        }
    }
}

/// The uuid of an event, which stands at its beginning.
fn uuid(event: &[u8]) -> Option<&[u8]> {
    event.strip_prefix(b"{\"uuid\":\"")?.get(..36)
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
    fn what_becomes_of_an_event_later_is_told_once_more() {
        let event = |digit: u8| {
            let digit = char::from(digit);
            let uuid = "01234567-89ab-cdef-0123-456789abcde";
            format!("{{\"uuid\":\"{uuid}{digit}\",\"event\":\"a\"}}")
        };
        let live = live(10);
        let numbers: Vec<u64> = (b'0'..b'5')
            .map(|digit| live.record(b"{}", Fate::Event(event(digit).as_bytes())))
            .map(|entry| entry.number)
            .collect();
        let told = |after| -> Vec<(u64, String)> {
            let news: Value = serde_json::from_str(&live.json_after(after)).unwrap();
            let entries = news["entries"].as_array().unwrap().iter();
            let outcome = |entry: &Value| entry["outcome"].as_str().unwrap().to_owned();
            entries
                .map(|entry| (entry["number"].as_u64().unwrap(), outcome(entry)))
                .collect()
        };
        assert!(told(0).iter().all(|(_, outcome)| outcome == "under_way"));
        live.settle(&numbers[..2], &Outcome::Delivered);
        live.settle(&numbers[2..4], &Outcome::InSpool);
        let said = |number: u64, outcome: &str| (number, outcome.to_owned());
        assert_eq!(
            told(5),
            [
                said(1, "delivered"),
                said(2, "delivered"),
                said(3, "in_spool"),
                said(4, "in_spool")
            ]
        );
        let refusal = Refusal {
            status: 400,
            reason: "no".to_owned(),
        };
        // It is known again although the spool has changed it, and not taken back by its batch.
        let changed = event(b'3').replace("\"a\"", "\"a\",\"$ip\":\"192.0.2.1\"");
        live.refused_by_posthog(changed.as_bytes(), &refusal);
        live.settle(&numbers, &Outcome::Delivered);
        live.refused_by_posthog(event(b'9').as_bytes(), &refusal);
        let refused = "refused_by_posthog";
        assert_eq!(
            told(9),
            [said(4, refused), said(5, "delivered"), said(6, refused)]
        );
        let news: Value = serde_json::from_str(&live.json_after(0)).unwrap();
        let answers = news["entries"].as_array().unwrap().iter();
        let answers = answers.filter(|entry| entry["answer"] == "400: no").count();
        assert_eq!((answers, &news["recorded"]), (2, &Value::from(6)));
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
