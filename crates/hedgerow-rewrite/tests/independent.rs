//! Compares the rewriting with a second implementation, which was written from the documents and
//! reads JSON with `serde_json`: every message gives the same event in both.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "independent/mod.rs"]
mod independent;

use std::path::Path;

use independent::choices::bytes;
use serde_json::Value;

/// `HEDGEROW_SEED` and `HEDGEROW_CASES` select other cases than the default.
fn number(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

/// Fails with the first differences and the way to repeat each.
fn judge(tried: u64, wrong: &[String]) {
    for said in wrong.iter().take(5) {
        eprintln!("{said}\n");
    }
    assert!(wrong.is_empty(), "{} of {tried} differ", wrong.len());
}

#[test]
fn every_generated_request_matches_the_independent_implementation() {
    let seed = number("HEDGEROW_SEED", 1);
    let cases = number("HEDGEROW_CASES", 12_000);
    eprintln!("HEDGEROW_SEED={seed} HEDGEROW_CASES={cases}");
    let wrong: Vec<String> = (seed..seed + cases)
        .filter_map(|case| {
            let difference = independent::generated(&bytes(case, 120))?;
            Some(format!(
                "HEDGEROW_SEED={case} HEDGEROW_CASES=1\n{difference}"
            ))
        })
        .collect();
    judge(cases, &wrong);
}

/// The bodies recorded from real libraries, and the messages of the reference's vectors.
fn bodies() -> Vec<String> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data");
    let mut bodies = Vec::new();
    for folder in ["recordings", "reference"] {
        for entry in std::fs::read_dir(data.join(folder)).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let file: Value = serde_json::from_str(&text).unwrap();
            let raw = file["body"].as_str().or(file["segment_raw"].as_str());
            match (raw, &file["segment"]) {
                (Some(raw), _) => bodies.push(raw.to_owned()),
                (None, Value::Object(_)) => bodies.push(file["segment"].to_string()),
                _ => {}
            }
        }
    }
    bodies
}

#[test]
fn recorded_requests_match_the_independent_implementation() {
    let (mut tried, mut wrong) = (0, Vec::new());
    for body in bodies() {
        for choice in 0..14 {
            let data = [&[choice % 2, choice / 2], body.as_bytes()].concat();
            tried += 1;
            wrong.extend(independent::raw(&data));
        }
    }
    assert!(tried > 1_000, "{tried}");
    judge(tried, &wrong);
}

#[test]
fn the_fuzzers_finds_match_the_independent_implementation() {
    for (choice, body) in [
        // Times in forms that only one of the two knows.
        (
            [1, 1],
            r#"{"event":"E","anonymousId":"a","originalTimestamp":"2026-03-14T09:26:51.000891"}"#,
        ),
        (
            [1, 3],
            r#"{"userId":"u","timestamp":"2026-03-14T09:26(:53.589Z"}"#,
        ),
        // A body that is no object, on the path of one call, where the body is the message.
        ([1, 0x75], "6"),
        ([0, 0], "[1]"),
        // A `$set` that is no object: the context's traits replace it (`context_traits: always`).
        (
            [1 | 1 << 5, 0],
            r#"{"event":"E","userId":"u","context":{"traits":{"plan":"pro"}},"properties":{"$set":0}}"#,
        ),
        // A URL with a line end in its query.
        (
            [1, 0],
            r#"{"event":"E","userId":"u","context":{"page":{"url":"https://a.test/?a=b\nc&utm_source=mail"}}}"#,
        ),
        // A language that begins with a hyphen.
        (
            [0x33, 0x31],
            r#"{"anonymousId":"a","context":{"library":{"name":"analytics.js"},"locale":"-AdeT"}}"#,
        ),
    ] {
        let data = [&choice[..], body.as_bytes()].concat();
        assert_eq!(independent::raw(&data), None, "{body}");
    }
}
