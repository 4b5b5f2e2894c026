//! Compares Hedgerow's reader of times with the frozen result of `scripts/times`, which states how
//! Segment's own reader reads the forms that clients write. Lists the intended differences.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// How the two readers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Differs {
    /// Hedgerow reads it, and Segment's reader does not.
    OnlyHere,
    /// Segment's reader reads it, and Hedgerow does not.
    OnlySegment,
    /// Both read it, and Segment's reader is wrong.
    Otherwise,
}

use Differs::{OnlyHere, OnlySegment, Otherwise};

/// Every kind of difference: the reason, how the readers differ, and in which forms.
const EXPLAINED: [(&str, Differs, &[&str]); 20] = [
    (
        "a space, a name or a bracketed zone behind a time with T says what it says without T",
        OnlyHere,
        &[
            "iso T and UTC",
            "iso T and space UTC",
            "iso T and space Z",
            "iso offset behind a space",
            "iso bracketed UTC",
            "iso offset bracketed",
            "iso surrounded",
            "offset and Z",
        ],
    ),
    (
        "a colon before the zone is analytics-swift's, and says nothing",
        OnlyHere,
        &["analytics-swift", "iso offset behind a colon"],
    ),
    (
        "words that browsers and databases write",
        OnlyHere,
        &[
            "words at",
            "sql server",
            "american 12 hours tight",
            "american 12 hours points",
            "iso date 12 hours narrow space",
        ],
    ),
    (
        "behind an offset, the zone's own name and Go's monotonic clock say nothing more",
        OnlyHere,
        &["go offset name", "go utc monotonic"],
    ),
    (
        "an offset is decisive, though zones elsewhere have the same name",
        Otherwise,
        &["offset beside another zone of that name"],
    ),
    (
        "two zones contradict each other",
        OnlySegment,
        &["two zones"],
    ),
    (
        "Segment's reader ignores an offset behind ISO's date, a space and a time",
        Otherwise,
        &["postgres", "postgres hours"],
    ),
    (
        "the day stands first where dates have points, and Segment's reader takes it for the month",
        OnlySegment,
        &["day first dots", "day first dots date"],
    ),
    (
        "V8 knows a month by its first letters, and takes Finland's November for March",
        OnlySegment,
        &["months of other languages"],
    ),
    (
        "what is said twice",
        OnlySegment,
        &["said twice"],
    ),
    (
        "the digits that a hand-made time lacks are clear with T as they are without",
        OnlyHere,
        &["hand-made with T", "leap second in words"],
    ),
    (
        "digits of micro- and nanoseconds, which Segment's reader takes for milliseconds or not at \
         all",
        OnlyHere,
        &["micros", "micros text", "nanos", "nanos text"],
    ),
    (
        "the same, where that is a year that JavaScript has",
        Otherwise,
        &["micros", "micros text"],
    ),
    (
        "decimals of seconds as text, which Segment's reader drops, and milliseconds before 2001, \
         which it takes for seconds",
        Otherwise,
        &["seconds with decimals text", "millis text"],
    ),
    (
        "seconds before 2001 as text: the same number is read",
        OnlyHere,
        &["seconds text", "seconds with decimals text"],
    ),
    (
        "a date's digits without separators, which Segment's reader takes for a count",
        Otherwise,
        &[
            "digits to the second",
            "number of fourteen digits",
            "number of eight digits",
        ],
    ),
    (
        "the same, too large a count for JavaScript",
        OnlyHere,
        &["digits to the millisecond"],
    ),
    (
        "too small, negative or odd for a moment of the present: a count of something else",
        OnlySegment,
        &[
            "small or negative number",
            "small or negative text",
            "digits to the minute",
            "number of eleven digits",
            "text of eleven digits",
            "number out of range",
            "digits and more",
            "long zeros",
        ],
    ),
    (
        "a date or time that does not exist, or that PostHog does not store, or one of which V8 \
         makes up the year",
        OnlySegment,
        &[
            "a date that is none",
            "a time that is none",
            "a time that is none for both",
            "years that PostHog does not store",
            "no form of ours",
            "a date only to v8",
            "words no year",
            "half a time",
        ],
    ),
    (
        "JavaScript takes the first hundred years for those from 1900, and V8 loses a leap second",
        Otherwise,
        &["first years", "leap second in words"],
    ),
];

