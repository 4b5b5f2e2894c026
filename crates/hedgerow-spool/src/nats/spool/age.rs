//! Measures how old the messages of a stream are, in time during which a proxy used the stream.
//!
//! The ages do not depend on the clocks of the servers or the proxies. Someone can set a clock, and then
//! events acknowledged a moment ago would be a year old. The streams number their messages, so a mark
//! records which numbers had been given at an age of the spool. A message whose number is not above a
//! mark's is at least as old as the mark. A record holds the marks and the age of the spool. Every proxy
//! continues from this record, and while no proxy runs, no message grows older.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The longest time between two updates of the shared record while messages wait.
const SHARE: Duration = Duration::from_secs(60);

/// The last numbers given by the two streams that hold events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LastNumbers {
    /// The last number of the stream of waiting events.
    pub(super) waiting: u64,
    /// The last number of the stream of dead letters.
    pub(super) dead: u64,
}

/// When the two streams were created. A stream that was created again numbers its messages from the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StreamsMade {
    pub(super) waiting: String,
    pub(super) dead: String,
}

/// The numbers that the streams had given at one age of the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct AgeMark {
    /// The age of the spool, in milliseconds.
    at: u64,
    last: LastNumbers,
}

/// The marks and the age of a spool, which the proxies share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AgeRecord {
    /// A random number that identifies where the count of the age began. Ages with different
    /// beginnings cannot be compared.
    beginning: u64,
    made: StreamsMade,
    /// The age of the spool, in milliseconds.
    age: u64,
    /// The marks, the earliest first.
    marks: Vec<AgeMark>,
}

/// A process's own copy of the record of ages.
pub(super) struct AgeBook {
    max_age: Duration,
    record: AgeRecord,
    /// When `record.age` was last updated.
    since: Instant,
    /// When the record was last shared with the other proxies.
    shared: Option<Instant>,
    part: RecordPart,
}

