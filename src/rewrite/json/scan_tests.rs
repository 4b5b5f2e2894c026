//! What the scanner takes, refuses and marks.

use super::super::value::{Malformed, Shape};
use super::*;

fn scan(text: &str) -> Result<(Shape, u16, bool), Malformed> {
    let mut scratch = Scratch::default();
    let mut scanner = Scanner::new(text.as_bytes(), &mut scratch);
    let value = scanner.value()?;
    if !scanner.at_end() {
        return Err(Malformed::Syntax);
    }
    let clean = scanner.cleanliness()? == Cleanliness::Clean;
    Ok((value.shape, value.depth, clean))
}

#[test]
fn it_agrees_with_serde_json_on_what_json_is() {
    for text in [
        "{}",
        "[]",
        "[1,2]",
        "[1,]",
        "[,1]",
        "{\"a\":1}",
        "{\"a\":1,}",
        "{\"a\"}",
        "{a:1}",
        "1",
        "-0",
        "01",
        "1.",
        ".5",
        "1e5",
        "1e",
        "+1",
        "-",
        "\"a",
        "\"a\"",
        "\"\\x\"",
        "\"\\u00e9\"",
        "\"\\u00g0\"",
        "tru",
        "true",
        "nul",
        "[[[]]]",
        "[}",
        "{]",
        "{\"a\":{\"b\":[1,{}]}}",
        "",
        " ",
        "[1 2]",
        "{\"a\" :1 }",
        "{\"a\":1 \"b\":2}",
        "1 2",
        "\"\\ud83d\\ude00\"",
        "[\"\\\"\",\"\\\\\"]",
        "[1e2,-3.25E-7]",
        "--1",
        "truefalse",
    ] {
        let expected = serde_json::from_str::<serde_json::Value>(text).is_ok();
        let got = scan(text);
        assert_eq!(got.is_ok(), expected, "{text:?} gave {got:?}");
        if let Ok((_, _, clean)) = got {
            assert!(clean, "{text:?}");
        }
    }
}

#[test]
fn what_capture_would_refuse_is_marked_unclean() {
    for text in [
        "NaN",
        "[-Infinity]",
        "Infinity",
        "\"\\ud83d\"",
        "\"\\udc00x\"",
        "\"\\ud83d\\u0041\"",
        "1e400",
        "\"a\nb\"",
        "{\"a\":1,\"a\":2}",
        "[{\"x\":{\"k\":1,\"j\":2,\"k\":3}}]",
        "{\"\\u0061\":1}",
    ] {
        assert_eq!(scan(text).map(|found| found.2), Ok(false), "{text:?}");
    }
    let long = "9".repeat(400);
    assert_eq!(scan(&long).map(|found| found.2), Ok(false));
    let long = format!("0.{}", "9".repeat(400));
    assert_eq!(scan(&long).map(|found| found.2), Ok(true));
    assert_eq!(scan("[{\"a\":1},{\"a\":2}]").map(|found| found.2), Ok(true));
}

#[test]
fn nesting_is_counted_and_bounded_without_recursion() {
    assert_eq!(scan("[[],[[{}]]]").map(|found| found.1), Ok(4));
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert_eq!(scan(&deep(127)).map(|found| found.1), Ok(127));
    assert_eq!(scan(&deep(128)), Err(Malformed::TooDeep));
    assert_eq!(scan(&"[".repeat(1_000_000)), Err(Malformed::TooDeep));
}
