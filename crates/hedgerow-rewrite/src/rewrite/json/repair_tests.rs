use super::*;

fn repaired(text: &str) -> Result<String, Malformed> {
    let mut out = Vec::new();
    repair(text, &mut out, &mut RepairBuffers::default())?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn each_defect_is_mended_and_the_rest_stays() {
    for (text, expected) in [
        (
            r#"{"a":NaN,"b":-Infinity,"c":[Infinity,1]}"#,
            r#"{"a":null,"b":null,"c":[null,1]}"#,
        ),
        (r#""x\ud83d""#, "\"x\u{fffd}\""),
        (
            r#"["\udc00a","\ud83d\u0041","\ud83d\ude00"]"#,
            "[\"\u{fffd}a\",\"\u{fffd}A\",\"😀\"]",
        ),
        (
            r#"{"a":1,"b":{"x":1,"y":2,"x":3},"a":{"a":2}}"#,
            r#"{"a":{"a":2},"b":{"x":3,"y":2}}"#,
        ),
        (r#"{"a":1,"\u0061":2}"#, r#"{"a":2}"#),
        (r#"{"a":1,"a":2,"a":3}"#, r#"{"a":3}"#),
        (
            r#"[1e400,-1e400,1e5,12345678901234567890123]"#,
            "[null,null,1e5,12345678901234567890123]",
        ),
        ("\"a\u{1}\nb\"", r#""a\u0001\u000ab""#),
        (" { \"k\" : [ ] , \"l\" : { } } ", r#"{"k":[],"l":{}}"#),
    ] {
        assert_eq!(repaired(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn text_that_cannot_be_repaired_is_refused() {
    for text in [
        "{",
        "[1",
        "{\"a\":}",
        "\"\\x\"",
        "nul",
        "[1}",
        "{\"a\":1]",
        "1 2",
        "\"\\u12\"",
    ] {
        assert_eq!(repaired(text), Err(Malformed::Syntax), "{text}");
    }
    assert_eq!(repaired(&"[".repeat(200)), Err(Malformed::TooDeep));
}

#[test]
fn an_object_with_very_many_keys_takes_linear_time() {
    let entries: Vec<String> = (0..50_000)
        .map(|n| format!("\"k{}\":{n}", n % 25_000))
        .collect();
    let out = repaired(&format!("{{{}}}", entries.join(","))).unwrap();
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value.as_object().unwrap().len(), 25_000);
    assert_eq!(value["k0"], 25_000);
}