/// Whether this process has written to the shared record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RecordPart {
    /// Not yet: this process has just started, or nothing has waited since it started.
    None,
    Joined,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl AgeBook {
    /// Creates a book that begins to count now.
    pub(super) fn new(max_age: Duration, made: StreamsMade, beginning: u64, now: Instant) -> Self {
        Self {
            max_age,
            record: AgeRecord {
                beginning,
                made,
                age: 0,
                marks: Vec::new(),
            },
            since: now,
            shared: None,
            part: RecordPart::None,
        }
    }

    /// Returns whether the record is about these streams.
    pub(super) fn is_of(&self, made: &StreamsMade) -> bool {
        self.record.made == *made
    }

    /// Returns the shortest time between two marks.
    fn step(&self) -> Duration {
        (self.max_age / 100).max(Duration::from_secs(1))
    }

    /// Returns whether it is time to share the record. A crash loses the time since the record was last
    /// shared.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let every = self.step().min(SHARE);
        let elapsed = |at| now.saturating_duration_since(at);
        self.shared.is_none_or(|at| elapsed(at) >= every)
    }

    pub(super) fn shared(&mut self, now: Instant) {
        self.shared = Some(now);
    }

    /// Records that this process has written the shared record.
    pub(super) fn joined(&mut self) {
        self.part = RecordPart::Joined;
    }

    /// Updates the record's age, and returns the record.
    pub(super) fn record(&mut self, now: Instant) -> &AgeRecord {
        let passed = millis(now.saturating_duration_since(self.since));
        self.record.age = self.record.age.saturating_add(passed);
        self.since = now;
        &self.record
    }

    /// Merges the record that the proxies share into this one. If the two have different beginnings, the
    /// older record replaces the other, and a process that has not written yet takes the shared one.
    pub(super) fn merge(&mut self, shared: AgeRecord, now: Instant) {
        let own = self.record(now);
        if shared.made != own.made {
            return;
        }
        if shared.beginning != own.beginning {
            // If the ages are equal, the smaller beginning wins, so all proxies choose the same record.
            let is_longer = (shared.age, own.beginning) > (own.age, shared.beginning);
            if is_longer || self.part == RecordPart::None {
                self.record = shared;
            }
            return;
        }
        self.record.age = self.record.age.max(shared.age);
        self.record.marks.extend(shared.marks);
        self.record.marks.sort_unstable_by_key(|mark| mark.at);
        self.record.marks.dedup();
    }

    /// Records the numbers given so far, and removes marks that are no longer needed.
    pub(super) fn mark(&mut self, last: LastNumbers, now: Instant) {
        let at = self.record(now).age;
        let step = millis(self.step());
        let marks = &mut self.record.marks;
        let is_new = marks.last().is_none_or(|latest| {
            let more = last.waiting > latest.last.waiting || last.dead > latest.last.dead;
            more && at >= latest.at.saturating_add(step)
        });
        if is_new {
            marks.push(AgeMark { at, last });
        }
        let limit = at.saturating_sub(millis(self.max_age));
        let old = marks.partition_point(|mark| mark.at <= limit);
        // Keeps the last old mark: it states which numbers are too old.
        marks.drain(..old.saturating_sub(1));
    }

    /// Returns the numbers up to which messages are at least `max_age` old.
    pub(super) fn too_old(&mut self, now: Instant) -> LastNumbers {
        let Some(limit) = self.record(now).age.checked_sub(millis(self.max_age)) else {
            return LastNumbers::default();
        };
        let marks = self.record.marks.iter();
        let old = marks.take_while(|mark| mark.at <= limit);
        old.fold(LastNumbers::default(), |highest, mark| LastNumbers {
            waiting: highest.waiting.max(mark.last.waiting),
            dead: highest.dead.max(mark.last.dead),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn made(waiting: &str) -> StreamsMade {
        StreamsMade {
            waiting: waiting.to_owned(),
            dead: "dead".to_owned(),
        }
    }

    fn book(beginning: u64, now: Instant) -> AgeBook {
        AgeBook::new(24 * HOUR, made("first"), beginning, now)
    }

    fn numbers(waiting: u64, dead: u64) -> LastNumbers {
        LastNumbers { waiting, dead }
    }

    #[test]
    fn messages_grow_old_by_time_that_passes_and_only_up_to_a_mark() {
        let start = Instant::now();
        let mut book = book(1, start);
        for hour in 0..24 {
            let now = start + hour * HOUR;
            book.mark(numbers(u64::from(hour) * 10, u64::from(hour / 12)), now);
            assert_eq!(book.too_old(now), LastNumbers::default(), "{hour}");
        }
        // The first mark with a number above 0 was set an hour after the start.
        assert_eq!(book.too_old(start + 25 * HOUR), numbers(10, 0));
        assert_eq!(book.too_old(start + 36 * HOUR), numbers(120, 1));
        assert_eq!(book.too_old(start + 1_000 * HOUR), numbers(230, 1));
    }

    #[test]
    fn a_restart_goes_on_and_the_time_without_a_process_does_not_count() {
        let start = Instant::now();
        let mut first = book(1, start);
        first.mark(numbers(7, 0), start);
        let left = first.record(start + 20 * HOUR).clone();
        // However long no process ran, the second book continues at the stored age.
        let mut second = book(2, start);
        second.merge(left, start);
        assert_eq!(second.too_old(start + 3 * HOUR), LastNumbers::default());
        assert_eq!(second.too_old(start + 4 * HOUR), numbers(7, 0));
    }

    #[test]
    fn processes_that_share_a_record_count_no_hour_twice() {
        let start = Instant::now();
        let mut first = book(1, start);
        first.mark(numbers(7, 0), start);
        let mut second = book(2, start);
        for hour in 1..24 {
            let now = start + hour * HOUR;
            let shared = first.record(now).clone();
            second.merge(shared, now);
            second.mark(numbers(7 + u64::from(hour), 0), now);
            let shared = second.record(now).clone();
            first.merge(shared, now);
            assert_eq!(first.too_old(now), LastNumbers::default(), "{hour}");
        }
        for book in [&mut first, &mut second] {
            assert_eq!(book.too_old(start + 24 * HOUR), numbers(7, 0));
            assert_eq!(book.too_old(start + 30 * HOUR), numbers(13, 0));
        }
    }

    #[test]
    fn another_beginning_and_another_stream_make_nothing_older() {
        let start = Instant::now();
        let mut long = book(1, start);
        long.mark(numbers(7, 0), start);
        // The record was lost, and a new process began a record of its own.
        let now = start + 20 * HOUR;
        let mut fresh = book(2, now);
        fresh.mark(numbers(50, 0), now);
        let begun = fresh.record(now).clone();
        long.joined();
        long.merge(begun, now);
        assert_eq!(long.too_old(start + 25 * HOUR), numbers(7, 0));
        let shared = long.record(start + 25 * HOUR).clone();
        fresh.merge(shared, start + 25 * HOUR);
        assert_eq!(fresh.too_old(start + 26 * HOUR), numbers(7, 0));
        // The streams were created again, so their numbers start again.
        let mut other = AgeBook::new(24 * HOUR, made("second"), 3, now);
        let shared = long.record(start + 26 * HOUR).clone();
        other.merge(shared, now);
        assert_eq!(other.too_old(now + 20 * HOUR), LastNumbers::default());
        assert!(!other.is_of(&made("first")) && other.is_of(&made("second")));
    }

    #[test]
    fn the_marks_of_any_time_are_few() {
        let start = Instant::now();
        let mut book = book(1, start);
        let mut now = start;
        for number in 0..2_000 {
            book.mark(numbers(number, 0), now);
            now += HOUR / 20;
            assert!(book.record(now).marks.len() <= 102);
        }
        let text = serde_json::to_vec(book.record(now)).unwrap();
        assert!(text.len() < 8_000, "{}", text.len());
        let read: AgeRecord = serde_json::from_slice(&text).unwrap();
        assert_eq!(read, book.record);
        assert!(book.is_due(now));
        book.shared(now);
        assert!(!book.is_due(now + SHARE / 2) && book.is_due(now + SHARE));
    }
}
