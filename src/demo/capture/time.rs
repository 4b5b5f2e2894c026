//! Computes when an event happened, by capture's clock (posthog-ingestion 3.5).

use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, NaiveDateTime, TimeDelta, Utc};

/// The times that the sender sent for an event.
#[derive(Debug, Clone, Copy)]
pub(super) struct EventTime<'a> {
    pub(super) timestamp: Option<&'a str>,
    /// The age of the event at arrival, in milliseconds.
    pub(super) offset: Option<i64>,
    /// The time of sending, by the sender's clock.
    pub(super) sent_at: Option<DateTime<Utc>>,
}

/// Computes an event's time.
pub(super) fn compute(now: DateTime<Utc>, event_time: EventTime<'_>) -> DateTime<Utc> {
    let time = match event_time.offset {
        Some(offset) => TimeDelta::try_milliseconds(offset)
            .and_then(|offset| now.checked_sub_signed(offset))
            .unwrap_or(now),
        None => match event_time.timestamp.and_then(|text| parse(text, now)) {
            Some(time) => match event_time.sent_at {
                Some(sent_at) => time
                    .checked_add_signed(now.signed_duration_since(sent_at))
                    .unwrap_or(now),
                None => time,
            },
            None => now,
        },
    };
    if time.signed_duration_since(now) > TimeDelta::hours(23) {
        now
    } else if !(0..=9999).contains(&time.year()) {
        DateTime::UNIX_EPOCH
    } else {
        time
    }
}

/// Parses a time with an offset or `Z`. `sent_at` may have no other form.
pub(super) fn parse_moment(text: &str) -> Option<DateTime<Utc>> {
    let moment = |text: &str| DateTime::parse_from_rfc3339(text).ok();
    let time: Option<DateTime<FixedOffset>> = moment(text).or_else(|| {
        // `+03` without minutes is ISO 8601, not RFC 3339.
        let sign = text.len().checked_sub(3)?;
        let hours_only = text.get(sign..)?.starts_with(['+', '-']) && text.contains(['T', ' ']);
        if hours_only {
            moment(&format!("{text}:00"))
        } else {
            None
        }
    });
    time.map(|time| time.to_utc())
}

fn parse(text: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let text = text.trim();
    parse_moment(text)
        .or_else(|| {
            DateTime::parse_from_rfc2822(text)
                .ok()
                .map(|time| time.to_utc())
        })
        .or_else(|| epoch(text))
        .or_else(|| without_zone(text))
        .or_else(|| {
            // A date without a time gets the time of day of the arrival.
            ["%Y-%m-%d", "%m/%d/%Y"].iter().find_map(|format| {
                let date = NaiveDate::parse_from_str(text, format).ok()?;
                Some(date.and_time(now.time()).and_utc())
            })
        })
}

fn epoch(text: &str) -> Option<DateTime<Utc>> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = text.parse::<i64>().ok()?;
    match text.len() {
        10 => DateTime::from_timestamp(number, 0),
        13 => DateTime::from_timestamp_millis(number),
        _ => None,
    }
}

fn without_zone(text: &str) -> Option<DateTime<Utc>> {
    [
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%d %H:%M",
        "%m/%d/%Y %H:%M:%S%.f",
        "%m/%d/%Y %H:%M",
    ]
    .iter()
    .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
    .map(|time| time.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    fn computed(timestamp: Option<&str>, sent_at: Option<&str>, offset: Option<i64>) -> String {
        let now = at("2026-11-20T09:15:32.000Z");
        let event_time = EventTime {
            timestamp,
            offset,
            sent_at: sent_at.and_then(parse_moment),
        };
        let format = chrono::SecondsFormat::Millis;
        compute(now, event_time).to_rfc3339_opts(format, true)
    }

    #[test]
    fn a_timestamp_is_read_in_the_forms_that_capture_reads() {
        let now = "2026-11-20T09:15:32.000Z";
        for (text, expected) in [
            ("2026-11-20T09:15:30.250Z", "2026-11-20T09:15:30.250Z"),
            ("2026-11-20T12:15:30.250+03", "2026-11-20T09:15:30.250Z"),
            ("2026-11-20T12:15:30+03:00", "2026-11-20T09:15:30.000Z"),
            ("2026-11-20 09:15:30", "2026-11-20T09:15:30.000Z"),
            ("2026-11-20T09:15:30.25", "2026-11-20T09:15:30.250Z"),
            ("Fri, 20 Nov 2026 09:15:30 GMT", "2026-11-20T09:15:30.000Z"),
            ("11/20/2026 09:15", "2026-11-20T09:15:00.000Z"),
            ("1795166130", "2026-11-20T09:15:30.000Z"),
            ("1795166130250", "2026-11-20T09:15:30.250Z"),
            ("2026-11-19", "2026-11-19T09:15:32.000Z"),
            ("23/11/2026", now),
            ("20261120T091530Z", now),
            ("1763892000.5", now),
            ("tomorrow-ish", now),
            ("", now),
            // More than 23 hours ahead.
            ("2026-11-21T09:15:30Z", now),
        ] {
            assert_eq!(computed(Some(text), None, None), expected, "{text}");
        }
    }

    #[test]
    fn the_senders_clock_shifts_a_timestamp_and_an_offset_beats_it() {
        let timestamp = Some("2026-11-20T08:15:30.250Z");
        for (sent_at, offset, expected) in [
            (
                Some("2026-11-20T08:15:31.000Z"),
                None,
                "2026-11-20T09:15:31.250Z",
            ),
            // A `sent_at` without a zone is ignored.
            (
                Some("2026-11-20T08:15:31"),
                None,
                "2026-11-20T08:15:30.250Z",
            ),
            (
                Some("2026-11-20T08:15:31.000Z"),
                Some(1500),
                "2026-11-20T09:15:30.500Z",
            ),
            (None, Some(i64::MAX), "2026-11-20T09:15:32.000Z"),
        ] {
            assert_eq!(
                computed(timestamp, sent_at, offset),
                expected,
                "{sent_at:?}"
            );
        }
    }
}
