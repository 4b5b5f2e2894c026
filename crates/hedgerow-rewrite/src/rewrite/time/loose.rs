//! Reads times in the other forms that clients write: those that Segment's own reader reads, and others
//! that have a single meaning.
//!
//! A text is a date, a time of day and a zone, in ISO's order or with the month as a word, and each of
//! them at most once. A text without a zone is in UTC, as on Segment's servers. The reader rejects a
//! text that has two meanings, or that names a day or a zone that does not exist: the time of arrival
//! is a better guess than a wrong month. `tests/data/times.tsv` holds the results of Segment's reader
//! for the same texts, and `time/difference.rs` states where and why the two readers differ.

mod names;

use super::{days, epoch, Timestamp, MICROS_PER_SECOND};
use names::{MONTHS, WEEKDAYS, ZONES};

/// The length of the longest text that is read, in bytes, without the bracketed name at its end. A longer
/// text costs no more time than this.
const LONGEST: usize = 100;

/// Reads a time. Returns none if the text has no single clear meaning.
pub(super) fn read(text: &str) -> Option<Timestamp> {
    let text = text.trim().as_bytes();
    let head = text.get(..LONGEST).unwrap_or(text);
    // `Date.toString()` ends in the zone's name in brackets, in the visitor's language and of any
    // length. The name is not needed, because an offset precedes it.
    let bracket = head.iter().position(|byte| *byte == b'(');
    let head = match bracket {
        Some(bracket) => head.get(..bracket)?.trim_ascii_end(),
        None if text.len() > LONGEST => return None,
        None => head,
    };
    let is_digits = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    if bracket.is_none() && head.iter().all(is_digits) {
        return epoch::text(head);
    }
    let mut reader = DateReader {
        rest: head,
        found: DateParts::default(),
    };
    reader.iso()?;
    while reader.token()? == DateToken::Read {}
    // Only a text with a time of day ends in a zone's name.
    if bracket.is_some() && reader.found.time.is_none() {
        return None;
    }
    reader.found.settle()
}

/// The parts of a text that have been read so far.
#[derive(Debug, Default)]
struct DateParts {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    time: Option<TimeOfDay>,
    half: Option<HalfDay>,
    zone: Option<Zone>,
}

/// A time of day.
#[derive(Debug, Clone, Copy)]
struct TimeOfDay {
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
}

/// A half of the day on a 12-hour clock.
#[derive(Debug, Clone, Copy)]
enum HalfDay {
    Morning,
    Afternoon,
}

/// A zone's offset in seconds, and whether the text states a name or the offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zone {
    Named(i64),
    Offset(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DateToken {
    Read,
    End,
}

/// Sets a part that has not been set yet. Returns none if it has been: two parts of one kind have no
/// single meaning.
fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    match place {
        Some(_) => None,
        None => {
            *place = Some(value);
            Some(())
        }
    }
}

impl DateParts {
    fn settle(self) -> Option<Timestamp> {
        // A month without a day means its first day.
        let day = days(self.year?, self.month?, self.day.unwrap_or(1))?;
        let clock = match (self.time, self.half) {
            (Some(clock), half) => clock.of(half)?,
            (None, Some(_)) => return None,
            (None, None) => TimeOfDay::MIDNIGHT,
        };
        let offset = match self.zone {
            Some(Zone::Named(seconds) | Zone::Offset(seconds)) => seconds,
            None => 0,
        };
        let seconds = day * 86_400 + clock.hour * 3600 + clock.minute * 60 + clock.second - offset;
        Timestamp(seconds * MICROS_PER_SECOND + clock.micros).stored()
    }
}

impl TimeOfDay {
    const MIDNIGHT: Self = Self {
        hour: 0,
        minute: 0,
        second: 0,
        micros: 0,
    };

