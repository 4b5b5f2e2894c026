use chrono::{Datelike, NaiveDate};

use super::*;

fn written(text: &str) -> Option<String> {
    read(text).map(|reading| reading.timestamp().to_string())
}

#[test]
fn every_form_that_sdks_write_is_exact() {
    for (text, expected) in [
        ("2026-11-23T21:05:57.793Z", "2026-11-23T21:05:57.793Z"),
        ("2026-11-23T21:05:57.793+00:00", "2026-11-23T21:05:57.793Z"),
        ("2026-11-23T20:58:11.148236813Z", "2026-11-23T20:58:11.148Z"),
        ("2026-11-23T21:05:57+02:00", "2026-11-23T19:05:57.000Z"),
        ("2024-02-29T23:59:60Z", "2024-03-01T00:00:00.000Z"),
        ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
        ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.9999Z", "9999-12-31T23:59:59.999Z"),
    ] {
        assert!(matches!(read(text), Some(Reading::Exact(_))), "{text}");
        assert_eq!(written(text).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn other_clear_forms_are_read_and_the_rest_is_not() {
    for (text, expected) in [
        ("2026-11-23", Some("2026-11-23T00:00:00.000Z")),
        ("2026-11-23T21:05:57", Some("2026-11-23T21:05:57.000Z")),
        ("2026-11-23 21:05:57.5", Some("2026-11-23T21:05:57.500Z")),
        ("2026-11-23T21:05:57+0200", Some("2026-11-23T19:05:57.000Z")),
        ("2026-11-23T21:05:57+02", Some("2026-11-23T19:05:57.000Z")),
        (
            "2026-11-23 21:05:57 +00:00",
            Some("2026-11-23T21:05:57.000Z"),
        ),
        (
            "Mon, 23 Nov 2026 21:05:57 GMT",
            Some("2026-11-23T21:05:57.000Z"),
        ),
        (
            "Mon Nov 23 2026 21:05:57 GMT+0100 (CET)",
            Some("2026-11-23T20:05:57.000Z"),
        ),
        ("11/23/2026", Some("2026-11-23T00:00:00.000Z")),
        ("1795166130", Some("2026-11-20T09:15:30.000Z")),
        ("1795166130250", Some("2026-11-20T09:15:30.250Z")),
        ("yesterday", None),
        ("", None),
        ("2026-13-01T00:00:00Z", None),
        ("2026-02-30", None),
        ("2026-11-23T25:00:00Z", None),
        ("17", None),
    ] {
        assert_eq!(written(text).as_deref(), expected, "{text}");
        assert!(!matches!(read(text), Some(Reading::Exact(_))), "{text}");
    }
}

#[test]
fn every_day_of_the_calendar_is_written_as_it_was_read() {
    let first = days(0, 1, 1).unwrap();
    let last = days(9999, 12, 31).unwrap();
    let mut expected = NaiveDate::from_ymd_opt(0, 1, 1).unwrap();
    for day in first..=last {
        let (year, month, date) = (expected.year() as u32, expected.month(), expected.day());
        let of_all = u32::try_from(day - days(0, 1, 1).unwrap()).unwrap();
        assert_eq!(civil(of_all), (year, month, date));
        assert_eq!(day_of(year, month, date), Some(of_all));
        assert_eq!(
            days(year.into(), month.into(), date.into()),
            Some(day),
            "{expected}"
        );
        expected = expected.succ_opt().unwrap();
    }
}

#[test]
fn a_date_that_does_not_exist_has_no_day() {
    for year in (0..=401).chain(9_997..=9_999) {
        for month in 0..=99 {
            for day in 0..=99 {
                let exists = NaiveDate::from_ymd_opt(year as i32, month, day).is_some();
                assert_eq!(
                    day_of(year, month, day).is_some(),
                    exists,
                    "{year} {month} {day}"
                );
            }
        }
    }
}

#[test]
fn correction_moves_by_the_difference_of_the_clocks() {
    let at = |text| Timestamp::parse_rfc3339(text).unwrap();
    let moved = at("2026-11-23T10:00:00.000Z").corrected(
        at("2026-11-23T10:00:05.500Z"),
        at("2026-11-23T11:00:06.000Z"),
    );
    assert_eq!(moved.unwrap().to_string(), "2026-11-23T11:00:00.500Z");
    let beyond = at("9999-12-31T00:00:00Z")
        .corrected(at("1970-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z"));
    assert_eq!(beyond, None);
}

/// Compares the fast reader of the most common form with the general reader, for each byte in each place.
#[test]
fn the_form_of_javascript_is_read_as_any_other_whatever_byte_stands_in_it() {
    let general = |text: &[u8]| {
        let (zone, rest) = text.split_last()?;
        let spelled = [rest, b"+00:00"].concat();
        // Only the general reader accepts a `t`, and this comparison leaves it out.
        (*zone == b'Z' && text[10] == b'T')
            .then(|| parse_any_exact(&spelled))
            .flatten()
    };
    let mut known = KnownDate::default();
    for text in [
        "1970-01-01T00:00:00.000Z",
        "2026-11-23T21:05:57.793Z",
        "0000-01-01T00:00:00.000Z",
        "9999-12-31T23:59:60.999Z",
    ] {
        for place in 0..text.len() {
            for byte in 0..=u8::MAX {
                let mut text: [u8; 24] = text.as_bytes().try_into().unwrap();
                text[place] = byte;
                let shown = String::from_utf8_lossy(&text);
                let read = parse_javascript(&text, &mut known);
                assert_eq!(read, general(&text), "{shown}");
                if let Some(read) = read {
                    assert_eq!(
                        read.text(&known),
                        read.text(&KnownDate::default()),
                        "{shown}"
                    );
                }
            }
        }
    }
}
