//! Remembers the date that was read last: nearly all times that arrive on a day have the same date.

use super::{civil, day_of, digits, part, two};

/// A date as RFC 3339 writes it, and its day.
#[derive(Debug, Clone, Copy)]
pub(in crate::rewrite) struct KnownDate {
    text: [u8; 10],
    /// Counted from the first day of the year 0.
    day: u32,
}

impl Default for KnownDate {
    fn default() -> Self {
        Self {
            text: *b"1970-01-01",
            day: 719_528,
        }
    }
}

impl KnownDate {
    /// Returns the day of the date at the start of a time, and remembers it. Returns none if there is no
    /// valid date.
    #[inline(always)]
    pub(super) fn day_of(&mut self, time: &[u8; 24]) -> Option<u32> {
        if !time.starts_with(&self.text) {
            *self = Self::read(time)?;
        }
        Some(self.day)
    }

    #[inline(never)]
    fn read(time: &[u8; 24]) -> Option<Self> {
        let date = part(time, 0, *b"0000-00-")?;
        let day = two(part(time, 8, *b"00T00:00")?, 0);
        let year = two(date, 0) * 100 + two(date, 2);
        Some(Self {
            text: *time.first_chunk()?,
            day: day_of(year, two(date, 5), day)?,
        })
    }

    /// Returns the date of a day.
    #[inline(always)]
    pub(super) fn text_of(&self, day: u32) -> [u8; 10] {
        match day == self.day {
            true => self.text,
            false => text_of(day),
        }
    }
}

#[inline(never)]
fn text_of(day: u32) -> [u8; 10] {
    let (year, month, day) = civil(day);
    let [y1, y2, y3, y4, n1, n2, d1, d2] = digits([year / 100, year % 100, month, day]);
    [y1, y2, y3, y4, b'-', n1, n2, b'-', d1, d2]
}