    /// Returns this time on a 24-hour clock, or none if there is no such time. 24:00 is the end of its
    /// day. Second 60 is a leap second, which counts as the first second of the next minute.
    fn of(self, half: Option<HalfDay>) -> Option<Self> {
        if self.minute > 59 || self.second > 60 {
            return None;
        }
        let hour = match half {
            Some(_) if self.hour > 12 => return None,
            Some(HalfDay::Morning) => self.hour % 12,
            Some(HalfDay::Afternoon) => self.hour % 12 + 12,
            None => self.hour,
        };
        let is_end = hour == 24 && self.minute + self.second + self.micros == 0;
        (hour < 24 || is_end).then_some(Self { hour, ..self })
    }
}

struct DateReader<'t> {
    rest: &'t [u8],
    found: DateParts,
}

impl DateReader<'_> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn skip(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }

    /// Skips this byte if it is the next one.
    fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        if is_next {
            self.skip(1);
        }
        is_next
    }

    fn count(&self, wanted: fn(&u8) -> bool) -> usize {
        self.rest.iter().take_while(|byte| wanted(byte)).count()
    }

    /// Reads the next number if the count of its digits is in `digits`. Returns the number and that count.
    fn number(&mut self, digits: std::ops::RangeInclusive<usize>) -> Option<(i64, usize)> {
        let count = self.count(u8::is_ascii_digit);
        if !digits.contains(&count) {
            return None;
        }
        self.fixed(count)
    }

    /// Reads a number of exactly `count` digits, whatever follows them. Returns the number and `count`.
    fn fixed(&mut self, count: usize) -> Option<(i64, usize)> {
        let value = super::number(self.rest.get(..count)?)?;
        self.skip(count);
        Some((value, count))
    }

    /// Skips spaces, including some of Unicode's: browsers write a narrow space before AM and PM. Returns
    /// whether there was any.
    fn spaces(&mut self) -> bool {
        let before = self.rest.len();
        loop {
            match self.rest {
                [b' ' | b'\t' | b'\n' | b'\r', ..] => self.skip(1),
                [0xc2, 0xa0, ..] => self.skip(2),
                [0xe2, 0x80, 0x89 | 0xaf, ..] => self.skip(3),
                _ => return self.rest.len() < before,
            }
        }
    }

    /// Reads a date in ISO's order at the beginning of the text, and the time after it. Reads nothing if
    /// the text does not begin with such a date.
    fn iso(&mut self) -> Option<()> {
        let start = self.rest;
        // JavaScript can write a year with a sign and six digits. `+00` is such a year up to 9999.
        if let [b'+', b'0', b'0', ..] = self.rest {
            self.skip(3);
        }
        let digits = self.count(u8::is_ascii_digit);
        if !matches!(digits, 4 | 6 | 8) {
            self.rest = start;
            return Some(());
        }
        let (year, _) = self.fixed(4)?;
        let separator = self.peek();
        match (digits, separator) {
            (4, Some(separator @ (b'-' | b'/'))) => {
                self.skip(1);
                let Some((month, _)) = self.number(1..=2) else {
                    // `2023-Nov-14`
                    self.rest = start;
                    return Some(());
                };
                once(&mut self.found.month, month)?;
                if self.eat(separator) {
                    let (day, _) = self.number(1..=2)?;
                    once(&mut self.found.day, day)?;
                }
            }
            (4, Some(b'T' | b't')) => {
                once(&mut self.found.month, 1)?;
            }
            (6 | 8, _) => {
                let (month, _) = self.fixed(2)?;
                once(&mut self.found.month, month)?;
                if digits == 8 {
                    let (day, _) = self.fixed(2)?;
                    once(&mut self.found.day, day)?;
                }
            }
            _ => {
                self.rest = start;
                return Some(());
            }
        }
        once(&mut self.found.year, year)?;
        let is_time = match self.peek() {
            Some(b'T' | b't') => {
                self.skip(1);
                true
            }
            _ => self.spaces() && self.peek().is_some_and(|byte| byte.is_ascii_digit()),
        };
        if !is_time {
            return Some(());
        }
        match self.count(u8::is_ascii_digit) {
            4 | 6 => self.compact_clock(),
            1 | 2 => {
                let (hour, _) = self.number(1..=2)?;
                self.clock(hour)
            }
            _ => None,
        }
    }

    /// Reads a time of day without separators: `221320` or `2213`.
    fn compact_clock(&mut self) -> Option<()> {
        let has_seconds = self.count(u8::is_ascii_digit) == 6;
        let (hour, _) = self.fixed(2)?;
        let (minute, _) = self.fixed(2)?;
        let (second, micros) = match has_seconds {
            true => (self.fixed(2)?.0, self.fraction()?),
            false => (0, 0),
        };
        once(
            &mut self.found.time,
            TimeOfDay {
                hour,
                minute,
                second,
                micros,
            },
        )
    }

    /// Reads the rest of a time of day after its hour: `:13:20.5`.
    fn clock(&mut self, hour: i64) -> Option<()> {
        if !self.eat(b':') {
            return None;
        }
        let (minute, _) = self.number(1..=2)?;
        let (second, micros) = match self.rest {
            [b':', digit, ..] if digit.is_ascii_digit() => {
                self.skip(1);
                (self.number(1..=2)?.0, self.fraction()?)
            }
            _ => (0, 0),
        };
        let clock = TimeOfDay {
            hour,
            minute,
            second,
            micros,
        };
        once(&mut self.found.time, clock)
    }

    /// Reads the decimals of a second after a point or a comma. Drops those past microseconds.
    fn fraction(&mut self) -> Option<i64> {
        match self.rest {
            [b'.', digit, ..] | [b',', digit, ..] if digit.is_ascii_digit() => self.skip(1),
            [b'.', ..] => return None,
            _ => return Some(0),
        }
        let count = self.count(u8::is_ascii_digit);
        let decimals = self.rest.get(..count).unwrap_or_default();
        let micros = (0..6).fold(0, |micros, place| {
            let digit = decimals.get(place).map_or(0, |digit| digit - b'0');
            micros * 10 + i64::from(digit)
        });
        self.skip(count);
        Some(micros)
    }

    /// Reads the next part of the text.
    fn token(&mut self) -> Option<DateToken> {
        self.spaces();
        while self.eat(b',') {
            self.spaces();
        }
        let Some(byte) = self.peek() else {
            return Some(DateToken::End);
        };
        let has_time = self.found.time.is_some();
        match byte {
            b'0'..=b'9' => self.digits()?,
            b'a'..=b'z' | b'A'..=b'Z' => self.word()?,
            b'+' => self.offset()?,
            b'-' if has_time || self.found.zone.is_some() => self.offset()?,
            // `14-Nov-2023`
            b'-' if self.found.year.is_none() || self.found.day.is_none() => self.skip(1),
            // analytics-swift writes `27.029:Z`.
            b':' if has_time && matches!(self.rest, [_, b'Z' | b'z' | b'+' | b'-', ..]) => {
                self.skip(1);
            }
            // Java and Temporal add `[Europe/Paris]` to an offset.
            b'[' if self.found.zone.is_some() && self.rest.ends_with(b"]") => self.rest = &[],
            _ => return None,
        }
        Some(DateToken::Read)
    }

    /// Reads a number that begins a time or a date, or that is a part of a date.
    fn digits(&mut self) -> Option<()> {
        let (value, count) = self.number(1..=4)?;
        match (self.peek(), count) {
            (Some(b':'), 1 | 2) => self.clock(value),
            (Some(separator @ (b'/' | b'-')), 1 | 2) if matches!(self.rest, [_, digit, ..] if digit.is_ascii_digit()) => {
                self.american(value, separator)
            }
            (_, 4) => once(&mut self.found.year, value),
            (_, 1 | 2) if self.found.day.is_none() => once(&mut self.found.day, value),
            (_, 2) => once(&mut self.found.year, full_year(value)),
            _ => None,
        }
    }

    /// Reads the rest of a date after its month: month, day, year is the order of the United States and
    /// of Segment's reader.
    fn american(&mut self, month: i64, separator: u8) -> Option<()> {
        self.skip(1);
        let (day, _) = self.number(1..=2)?;
        if !self.eat(separator) {
            return None;
        }
        let year = match self.number(2..=4)? {
            (year, 4) => year,
            (year, 2) => full_year(year),
            _ => return None,
        };
        once(&mut self.found.month, month)?;
        once(&mut self.found.day, day)?;
        once(&mut self.found.year, year)
    }

    fn word(&mut self) -> Option<()> {
        let count = self.count(u8::is_ascii_alphabetic);
        let word = self.rest.get(..count)?;
        self.skip(count);
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let is_short = |name: &&str| is(name) || name.get(..3).is_some_and(is);
        let month = MONTHS.iter().position(is_short);
        let month = month.or_else(|| is("sept").then_some(8));
        if let Some(month) = month {
            self.eat(b'.');
            let month = i64::try_from(month).ok()?;
            return once(&mut self.found.month, month + 1);
        }
        if WEEKDAYS.iter().any(is_short) {
            self.eat(b'.');
            return Some(());
        }
        if let [b'.', b'm' | b'M', ..] = self.rest {
            if is("a") || is("p") {
                self.skip(2);
                self.eat(b'.');
                return self.half(word);
            }
        }
        if is("am") || is("pm") {
            return self.half(word);
        }
        if is("at") && self.found.time.is_none() && self.found.day.is_some() {
            return Some(());
        }
        if is("m") && self.found.zone.is_some() && self.eat(b'=') {
            // The reading of Go's monotonic clock, which is always the last part.
            self.rest = &[];
            return Some(());
        }
        let zone = ZONES.iter().find(|(name, _)| is(name));
        match (zone, self.found.zone) {
            (Some((_, hours)), None) => once(&mut self.found.zone, Zone::Named(hours * 3600)),
            // `+0200 Z` contradicts itself.
            (Some((_, 0)), Some(Zone::Offset(seconds))) if seconds != 0 => None,
            // The zone's local name follows its offset: `+0800 CST`.
            (_, Some(Zone::Offset(_))) if count <= 5 => Some(()),
            _ => None,
        }
    }

    fn half(&mut self, word: &[u8]) -> Option<()> {
        self.found.time?;
        let half = match word.first()? {
            b'a' | b'A' => HalfDay::Morning,
            _ => HalfDay::Afternoon,
        };
        once(&mut self.found.half, half)
    }

    /// Reads `+01:00`, `+0100` or `+01`, alone or after `GMT`.
    fn offset(&mut self) -> Option<()> {
        let is_behind = self.peek() == Some(b'-');
        self.skip(1);
        let (hours, minutes) = match self.number(1..=4)? {
            (hours, 1 | 2) if self.eat(b':') => (hours, self.number(2..=2)?.0),
            (hours, 1 | 2) => (hours, 0),
            (both, _) => (both / 100, both % 100),
        };
        if hours > 23 || minutes > 59 {
            return None;
        }
        let seconds = hours * 3600 + minutes * 60;
        let seconds = if is_behind { -seconds } else { seconds };
        match self.found.zone {
            // Go writes the offset of a zone without a name twice: `+0300 +03`.
            Some(Zone::Offset(known) | Zone::Named(known)) if known == seconds => {}
            Some(Zone::Named(0)) => {}
            Some(_) => return None,
            None if self.found.time.is_some() => {}
            None => return None,
        }
        self.found.zone = Some(Zone::Offset(seconds));
        Some(())
    }
}

/// Completes a year of two digits to a year between 1950 and 2049, as RFC 2822 does.
fn full_year(year: i64) -> i64 {
    if year < 50 {
        year + 2000
    } else {
        year + 1900
    }
}
