//! Tests of the paths that name one call: they accept one message, and also a batch.

use super::*;
use crate::rewrite::flow::WrittenKey;

const RECEIVED: Option<&str> = Some("2026-11-23T11:00:06.000Z");

/// Returns the result of a body on `/v1/track` that arrives in these pieces, with this window.
fn tracked(window: usize, pieces: &[&[u8]]) -> Result<TestOutcome, RewriteError> {
    let bounds = Bounds {
        window,
        ..Bounds::default()
    };
    rewrite_with(bounds, arrival(Call::One(Kind::Track), RECEIVED), pieces)
}

fn names(outcome: &TestOutcome) -> Vec<&str> {
    let events = outcome.events.iter();
    events
        .map(|event| event["event"].as_str().unwrap())
        .collect()
}

const BATCH: &str = r#" {"sentAt":"2026-11-23T10:00:05.000Z","context":{"ip":"198.51.100.1"}, "batch" : [
 {"type":"track","event":"A","userId":"u","messageId":"m1","timestamp":"2026-11-23T10:00:00Z"} ,
 {"type":"identify","userId":"u","messageId":"m2","traits":{"n":NaN}},{"event":"B","userId":"u","messageId":"m3"},
 {"type":"delete","userId":"u"}, 7 ] , "other":"\u00e9" } "#;

#[test]
fn a_batch_on_the_path_of_one_call_is_a_batch_however_it_is_cut() {
    let whole = tracked(1 << 20, &[BATCH.as_bytes()]).unwrap();
    // A message without a `type` has the type that the path names.
    assert_eq!(names(&whole), ["A", "$identify", "B"]);
    assert_eq!(whole.reports, ["3 unknown_type", "4 not_an_object"]);
    assert_eq!(whole.events[0]["timestamp"], "2026-11-23T11:00:01.000Z");
    assert_eq!(whole.events[2]["properties"]["$ip"], "198.51.100.1");
    for window in [1, 100, 300, 1 << 20] {
        for cut in 0..=BATCH.len() {
            let (a, b) = BATCH.as_bytes().split_at(cut);
            let outcome = tracked(window, &[a, b]).unwrap();
            assert_eq!(
                outcome.events, whole.events,
                "window {window}, cut at {cut}"
            );
            assert_eq!(
                outcome.reports, whole.reports,
                "window {window}, cut at {cut}"
            );
        }
    }
    let disguised = BATCH.replace("\"batch\"", "\"\\u0062atch\"");
    for window in [1, 1 << 20] {
        let outcome = tracked(window, &[disguised.as_bytes()]).unwrap();
        assert_eq!(names(&outcome), names(&whole));
    }
    for window in [1, 1 << 20] {
        let none = tracked(window, &[b"{\"batch\":[]}"]).unwrap();
        assert!(none.events.is_empty() && none.reports.is_empty());
    }
}

#[test]
fn one_message_that_contains_batch_is_one_message_for_every_cut() {
    for (body, event) in [
        (
            r#"{"event":"Baked","userId":"u","properties":{"batch":[{"event":"No"}]}}"#,
            "Baked",
        ),
        (
            r#"{"event":"batch","userId":"u","properties":{"a":"\"batch\":["}}"#,
            "batch",
        ),
        (r#"{"event":"Baked","userId":"u","batch":5}"#, "Baked"),
        (r#"{"batch":null,"event":"Baked","userId":"u"}"#, "Baked"),
        (
            r#"{"batch":{"event":"No"},"event":"Baked","userId":"u","context":{"batch":[]}}"#,
            "Baked",
        ),
        (
            r#"{"type":"page","event":"\u0042aked","userId":"u"}"#,
            "Baked",
        ),
    ] {
        for window in [1, 20, 1 << 20] {
            for cut in 0..=body.len() {
                let (a, b) = body.as_bytes().split_at(cut);
                let outcome = tracked(window, &[a, b]).unwrap();
                assert_eq!(
                    names(&outcome),
                    [event],
                    "{body} window {window}, cut at {cut}"
                );
                assert!(outcome.reports.is_empty(), "{body}");
            }
        }
    }
}

#[test]
fn an_invalid_message_has_the_same_result_with_and_without_a_window() {
    for (body, expected) in [
        ("", Err(RewriteError::Empty)),
        (" \n", Err(RewriteError::Empty)),
        ("[\"batch\"]", Ok("0 not_an_object")),
        ("17", Ok("0 not_an_object")),
        ("{\"batch\":[1,]}", Err(RewriteError::InvalidJson)),
        ("{\"batch\":[]", Err(RewriteError::InvalidJson)),
        ("{\"event\":\"\\u0041\",}", Err(RewriteError::InvalidJson)),
        ("{\"event\":\"A\"} {}", Err(RewriteError::InvalidJson)),
        ("{\"event\":", Err(RewriteError::InvalidJson)),
    ] {
        for window in [1, 1 << 20] {
            let got = tracked(window, &[body.as_bytes()]).map(|outcome| outcome.reports);
            let expected = expected.map(|left| vec![left.to_owned()]);
            assert_eq!(got, expected, "{body:?}, window {window}");
        }
    }
    let unit = Bounds::default().event * 2;
    let large = format!("{{\"event\":\"A\",\"userId\":\"{}\"}}", "x".repeat(unit));
    let got = tracked(1 << 20, &[large.as_bytes()]).map(|outcome| outcome.events);
    assert_eq!(got, Err(RewriteError::TooLarge));
}

#[test]
fn a_key_that_has_not_come_yet_is_waited_for() {
    let filler = "x".repeat(100);
    for call in [Call::Batch, Call::One(Kind::Track)] {
        for (body, expected) in [
            (
                format!(r#"{{"event":"{filler}","writeKey":"late"}}"#),
                Some("late"),
            ),
            (
                format!(r#"{{"x":"{filler}","writeKey":"late","batch":[{{}}]}}"#),
                Some("late"),
            ),
            (
                format!(r#"{{"batch":[{{"x":"{filler}","writeKey":"late"}}]}}"#),
                Some("late"),
            ),
            (
                format!(r#"{{"batch":[{{"x":"{filler}"}},{{"writeKey":"second"}}]}}"#),
                None,
            ),
            (
                format!(r#"{{"event":"{filler}","properties":{{"writeKey":"nested"}}}}"#),
                None,
            ),
        ] {
            let bounds = Bounds {
                window: 16,
                ..Bounds::default()
            };
            let rewriter = Arc::new(Rewriter::new(Mapping::reference(), bounds));
            let mut unaddressed = rewriter.begin(Arrival::new(call));
            let mut found = WrittenKey::NotYetKnown;
            for piece in body.as_bytes().chunks(5) {
                let flow = unaddressed.push(piece).unwrap();
                if flow == Flow::Open && found == WrittenKey::NotYetKnown {
                    found = unaddressed.write_key().unwrap();
                }
            }
            unaddressed.end();
            if found == WrittenKey::NotYetKnown {
                found = unaddressed.write_key().unwrap();
            }
            let expected =
                expected.map_or(WrittenKey::Missing, |key| WrittenKey::Named(key.into()));
            assert_eq!(found, expected, "{call:?} {body}");
        }
    }
}
