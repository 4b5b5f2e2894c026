//! Times (docs/repairs.md, "When"; segment-tracking 4.2).

use chrono::{DateTime, Datelike, SecondsFormat, Utc};
use serde_json::{Map, Value};

use super::javascript::number_text;

const SOME_DAY: i128 = 1_700_000_000_000_000;

/// Texts that are no RFC 3339, with their moments in microseconds. The generator takes its times
/// from here, so that this implementation need not parse dates in words.
pub const LOOSE: &[(&str, Option<i128>)] = &[
    ("1700000000", Some(SOME_DAY)),
    ("2023-11-14 22:13:20 UTC", Some(SOME_DAY)),
    (
        "2023-11-14 15:13:20.123456789 -0700 PDT",
        Some(SOME_DAY + 123_456),
    ),
    ("20231114T221320Z", Some(SOME_DAY)),
    ("2023-11-14T22:13:20.123:Z", Some(SOME_DAY + 123_000)),
    ("11/14/2023, 10:13:20 PM", Some(SOME_DAY)),
    ("Tuesday, 14-Nov-23 22:13:20 GMT", Some(SOME_DAY)),
    (
        "Tue Nov 14 2023 23:13:20 GMT+0100 (Mitteleuropäische Normalzeit)",
        Some(SOME_DAY),
    ),
    ("yesterday", None),
    ("2023-02-30", None),
    ("3.4.2023", None),
    ("undefined", None),
];

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reading {
    /// RFC 3339, which PostHog reads itself. In microseconds; smaller parts are cut off.
    Exact(i128),
    Loose(i128),
    /// A value that cannot be read.
    Unreadable,
    /// A form that this implementation does not know.
    Foreign,
}

impl Reading {
    pub fn micros(self) -> Option<i128> {
        match self {
            Self::Exact(micros) | Self::Loose(micros) => Some(micros),
            Self::Unreadable | Self::Foreign => None,
        }
    }
}

/// The moment that a value names; `None` if it is missing or blank.
pub fn read(value: Option<&Value>) -> Option<Reading> {
    let value = value?;
    let text = match value {
        Value::Null => return None,
        Value::String(text) if text.trim().is_empty() => return None,
        Value::String(text) => text.clone(),
        Value::Number(number) => number_text(number),
        _ => return Some(Reading::Unreadable),
    };
    if value.is_string() && text.as_bytes().get(10) == Some(&b'T') {
        if let Ok(time) = DateTime::parse_from_rfc3339(&text) {
            return Some(Reading::Exact(time.timestamp_micros().into()));
        }
    }
    if let Some((_, micros)) = LOOSE.iter().find(|(known, _)| *known == text) {
        return Some(micros.map_or(Reading::Unreadable, Reading::Loose));
    }
    // Seconds, milliseconds, microseconds or nanoseconds, by the number of digits.
    let scale = match text.len() {
        10 => 1_000_000,
        13 => 1_000,
        16 => 1,
        _ if value.is_number() && text.len() < 6 => return Some(Reading::Unreadable),
        _ => return Some(Reading::Foreign),
    };
    Some(match text.parse::<i128>() {
        Ok(number) => Reading::Loose(number * scale),
        Err(_) => Reading::Foreign,
    })
}

/// When an event happened.
pub struct Time {
    /// The event's `timestamp`; `None` where this implementation does not know it.
    pub written: Option<Value>,
    /// The original value, if it could not be used.
    pub unusable: Option<Value>,
    /// The moment of the event.
    pub moment: i64,
    /// When the sender made the message and when it sent it, by its own clock.
    pub made: Option<i64>,
    pub sent: Option<i64>,
}

pub fn of(message: &Map<String, Value>, batch_sent_at: Option<&Value>, arrival: i64) -> Time {
    let said = |key: &str| message.get(key).filter(|value| read(Some(value)).is_some());
    let written = said("timestamp").or_else(|| said("originalTimestamp"));
    let reading = read(written);
    let is_corrected = said("originalTimestamp").is_some() && said("receivedAt").is_some();
    let foreign = |value: Option<&Value>| read(value) == Some(Reading::Foreign);
    let own_sent = read(said("sentAt")).and_then(Reading::micros);
    let sent = own_sent.or_else(|| read(batch_sent_at).and_then(Reading::micros));
    let made = match is_corrected {
        true => read(said("originalTimestamp")).and_then(Reading::micros),
        false => reading.and_then(Reading::micros),
    };
    let unknown = foreign(written) || foreign(said("sentAt")) || foreign(batch_sent_at);
    let arrival_micros = i128::from(arrival) * 1_000;
    let millis = |micros: i128| micros.div_euclid(1_000) as i64;
    let at = |micros: i128, unusable: Option<&Value>| Time {
        written: (!unknown).then(|| Value::from(rfc3339(millis(micros)))),
        unusable: unusable.filter(|_| !unknown).cloned(),
        moment: millis(micros),
        made: made.filter(|_| !unknown).map(millis),
        sent: sent.filter(|_| !unknown).map(millis),
    };
    let Some(micros) = reading.and_then(Reading::micros) else {
        return at(arrival_micros, written);
    };
    if let Some(sent) = sent.filter(|_| !is_corrected) {
        let corrected = micros + (arrival_micros - sent);
        let year = DateTime::<Utc>::from_timestamp_millis(millis(corrected));
        return match year.map(|time| time.year()) {
            Some(0..=9999) => at(corrected, None),
            _ => at(arrival_micros, written),
        };
    }
    let mut time = at(micros, None);
    if let (Some(Reading::Exact(_)), false) = (reading, unknown) {
        time.written = written.cloned();
    }
    time
}

fn rfc3339(millis: i64) -> String {
    let time = DateTime::<Utc>::from_timestamp_millis(millis).unwrap();
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
