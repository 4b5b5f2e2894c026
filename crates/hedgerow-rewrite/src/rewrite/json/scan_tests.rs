//! Tests of what the scanner accepts, refuses and marks as unclean.

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
fn text_that_capture_would_reject_is_marked_unclean() {
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

/// Compares the scanner with serde_json, which is slow and known to be right: both accept and refuse
/// the same texts, except those that the scanner marks as unclean or refuses as too deep.
fn agrees(text: &str) {
    let expected = serde_json::from_str::<serde_json::Value>(text);
    let got = scan(text);
    match (&expected, got) {
        (Ok(_), Ok(_)) | (Err(_), Err(_)) => {}
        // A text that only the scanner accepts is never clean.
        (Err(_), Ok((_, _, clean))) => assert!(!clean, "{text:?}"),
        (Ok(_), Err(malformed)) => assert_eq!(malformed, Malformed::TooDeep, "{text:?}"),
    }
}

/// Returns the entries of an object, as keys and values.
fn entries(text: &str) -> Vec<(String, String)> {
    let mut scratch = Scratch::default();
    let mut scanner = Scanner::new(text.as_bytes(), &mut scratch);
    let mut entries = Vec::new();
    scanner.value_with_entries(&mut entries).unwrap();
    let text_of = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    entries
        .iter()
        .map(|entry| {
            let key = entry.key.of(text.as_bytes());
            (text_of(key), text_of(entry.value.of(text.as_bytes())))
        })
        .collect()
}

#[test]
fn values_on_the_border_of_a_block_are_scanned_like_all_others() {
    for length in 0..70 {
        let pad = "x".repeat(length);
        for special in [
            "",
            "\\\"",
            "\\\\",
            "\\u00e9",
            "\\ud83d\\ude00",
            "é",
            "日",
            "😀",
            "\\n",
        ] {
            for text in [
                format!("\"{pad}{special}\""),
                format!("\"{special}{pad}\""),
                format!("{{\"{pad}{special}\":1,\"b\":[\"{pad}{special}{pad}\"]}}"),
                format!("{{\"a{pad}\":\"{special}{pad}\",\"b\":{{\"c{pad}\":null}}}}"),
                format!("{pad}{special}").replace('x', "[") + "1",
                format!("{}1{}", " ".repeat(length), "\n".repeat(length)),
            ] {
                agrees(&text);
                for cut in (0..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
                    agrees(&text[..cut]);
                }
            }
            let key = format!("{pad}{special}");
            let value = format!("\"{special}{pad}\"");
            let text = format!("{{\"{key}\":{value},\"z{key}\" : {value} }}");
            let expected = [(key.clone(), value.clone()), (format!("z{key}"), value)];
            assert_eq!(entries(&text), expected, "{text}");
            let twice = format!("{{\"{key}\":1,\"y\":2,\"{key}\":3}}");
            assert_eq!(scan(&twice).map(|found| found.2), Ok(false), "{twice}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn it_agrees_with_serde_json_on_text_that_looks_like_json(
        pieces in proptest::collection::vec(
            proptest::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"a\":", "\"b\":1,", "1", "-0.5e3", "e9",
                "true", "null", "nul", " ", "\n", "\\", "\\u00", "\\u0041", "é", "0", "[]", "{}",
                "\"averyveryverylongkey\":", "\"sixteenbytekeyxy\":[", "\u{1}",
            ]),
            0..24,
        )
    ) {
        agrees(&pieces.concat());
    }

    #[test]
    fn it_agrees_with_serde_json_on_json(value in arbitrary(), pretty in proptest::bool::ANY) {
        let text = match pretty {
            true => serde_json::to_string_pretty(&value).unwrap(),
            false => value.to_string(),
        };
        let (_, _, clean) = scan(&text).unwrap();
        let escaped_key = text.contains('\\');
        proptest::prop_assert!(clean || escaped_key, "{text}");
    }
}

fn arbitrary() -> impl proptest::strategy::Strategy<Value = serde_json::Value> {
    use proptest::prelude::*;
    let text = "[a-z$_ é日\"\\\\\n]{0,40}";
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        text.prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::btree_map(text, inner, 0..8)
                .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
        ]
    })
}
