//! Moments: reads every form that clients write, corrects a moment by `sent_at`, and writes RFC 3339.

mod epoch;
mod known_date;
mod loose;

pub(super) use known_date::KnownDate;

/// A moment, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The first and last microsecond of the years that PostHog stores, 0 to 9999. PostHog changes a moment
/// outside them to 1970 (posthog-ingestion 3.5).
const FIRST_YEAR: i64 = -62_167_219_200_000_000;
const LAST_YEAR: i64 = 253_402_300_799_999_999;

const MICROS_PER_MILLI: i64 = 1_000;
const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// A moment, with the kind of form in which a text states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// RFC 3339 with a zone, which PostHog reads correctly.
    Exact(Timestamp),
    /// Another form that has one clear meaning, but that PostHog would read differently or not
    /// at all, such as a date without a time.
    Loose(Timestamp),
}

impl Reading {
    pub(super) fn timestamp(self) -> Timestamp {
        match self {
            Self::Exact(timestamp) | Self::Loose(timestamp) => timestamp,
        }
    }
}

impl Timestamp {
    /// Creates a moment from milliseconds since 1970-01-01T00:00:00Z.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(MICROS_PER_MILLI))
    }

    /// Returns the milliseconds since 1970-01-01T00:00:00Z, rounded down.
    pub fn millis(self) -> i64 {
        self.0.div_euclid(MICROS_PER_MILLI)
    }

    /// Creates a moment from microseconds since 1970-01-01T00:00:00Z.
    pub(super) fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Returns the microseconds since 1970-01-01T00:00:00Z.
    pub(super) fn micros(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339. Returns none for any other form, and for a moment that PostHog does not store.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        parse_exact(text.as_bytes(), &mut KnownDate::default())
    }

    /// Returns `timestamp + (received_at - sent_at)` (segment-tracking 4.2), or none if the result is
    /// outside the years that PostHog stores.
    pub(super) fn corrected(self, sent_at: Self, received_at: Self) -> Option<Self> {
        let skew = received_at.0.checked_sub(sent_at.0)?;
        Self(self.0.checked_add(skew)?).stored()
    }

    /// Returns this moment if it is in the years that PostHog stores.
    fn stored(self) -> Option<Self> {
        (FIRST_YEAR..=LAST_YEAR).contains(&self.0).then_some(self)
    }

    /// Returns this moment as RFC 3339 in UTC with milliseconds. It is faster if its date is `known`.
    #[inline]
    pub(super) fn text(self, known: &KnownDate) -> [u8; 24] {
        // Count from the first moment that PostHog stores, so that the number is not negative. A year
        // outside 0 to 9999 does not fit in this form.
        let micros = self.0.clamp(FIRST_YEAR, LAST_YEAR) - FIRST_YEAR;
        let millis = micros as u64 / MICROS_PER_MILLI as u64;
        let seconds = millis / 1000;
        let (day, second) = ((seconds / 86_400) as u32, (seconds % 86_400) as u32);
        let millis = (millis % 1000) as u32;
        let minute = second / 60;
        let clock = digits([minute / 60, minute % 60, second % 60, millis / 10]);
        let [y1, y2, y3, y4, _, n1, n2, _, d1, d2] = known.text_of(day);
        let [h1, h2, m1, m2, s1, s2, f1, f2] = clock;
        let f3 = (millis % 10) as u8 + b'0';
        [
            y1, y2, y3, y4, b'-', n1, n2, b'-', d1, d2, b'T', h1, h2, b':', m1, m2, b':', s1, s2,
            b'.', f1, f2, f3, b'Z',
        ]
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&String::from_utf8_lossy(&self.text(&KnownDate::default())))
    }
}

/// Writes four numbers below a hundred as two digits each.
#[inline(always)]
fn digits(numbers: [u32; 4]) -> [u8; 8] {
    const LANES: u64 = 0x000f_000f_000f_000f;
    let [a, b, c, d] = numbers.map(u64::from);
    let numbers = a | b << 16 | c << 32 | d << 48;
    // No product exceeds its lane of 16 bits.
    let tens = (numbers.wrapping_mul(103) >> 10) & LANES;
    let ones = numbers.wrapping_sub(tens.wrapping_mul(10));
    (tens | ones << 8 | 0x3030_3030_3030_3030).to_le_bytes()
}

/// Returns the year, month and day of the month of a day, counted from the first day of the year 0. The
/// last valid day is the last one of the year 9999.
#[inline(always)]
fn civil(day: u32) -> (u32, u32, u32) {
    // Years begin in March here, so that the leap day is the last day of its year. They are counted from
    // 400 years, or 146,097 days, before the year 0, whose January and February have 60 days.
    let quarters = 4 * (day + 146_097 - 60) + 3;
    let (century, of_century) = (quarters / 146_097, quarters % 146_097 / 4);
    let (year, of_year) = {
        let quarters = 4 * of_century + 3;
        (quarters / 1461, quarters % 1461 / 4)
    };
    // From March on, every five months have 153 days.
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let is_next = shifted >= 10;
    let month = if is_next { shifted - 9 } else { shifted + 3 };
    (100 * century + year + u32::from(is_next) - 400, month, day)
}

/// The inverse of [`civil`]: returns the day of a date up to the year 9999, or none if it does not exist.
#[inline(always)]
fn day_of(year: u32, month: u32, day: u32) -> Option<u32> {
    const LENGTHS: [u8; 16] = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 0, 0, 0];
    // A year that is divisible by 100 is a leap year if it is also divisible by 16, and so by 400.
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(16));
    let length = LENGTHS.get(month as usize).copied().unwrap_or(0);
    let length = u32::from(length) + u32::from(is_leap && month == 2);
    if day.wrapping_sub(1) >= length {
        return None;
    }
    let is_next = month <= 2;
    let (year, shifted) = match is_next {
        true => (year + 399, month + 9),
        false => (year + 400, month - 3),
    };
    let century = year / 100;
    let before = 1461 * year / 4 - century + century / 4;
    Some(before + (153 * shifted + 2) / 5 + day - 1 + 60 - 146_097)
}