#[test]
fn times_are_read_as_segment_reads_them_with_explained_exceptions() {
    let mut forms = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut unexplained = Vec::new();
    let mut count = 0;
    for line in include_str!("../../../../../tests/data/times.tsv").lines() {
        let mut columns = line.split('\t');
        let [form, json, segment] = [(); 3].map(|()| columns.next().unwrap());
        let ours = match serde_json::from_str(json).unwrap() {
            serde_json::Value::String(text) => read(&text),
            _ => read_number(json.as_bytes()),
        };
        let ours = ours.map(|reading| reading.timestamp().millis());
        let segment = (segment != "-").then(|| segment.parse::<i64>().unwrap());
        forms.insert(form);
        count += 1;
        let differs = match (ours, segment) {
            (ours, segment) if ours == segment => continue,
            (Some(_), None) => OnlyHere,
            (None, Some(_)) => OnlySegment,
            _ => Otherwise,
        };
        seen.insert((form, differs));
        let is_explained = EXPLAINED
            .iter()
            .any(|(_, way, forms)| *way == differs && forms.contains(&form));
        if !is_explained {
            unexplained.push(format!(
                "{form}: {json:.120}\n  {differs:?}: Segment {segment:?}, Hedgerow {ours:?}"
            ));
        }
    }
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
    assert!(forms.len() >= 150, "{} forms are too few", forms.len());
    assert!(count >= 1500, "{count} times are too few");
    let unused: Vec<_> = EXPLAINED
        .iter()
        .flat_map(|(why, way, forms)| forms.iter().map(move |form| (*why, *form, *way)))
        .filter(|(_, form, way)| !seen.contains(&(*form, *way)))
        .collect();
    assert!(unused.is_empty(), "explained and not so: {unused:#?}");
}

/// Checks the forms that only Hedgerow reads: each of these texts states the same moment.
#[test]
fn one_moment_is_the_same_in_every_form() {
    let mut moments: BTreeMap<&str, Option<i64>> = BTreeMap::new();
    for (json, expected) in [
        (
            "\"Tue Nov 14 2023 23:13:20 GMT+0100 (Central European Standard Time)\"",
            0,
        ),
        ("\"2023-11-14 22:13:20 UTC\"", 0),
        ("\"2023-11-14 22:13:20.123456789 +0000 UTC\"", 123),
        ("\"2023-11-14 15:13:20.123456789 -0700 PDT\"", 123),
        ("\"2023-11-15 01:13:20 +0300 +03\"", 0),
        ("\"2023-11-14 22:13:20.123 +0000 UTC m=+12.5\"", 123),
        ("\"2023-11-15 06:13:20 +0800 CST\"", 0),
        ("\"2023-11-14T22:13:20,123Z\"", 123),
        ("\"20231114T221320Z\"", 0),
        ("\"2023/11/14 22:13:20\"", 0),
        ("\"11/14/2023, 10:13:20 PM\"", 0),
        ("\"11/14/2023, 10:13:20\u{202f}PM\"", 0),
        ("\"11/14/2023 10:13:20 p.m.\"", 0),
        ("\"Tue, 14 Nov 2023 22:13:20 UTC\"", 0),
        ("\"Tuesday, 14-Nov-23 22:13:20 GMT\"", 0),
        ("\"2023-11-14T22:13:20.123:Z\"", 123),
        ("\"2023-11-14T23:13:20.123:+0100\"", 123),
        ("\"2023-11-14T23:13:20+01:00[Europe/Paris]\"", 0),
        ("\"November 14, 2023 at 10:13:20 PM UTC\"", 0),
        ("\"20231114221320\"", 0),
        ("\"20231114221320123\"", 123),
        ("20231114221320", 0),
        ("1700000000", 0),
        ("1700000000.123", 123),
        ("1700000000123", 123),
        ("1700000000123456", 123),
        ("1700000000123456789", 123),
        ("\"1700000000.123\"", 123),
        ("\"1700000000123456\"", 123),
        ("1.7e9", 0),
    ] {
        let read = match serde_json::from_str(json).unwrap() {
            serde_json::Value::String(text) => read(&text),
            _ => read_number(json.as_bytes()),
        };
        let read = read.map(|reading| reading.timestamp().millis());
        if read != Some(1_700_000_000_000 + expected) {
            moments.insert(json, read);
        }
    }
    assert!(moments.is_empty(), "{moments:#?}");
}

#[test]
fn a_hostile_text_costs_no_more_than_a_long_one() {
    for text in [
        "x".repeat(10 << 20),
        "0".repeat(10 << 20),
        "2023-11-14 ".repeat(1 << 20),
        format!("{}(", "(".repeat(10 << 20)),
        format!("Tue Nov 14 2023 {}", " ".repeat(10 << 20) + "x"),
        ",".repeat(10 << 20),
        "-".repeat(99),
        ",".repeat(99),
    ] {
        assert_eq!(read(&text), None, "{:.40}", text);
    }
    let named = format!(
        "Tue Nov 14 2023 23:13:20 GMT+0100 ({})",
        "é".repeat(5 << 20)
    );
    assert_eq!(
        read(&named).map(|reading| reading.timestamp().millis()),
        Some(1_700_000_000_000)
    );
    for number in [
        "9".repeat(1 << 20),
        "1e999999999".to_owned(),
        "-".to_owned(),
        String::new(),
    ] {
        assert_eq!(read_number(number.as_bytes()), None, "{:.40}", number);
    }
}
