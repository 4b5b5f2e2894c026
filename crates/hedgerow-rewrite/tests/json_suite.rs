//! Which texts the rewriting accepts as JSON: the 318 parsing cases of JSONTestSuite, each as a
//! property of a message, compared with `serde_json`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "json_suite/cases.rs"]
mod cases;

use std::sync::Arc;

use hedgerow_rewrite::{
    ApiKey, Arrival, Batch, Bounds, Call, Envelope, Kind, Mapping, MessageOutcome, Pulled,
    RewriteError, Rewriter, Watch,
};
use serde_json::Value;

/// Cases that JSON forbids or leaves open and the rewriting accepts, with their values
/// (docs/repairs.md, "The JSON"). All others are `invalid_json`, except those of `DEEP`.
#[rustfmt::skip]
const TAKEN: &[(&str, &str)] = &[
    // Numbers too large for a double, and Python's constants, are null.
    ("n_number_NaN", "[null]"),
    ("n_number_infinity", "[null]"),
    ("n_number_minus_infinity", "[null]"),
    ("i_number_huge_exp", "[null]"),
    ("i_number_neg_int_huge_exp", "[null]"),
    ("i_number_pos_double_huge_exp", "[null]"),
    ("i_number_real_neg_overflow", "[null]"),
    ("i_number_real_pos_overflow", "[null]"),
    // Other numbers keep their digits; here are their values as doubles.
    ("i_number_double_huge_neg_exp", "[0]"),
    ("i_number_real_underflow", "[0]"),
    ("i_number_too_big_neg_int", "[-123123123123123123123123123123]"),
    ("i_number_too_big_pos_int", "[100000000000000000000]"),
    ("i_number_very_big_negative_int", "[-237462374673276894279832749832423479823246327846]"),
    // Control characters within strings are escaped.
    ("n_string_unescaped_ctrl_char", r#"["a\u0000a"]"#),
    ("n_string_unescaped_newline", r#"["new\nline"]"#),
    ("n_string_unescaped_tab", r#"["\t"]"#),
    // Half a surrogate pair is U+FFFD.
    ("i_object_key_lone_2nd_surrogate", r#"{"\ufffd":0}"#),
    ("i_string_1st_surrogate_but_2nd_missing", r#"["\ufffd"]"#),
    ("i_string_1st_valid_surrogate_2nd_invalid", r#"["\ufffd\u1234"]"#),
    ("i_string_incomplete_surrogate_and_escape_valid", r#"["\ufffd\n"]"#),
    ("i_string_incomplete_surrogate_pair", r#"["\ufffda"]"#),
    ("i_string_incomplete_surrogates_escape_valid", r#"["\ufffd\ufffd\n"]"#),
    ("i_string_invalid_lonely_surrogate", r#"["\ufffd"]"#),
    ("i_string_invalid_surrogate", r#"["\ufffdabc"]"#),
    ("i_string_inverted_surrogates_U+1D11E", r#"["\ufffd\ufffd"]"#),
    ("i_string_lone_second_surrogate", r#"["\ufffd"]"#),
    // Bad UTF-8 is too, as in browsers and `String::from_utf8_lossy`.
    ("i_string_UTF-8_invalid_sequence", r#"["日ш\ufffd"]"#),
    ("i_string_UTF8_surrogate_U+D800", r#"["\ufffd\ufffd\ufffd"]"#),
    ("i_string_invalid_utf-8", r#"["\ufffd"]"#),
    ("i_string_iso_latin_1", r#"["\ufffd"]"#),
    ("i_string_lone_utf8_continuation_byte", r#"["\ufffd"]"#),
    ("i_string_not_in_unicode_range", r#"["\ufffd\ufffd\ufffd\ufffd"]"#),
    ("i_string_overlong_sequence_2_bytes", r#"["\ufffd\ufffd"]"#),
    ("i_string_overlong_sequence_6_bytes", r#"["\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd"]"#),
    ("i_string_overlong_sequence_6_bytes_null", r#"["\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd"]"#),
    ("i_string_truncated-utf-8", r#"["\ufffd\ufffd"]"#),
];

/// JSON for which only the message is refused (`too_deep`), and not the whole body.
const DEEP: &[&str] = &["i_structure_500_nested_arrays"];

/// The code of a refused message.
#[derive(Default)]
struct Refused(Option<&'static str>);

impl Watch for Refused {
    fn message(&mut self, _: usize, _: &[u8], fate: MessageOutcome<'_>) {
        if let MessageOutcome::Refused(fault) = fate {
            self.0 = Some(fault.code());
        }
    }
}

/// The value of a text as a property of a message, or the code of its refusal.
fn answer(text: &[u8]) -> Result<Value, &'static str> {
    let head = br#"{"event":"E","userId":"u","messageId":"m","properties":{"v":"#;
    let body = [&head[..], text, b"}}"].concat();
    let rewriter = Arc::new(Rewriter::new(Mapping::default(), Bounds::default()));
    let mut rewrite = rewriter
        .begin(Arrival::new(Call::One(Kind::Track)))
        .address_to(Arc::default());
    rewrite.push(&body).map_err(RewriteError::code)?;
    rewrite.end();
    let mut batch = Batch::open(&Envelope::new(&ApiKey::new("phc_test").unwrap()));
    let mut refused = Refused::default();
    let mut pull = || rewrite.pull(&mut batch, usize::MAX, &mut refused);
    while pull().map_err(RewriteError::code)? != Pulled::Done {}
    if let Some(code) = refused.0 {
        return Err(code);
    }
    let batch: Value = serde_json::from_slice(&batch.close()).expect("JSON leaves");
    Ok(batch["batch"][0]["properties"]["v"].clone())
}

fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        _ => left == right,
    }
}

#[test]
fn every_case_of_the_json_suite_has_the_documented_result() {
    let cases = cases::cases();
    let count = |first| {
        cases
            .iter()
            .filter(|(name, _)| name.starts_with(first))
            .count()
    };
    assert_eq!((count("y_"), count("n_"), count("i_")), (95, 188, 35));
    let mut wrong = Vec::new();
    for (name, text) in &cases {
        let got = answer(text);
        let by_serde = serde_json::from_slice::<Value>(text).ok();
        let listed = TAKEN.iter().find(|(listed, _)| listed == name);
        let expected = match (listed, name.as_bytes()[0]) {
            (Some((_, value)), _) => Some(serde_json::from_str(value).unwrap()),
            (None, b'y') => by_serde.clone(),
            (None, _) => None,
        };
        // Strict JSON must give the same value as in a JSON library.
        assert!(
            by_serde.is_some() || !name.starts_with("y_"),
            "{name}: no JSON"
        );
        assert!(
            by_serde.is_none() || !name.starts_with("n_"),
            "{name}: JSON"
        );
        let is_right = match (&expected, &got) {
            (Some(expected), Ok(got)) => same(expected, got),
            (None, Err("too_deep")) => DEEP.contains(name),
            (None, Err(code)) => *code == "invalid_json" && !DEEP.contains(name),
            _ => false,
        };
        if !is_right {
            wrong.push(format!(
                "{name}: {got:?}, expected {expected:?}; serde_json {by_serde:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}
