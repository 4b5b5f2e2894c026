//! Tests of the facts that are known about a body before its end.

use super::flow::MIXED;
use super::*;
use crate::rewrite::flow::WrittenKey;

#[test]
fn write_keys_are_found_at_the_top_and_in_the_first_message() {
    for (call, body, expected) in [
        (
            Call::Batch,
            r#"{"batch":[{"writeKey":"in"}],"writeKey":"top"}"#,
            Some("top"),
        ),
        (
            Call::Batch,
            r#"{"batch":[{"writeKey":"in","type":"track"}]}"#,
            Some("in"),
        ),
        (Call::Batch, r#"{"batch":[{}],"writeKey":""}"#, None),
        (
            Call::Batch,
            r#"{"type":"track","writeKey":"bare"}"#,
            Some("bare"),
        ),
        (Call::One(Kind::Track), r#"{"writeKey":"one"}"#, Some("one")),
        (Call::One(Kind::Track), r#"{"writeKey":null}"#, None),
        (Call::Batch, r#"{"batch":[]}"#, None),
    ] {
        for window in [4, 1 << 20] {
            let bounds = Bounds {
                window,
                ..Bounds::default()
            };
            let rewriter = Arc::new(Rewriter::new(Mapping::reference(), bounds));
            let mut unaddressed = rewriter.begin(Arrival::new(call));
            unaddressed.push(body.as_bytes()).unwrap();
            unaddressed.end();
            let key = unaddressed.write_key().unwrap();
            let late = window == 4 && expected == Some("top");
            let expected = if late { Some("in") } else { expected };
            let expected =
                expected.map_or(WrittenKey::Missing, |key| WrittenKey::Named(key.into()));
            assert_eq!(key, expected, "{body}, window {window}");
            let envelope = Envelope::new(&ApiKey::new("phc_test").unwrap());
            let mut batch = Batch::open(&envelope);
            let mut rewrite = unaddressed.address_to(Arc::default());
            assert_eq!(rewrite.pull(&mut batch, 1 << 20, &mut ()), Ok(Pulled::Done));
        }
    }
}

#[test]
fn calls_on_an_incomplete_body_do_not_change_its_result() {
    let bodies = [
        MIXED.to_owned(),
        // The `context` that changes all messages is after them.
        r#"{"batch":[{"type":"track","event":"A","userId":"u"}],"writeKey":"wk",
            "context":{"device":{"name":"late"}}}"#
            .to_owned(),
    ];
    for body in bodies {
        let whole = rewrite(Call::Batch, None, body.as_bytes()).unwrap();
        let rewriter = Arc::new(Rewriter::new(Mapping::reference(), Bounds::default()));
        let mut unaddressed = rewriter.begin(arrival(Call::Batch, None));
        let mut batch = Batch::open(&Envelope::new(&ApiKey::new("phc_test").unwrap()));
        let (first, second) = body.as_bytes().split_at(body.len() / 2);
        for piece in first.chunks(16) {
            assert_eq!(unaddressed.push(piece), Ok(Flow::Held));
            assert_eq!(unaddressed.write_key(), Ok(WrittenKey::NotYetKnown));
        }
        let mut rewrite = unaddressed.address_to(Arc::default());
        for piece in second.chunks(16) {
            assert_eq!(rewrite.push(piece), Ok(Flow::Held));
            let pulled = rewrite.pull(&mut batch, 1 << 20, &mut ());
            assert_eq!(pulled, Ok(Pulled::Starved));
        }
        rewrite.end();
        assert_eq!(rewrite.pull(&mut batch, 1 << 20, &mut ()), Ok(Pulled::Done));
        // One more pull than needed.
        assert_eq!(rewrite.pull(&mut batch, 1 << 20, &mut ()), Ok(Pulled::Done));
        let written: Json = serde_json::from_slice(&batch.close()).unwrap();
        assert_eq!(written["batch"], json!(whole.events), "{body}");
    }
}

#[test]
fn only_bytes_that_have_come_count_as_held() {
    let mut wrong = Vec::new();
    for length in [
        AnnouncedLength::Unknown,
        AnnouncedLength::OfBody(64 << 10),
        AnnouncedLength::OfCoding(10 << 20),
    ] {
        let rewriter = Rewriter::new(Mapping::default(), Bounds::default());
        let mut body = rewriter.begin(Arrival {
            length,
            ..arrival(Call::Batch, None)
        });
        let before = body.held();
        body.push(b"{").unwrap();
        if (before, body.held()) != (0, 1) {
            wrong.push(format!("{length:?}: {before}, then {}", body.held()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