/// Returns the day of a date, counted from 1970-01-01, or none if the date does not exist.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = (month + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    Some(
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year
            - 719_468,
    )
}

/// Reads a time in any form that clients write. Returns none if the text has no single clear meaning.
pub(super) fn read(text: &str) -> Option<Reading> {
    match parse_exact(text.as_bytes(), &mut KnownDate::default()) {
        Some(timestamp) => Some(Reading::Exact(timestamp)),
        None => loose::read(text).map(Reading::Loose),
    }
}

/// Reads a time from the text of a string in clean JSON, if the string has no escapes. It is faster if
/// the time has the known date; otherwise its date becomes the known one.
pub(super) fn read_plain(text: &[u8], known: &mut KnownDate) -> Option<Reading> {
    match parse_exact(text, known) {
        Some(timestamp) => Some(Reading::Exact(timestamp)),
        None => loose::read(&String::from_utf8_lossy(text)).map(Reading::Loose),
    }
}

/// Reads a time from a JSON number.
pub(super) fn read_number(number: &[u8]) -> Option<Reading> {
    epoch::number(number).map(Reading::Loose)
}

fn number(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    text.iter().try_fold(0, |value, digit| {
        digit
            .is_ascii_digit()
            .then(|| value * 10 + i64::from(digit - b'0'))
    })
}

/// Reads the form that JavaScript writes and nearly all clients send: `2026-11-23T21:05:57.793Z`.
#[inline(always)]
fn parse_javascript(text: &[u8; 24], known: &mut KnownDate) -> Option<Timestamp> {
    // Check eight bytes at a time: each digit becomes its value, and each separator becomes zero.
    let [hours, seconds] = [part(text, 8, *b"00T00:00")?, part(text, 16, *b":00.000Z")?];
    let (hour, minute, second) = (two(hours, 3), two(hours, 6), two(seconds, 1));
    let millis = two(seconds, 4) * 10 + u32::from((seconds >> 48) as u8);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let day = known.day_of(text)?;
    let of_day = i64::from(hour * 3600 + minute * 60 + second) * MICROS_PER_SECOND
        + i64::from(millis) * MICROS_PER_MILLI;
    // A leap second at the end of the year 9999 is after the last moment that PostHog stores.
    Timestamp(FIRST_YEAR + i64::from(day) * MICROS_PER_DAY + of_day).stored()
}

/// Returns the number of the two digits that begin at `at`, in eight bytes that [`part`] has returned.
#[inline(always)]
fn two(part: u64, at: u32) -> u32 {
    u32::from((part.wrapping_mul(10).wrapping_add(part >> 8) >> (8 * at)) as u8)
}

/// Returns eight bytes in which each digit is its value and every other byte is zero. Returns none
/// unless the text has a digit wherever the form has a `0`, and equals the form elsewhere.
#[inline(always)]
fn part(text: &[u8; 24], at: usize, form: [u8; 8]) -> Option<u64> {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let bytes = text.get(at..)?.first_chunk::<8>()?;
    let differing = u64::from_le_bytes(*bytes) ^ u64::from_le_bytes(form);
    // Adding `most` to a byte sets the byte's high bit if the byte is larger than allowed: 9 for a digit,
    // 0 for any other byte.
    let most = form.map(|byte| if byte == b'0' { 127 - 9 } else { 127 });
    let beyond = (differing & !HIGH).wrapping_add(u64::from_le_bytes(most));
    ((beyond | differing) & HIGH == 0).then_some(differing)
}

/// Reads RFC 3339: `2026-11-23T21:05:57.793+00:00`. Accepts any number of decimals and drops those past
/// microseconds.
#[inline(always)]
fn parse_exact(text: &[u8], known: &mut KnownDate) -> Option<Timestamp> {
    let common = <&[u8; 24]>::try_from(text).ok();
    match common.and_then(|text| parse_javascript(text, known)) {
        Some(read) => Some(read),
        None => parse_any_exact(text),
    }
}

#[inline(never)]
fn parse_any_exact(text: &[u8]) -> Option<Timestamp> {
    let field = |from: usize, to: usize| text.get(from..to).and_then(number);
    let expect_byte = |at: usize, expected: u8| (text.get(at) == Some(&expected)).then_some(());
    expect_byte(4, b'-')?;
    expect_byte(7, b'-')?;
    expect_byte(13, b':')?;
    expect_byte(16, b':')?;
    if !matches!(text.get(10), Some(b'T' | b't')) {
        return None;
    }
    let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
    // 60 is a leap second; it counts as the first of the next minute.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut micros = 0;
    if let Some((b'.', decimals)) = rest.split_first() {
        let length = decimals
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if length == 0 {
            return None;
        }
        for place in 0..6 {
            let digit = decimals.get(place).filter(|_| place < length);
            micros = micros * 10 + digit.map_or(0, |digit| i64::from(digit - b'0'));
        }
        rest = decimals.get(length..)?;
    }
    let offset = match rest {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = hours * 3600 + minutes * 60;
            if *sign == b'-' {
                -seconds
            } else {
                seconds
            }
        }
        _ => return None,
    };
    let day = days(field(0, 4)?, field(5, 7)?, field(8, 10)?)?;
    let seconds = day * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Timestamp(seconds * MICROS_PER_SECOND + micros).stored()
}

#[cfg(test)]
mod difference;
#[cfg(test)]
mod tests;
