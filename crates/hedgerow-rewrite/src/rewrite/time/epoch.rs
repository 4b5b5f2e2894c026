//! Reads moments that are written as numbers: a count since 1970, or a date's digits without separators.
//!
//! The number of digits determines the unit, because clients write moments near the present: 9 or 10
//! digits are seconds between 1973 and 2286, 12 or 13 are milliseconds, 15 or 16 are microseconds, and
//! 18 or 19 are nanoseconds. Segment's reader does the same for seconds and milliseconds.

use super::{days, Timestamp, MICROS_PER_SECOND};

/// The length of the longest number that is read, in bytes.
const LONGEST: usize = 40;

/// The years in which digits without separators are read as a date. Digits outside them look like a count.
const PLAUSIBLE: std::ops::RangeInclusive<i64> = 1970..=2199;

/// Reads a text of digits, perhaps with a decimal point.
pub(super) fn text(digits: &[u8]) -> Option<Timestamp> {
    let part = |from: usize, to: usize| super::number(digits.get(from..to)?);
    match digits.len() {
        // ISO 8601 also allows a date without its day, or without its day and month.
        4 if !digits.contains(&b'.') => midnight(days(part(0, 4)?, 1, 1)?),
        6 if !digits.contains(&b'.') => midnight(days(part(0, 4)?, part(4, 6)?, 1)?),
        8 if !digits.contains(&b'.') => midnight(days(part(0, 4)?, part(4, 6)?, part(6, 8)?)?),
        _ => count(digits),
    }
}

/// Reads a JSON number. Its digits mean the same as in a text, unless they are so few that they may
/// count something else, such as a page's age in milliseconds.
pub(super) fn number(number: &[u8]) -> Option<Timestamp> {
    if number.iter().all(u8::is_ascii_digit) && number.len() != 8 {
        return count(number);
    }
    if number.len() == 8 && number.iter().all(u8::is_ascii_digit) {
        let is_plausible = PLAUSIBLE.contains(&super::number(number.get(..4)?)?);
        return text(number).filter(|_| is_plausible);
    }
    decimal(number)
}

fn midnight(day: i64) -> Option<Timestamp> {
    Some(Timestamp(day * 86_400 * MICROS_PER_SECOND))
}

/// Reads a count, or `20231114221320` with or without milliseconds.
fn count(digits: &[u8]) -> Option<Timestamp> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return decimal(digits);
    }
    match digits.len() {
        14 | 17 => written_out(digits),
        // `202311142213` could be a minute of 2023, or a count of milliseconds that ends in 1976.
        12 if written_out(digits).is_some() => None,
        length => {
            let micros = micros_of(length)?;
            let digits = std::str::from_utf8(digits).ok()?;
            let count = digits.parse::<i64>().ok()?;
            match micros {
                Unit::Multiple(micros) => Some(Timestamp(count.checked_mul(micros)?)),
                Unit::Nanos => Some(Timestamp(count / 1000)),
            }
        }
    }
}

/// The unit of a count.
enum Unit {
    /// A number of microseconds.
    Multiple(i64),
    Nanos,
}

fn micros_of(digits: usize) -> Option<Unit> {
    Some(match digits {
        9 | 10 => Unit::Multiple(MICROS_PER_SECOND),
        12 | 13 => Unit::Multiple(1000),
        15 | 16 => Unit::Multiple(1),
        18 | 19 => Unit::Nanos,
        _ => return None,
    })
}

/// Reads a count with decimals or an exponent, such as Python's `time.time()`.
fn decimal(number: &[u8]) -> Option<Timestamp> {
    if number.len() > LONGEST {
        return None;
    }
    let value = std::str::from_utf8(number).ok()?.parse::<f64>().ok()?;
    if !(1e8..1e19).contains(&value) {
        return None;
    }
    let mut whole = 9;
    while value >= 10f64.powi(whole) {
        whole += 1;
    }
    let micros = match micros_of(usize::try_from(whole).ok()?)? {
        Unit::Multiple(micros) => value * micros as f64,
        Unit::Nanos => value / 1000.0,
    };
    // Below 10^16. An `f64` holds every whole number up to 2^53 exactly: a moment in the year 2255.
    Some(Timestamp(micros.round() as i64))
}

/// Reads year, month, day, hour and minute, and seconds and milliseconds if the digits include them.
fn written_out(digits: &[u8]) -> Option<Timestamp> {
    let part = |from: usize, to: usize| match digits.get(from..to) {
        Some(part) => super::number(part),
        None => Some(0),
    };
    let year = part(0, 4).filter(|year| PLAUSIBLE.contains(year))?;
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let day = days(year, part(4, 6)?, part(6, 8)?)?;
    let seconds = day * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Timestamp(
        seconds * MICROS_PER_SECOND + part(14, 17)? * 1000,
    ))
}
