//! Ids, texts, times and other values, mostly unusual ones.

use super::choices::Choices;
use super::generate::session;
use super::node::{object, Node, Text};
use super::oracle::time::LOOSE;

pub fn id(choices: &mut Choices<'_>) -> Node {
    let long = "l".repeat(201);
    let texts = [
        "u",
        "a",
        "u",
        " a\n",
        "",
        " ",
        "undefined",
        "null",
        "(null)",
        "guest",
        "ANONYMOUS",
        "0",
        "'guest'",
        "[object Object]",
        "None",
        "nil",
        "42",
        "\u{0}x",
        "é\u{a0}",
        "00000000-0000-0000-0000-000000000000",
        "sha256:",
        "nul",
        "id",
        "true",
    ];
    let numbers = [
        "0",
        "42",
        "42.0",
        "1e3",
        "-0",
        "0.5",
        "1e-7",
        "1.5e300",
        "12345678901234567",
        "12345678901234567890",
        "-1",
    ];
    match choices.below(12) {
        0 => Node::Null,
        1 => Node::Bool(true),
        2 => Node::Bool(false),
        3 => Node::Number(choices.of(&numbers)),
        4 => Node::Array(vec![]),
        5 => object([]),
        6 => long.as_str().into(),
        7 => Node::Text(Text::escaped(choices.of(&texts))),
        _ => choices.of(&texts).into(),
    }
}

/// A text, or another value in its place.
pub fn text(choices: &mut Choices<'_>) -> Node {
    let texts = [
        "",
        "x",
        "Home",
        " ",
        "undefined",
        "Null",
        "NONE",
        "nil",
        "NaN",
        "(null)",
        "<nil>",
        "é",
        "😀 \"quoted\" \\ /",
        "$identify",
        "$create_alias",
        "$set",
        "a,b",
        "}",
        "[object Object]",
        "\u{a0}",
        "\t",
        "$merge_dangerously",
    ];
    match choices.below(10) {
        0 => value(choices, 1),
        1 => Node::Text(Text::escaped(choices.of(&texts))),
        2 => Node::Text(Text::odd("\\ud83dx", "\u{fffd}x")),
        3 => Node::Text(Text::odd("a\u{1}\tb", "a\u{1}\tb")),
        _ => choices.of(&texts).into(),
    }
}

/// Any value, nested at most so deep.
pub fn value(choices: &mut Choices<'_>, depth: usize) -> Node {
    let numbers = [
        "0",
        "1",
        "-0",
        "1.0",
        "1e2",
        "1.5",
        "-7",
        "12345678901234567890",
        "0.1e-5",
        "9007199254740993",
    ];
    match choices.below(if depth == 0 { 6 } else { 9 }) {
        0 => Node::Null,
        1 => Node::Bool(choices.below(2) == 0),
        2 => Node::Number(choices.of(&numbers)),
        3 => Node::NoNumber(choices.of(&["NaN", "Infinity", "-Infinity", "1e400", "-1e999"])),
        4 | 5 => choices
            .of(&["", "x", "undefined", "null", "0", "a b"])
            .into(),
        6 => Node::Array(
            (0..choices.below(3))
                .map(|_| value(choices, depth - 1))
                .collect(),
        ),
        _ => {
            let keys = [
                "a",
                "b",
                "a",
                "é",
                "name",
                "length",
                "__proto__",
                "distinct_id",
            ];
            let entries = (0..choices.below(4))
                .map(|_| (Text::plain(choices.of(&keys)), value(choices, depth - 1)));
            Node::Object(entries.collect())
        }
    }
}

pub fn time(choices: &mut Choices<'_>) -> Node {
    let exact = [
        "2026-11-23T20:00:00Z",
        "2026-11-23T20:00:00.123456789Z",
        "2026-11-23T22:30:00+02:00",
        "2026-11-23T20:59:59.999Z",
        "2026-11-24T20:00:00Z",
        "2023-11-14T22:13:20Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
    ];
    let numbers = ["1700000000", "1700000000123", "1700000000123456", "5"];
    match choices.below(8) {
        0 => Node::Null,
        1 => choices.of(&["", " "]).into(),
        2 => Node::Number(choices.of(&numbers)),
        3 => choices.of(LOOSE).0.into(),
        4 => Node::Bool(true),
        _ => choices.of(&exact).into(),
    }
}

pub fn traits(choices: &mut Choices<'_>) -> Node {
    match choices.below(6) {
        0 => value(choices, 2),
        1 => object([]),
        2 => object([("groupType", "team".into()), ("seats", Node::Number("4"))]),
        3 => object([("$group_type", text(choices)), ("groupType", "team".into())]),
        _ => object([("plan", text(choices)), ("n", value(choices, 1))]),
    }
}

pub fn integrations(choices: &mut Choices<'_>, all: &str) -> Node {
    let mut entries = Vec::new();
    for _ in 0..choices.below(4) {
        let key = choices.of(&[all, "PostHog", "posthog", "Segment.io", "Actions Amplitude"]);
        if key == "Actions Amplitude" {
            let options = object([("session_id", session(choices))]);
            entries.push((Text::plain(key), options));
            continue;
        }
        let value = match choices.below(4) {
            0 => object([("a", Node::Number("1"))]),
            1 => Node::Bool(true),
            _ => Node::Bool(false),
        };
        entries.push((Text::plain(key), value));
    }
    Node::Object(entries)
}
