//! Tests that the scanner's memory of the keys of earlier messages does not change the result of the
//! next message.

use super::super::super::json::Scratch;
use super::super::super::message::ContextObject;
use super::vectors::vectors;
use super::*;

/// Returns the result of the scan of a message with this memory.
fn scanned(text: &str, scratch: &mut Scratch) -> String {
    let mut message = Message::default();
    let end = message.scan_first(text.as_bytes(), scratch);
    format!("{end:?} {message:?}")
}

/// Scans all texts twice in their order, and returns those whose result differs from that of a scan
/// with empty memory.
fn differing(texts: &[String]) -> Vec<String> {
    let mut scratch = Scratch::default();
    let mut differing = Vec::new();
    for text in texts.iter().chain(texts) {
        let alone = scanned(text, &mut Scratch::default());
        let behind_others = scanned(text, &mut scratch);
        if alone != behind_others {
            differing.push(format!("{text}\n  alone {alone}\n  then  {behind_others}"));
        }
    }
    differing
}

/// Fails if the result of a text depends on the texts before it.
fn assert_none_differs(texts: &[String]) {
    assert_none_of(texts, &differing(texts));
}

/// Fails if some of these texts differ.
fn assert_none_of(texts: &[String], differing: &[String]) {
    assert!(
        differing.is_empty(),
        "{} of {}:\n{}",
        differing.len(),
        texts.len(),
        differing.join("\n")
    );
}

/// Scans objects whose keys are in any order, repeated, escaped, too long or surrounded by space.
/// Sometimes the same object is repeated many times.
#[test]
fn a_message_is_scanned_as_if_there_had_been_none_before_it() {
    let mut state = 1_u64;
    let mut any = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    let keys = [
        "type",
        "event",
        "userId",
        "messageId",
        "context",
        "properties",
        "integrations",
        "a",
        "b",
        "",
        "name",
        "url",
        "page",
        "library",
        "utm_own",
        "segment_own_with_a_long_name",
        "campaign",
        "anonymousId",
        "originalTimestamp",
        "é",
        "thirteen-long",
        "fourteen-bytes",
        "fifteen-bytes--",
        "sixteen-bytes---",
        "seventeen-bytes--",
        "twenty-nine-bytes-----------.",
        "thirty-bytes-----------------.",
        "twenty-nine-bytes----------_.",
        "\\u0061",
        "\\\"",
        "type\\n",
        "$set",
        "All",
        "path",
    ];
    let values = [
        "1",
        "\"x\"",
        "\"a longer value, of more than a block\"",
        "null",
        "[{\"a\":1,\"a\":2}]",
        "{}",
        "[]",
        "\"\\n\"",
        "NaN",
    ];
    let mut texts = Vec::new();
    for _ in 0..400 {
        let entries = |depth: u64, any: &mut dyn FnMut(u64) -> u64| {
            fn write(
                depth: u64,
                any: &mut dyn FnMut(u64) -> u64,
                keys: &[&str],
                values: &[&str],
            ) -> String {
                let mut out = Vec::new();
                for _ in 0..any(9) {
                    let key = keys[any(keys.len() as u64) as usize];
                    let is_object = depth > 0 && any(3) == 0;
                    let value = match is_object {
                        true => write(depth - 1, any, keys, values),
                        false => values[any(values.len() as u64) as usize].to_owned(),
                    };
                    let colon = [":", ":", ":", ":", " :", ": "][any(6) as usize];
                    out.push(format!("\"{key}\"{colon}{value}"));
                }
                format!("{{{}}}", out.join([",", ",", ",", " , "][any(4) as usize]))
            }
            write(depth, any, &keys, &values)
        };
        let text = entries(2, &mut any);
        // Sometimes repeats the text often enough that the scanner expects it from then on.
        let times = if any(20) == 0 { 40 } else { 1 + any(4) };
        for _ in 0..times {
            texts.push(text.clone());
            // Adds the same text cut anywhere, or with two more keys at its end.
            let cut = any(text.len() as u64 + 1) as usize;
            if any(3) == 0 && text.is_char_boundary(cut) {
                texts.push(text[..cut].to_owned());
            }
            if any(3) == 0 && text.len() > 2 {
                texts.push(format!("{},\"a\":1,\"event\":2}}", &text[..text.len() - 1]));
            }
        }
    }
    assert_none_differs(&texts);
}

/// Scans objects of one form, and between them objects with a value that changes the form.
#[test]
fn an_object_of_the_form_before_it_is_scanned_as_if_there_had_been_none() {
    let forms = [
        r#"{"type":"track","properties":{"a":1,"b":2,"c":3}}"#,
        r#"{"type":"track","properties":{"a":[1,2],"b":{"c":{"d":3},"e":[]}},"event":4}"#,
        r#"{"properties":{"list":[{"id":1,"n":2},{"id":3,"n":4}]},"context":{"a":5},"type":"track"}"#,
        r#"{"properties":{"a-key-of-twenty-eight-bytes.":1,"a-key-of-twenty-seven-byte.":[{}]},"type":2}"#,
        r#"{"properties":{"k":{"a-key-that-is-too-long-to-be-compared-at-once":1}},"type":"track"}"#,
        r#"{"properties":{"k":{"a-key-of-twenty-eight-bytes.":{"another-of-twenty-eight-byte":1}},"l":2}}"#,
        r#"{"type":1,"traits":{"a":2,"b":[[3]]},"_metadata":{"bundled":["x"]},"userId":4,"properties":[5]}"#,
        r#"{"context":{"page":{"url":1,"x":[2]},"ip":3,"traits":{"a":[4]}},"properties":{},"event":5}"#,
        r#"{"properties":{"a":{"b":{"c":[[[1]]]}},"z":{"y":2}},"messageId":3}"#,
    ];
    let values = [
        "7",
        "-12.5",
        "1e3",
        "1e999",
        "01",
        "null",
        "true",
        "nul",
        "NaN",
        "\"\"",
        "\"x\"",
        "\"é\"",
        "\"a\\\"b\"",
        "\"\\ud800\"",
        "\"sixteen bytes ..\"",
        "\"a text that is longer than two blocks of sixteen bytes\"",
        "\"a text that is longer than two blocks, and ends with \\n\"",
        "\"line\nbreak\"",
        "[]",
        "{}",
        "[1]",
        r#"{"a":1,"a":2}"#,
        r#"{"b":1}"#,
        " 1",
        "1 ",
        "\"open",
        "",
    ];
    let long_number = "1".repeat(400);
    let values: Vec<&str> = values.into_iter().chain([&*long_number]).collect();
    let mut texts = Vec::new();
    for form in forms {
        let filled = |number: usize, value: &str| {
            form.replace(&format!("{number}"), "\u{0}")
                .chars()
                .map(|character| match character {
                    '\u{0}' => value.to_owned(),
                    other => other.to_string(),
                })
                .collect::<String>()
        };
        texts.push(form.to_owned());
        for number in 1..=5 {
            for value in &values {
                let text = filled(number, value);
                texts.extend([form.to_owned(), text.clone()]);
                // Adds the same object with the end of the text far away, and with more keys.
                texts.push(format!("{text}{}", " ".repeat(80)));
                texts.push(text.replacen("}}", ",\"type\":1}}", 1));
                texts.push(text.replacen("}}", "},\"last\":{\"a\":1}}", 1));
            }
        }
        // Repeats another form until the scanner expects that one.
        let other = filled(1, r#"{"new":[true,"x"]}"#);
        texts.extend(std::iter::repeat_n(other, 100));
        texts.extend(values.iter().map(|value| filled(2, value)));
    }
    assert_none_differs(&texts);
}

#[test]
fn every_vector_is_scanned_as_if_there_had_been_none_before_it() {
    let texts: Vec<String> = vectors().into_iter().map(|vector| vector.message).collect();
    assert_none_differs(&texts);
}

/// The scanner finds an expected key that occurs a second time, at any position.
#[test]
fn a_key_that_is_given_twice_is_found_among_those_that_are_expected() {
    let keys = [
        "type",
        "event",
        "a",
        "a-key-that-is-longer-than-it",
        "userId",
    ];
    let object = |keys: &[&str]| {
        let entries: Vec<String> = keys.iter().map(|key| format!("\"{key}\":1")).collect();
        format!("{{{}}}                ", entries.join(","))
    };
    let cleanliness = |text: &str, scratch: &mut Scratch| {
        let mut message = Message::default();
        message.scan_first(text.as_bytes(), scratch).unwrap().0
    };
    for first in 0..keys.len() {
        for place in 0..=keys.len() {
            let mut twice = keys.to_vec();
            twice.insert(place, keys[first]);
            let mut scratch = Scratch::default();
            for _ in 0..5 {
                assert_eq!(
                    cleanliness(&object(&keys), &mut scratch),
                    Cleanliness::Clean
                );
                let text = object(&twice);
                assert_eq!(
                    cleanliness(&text, &mut scratch),
                    Cleanliness::Unclean,
                    "{text}"
                );
            }
        }
    }
}

/// The scanner finds the known library, browser and Segment's bookkeeping at their position in each
/// message, and only if their text is the same.
#[test]
fn a_recognised_library_and_browser_are_found_at_their_new_position() {
    let libraries = [
        r#"{"name":"analytics.js","version":"1"}"#,
        r#"{"name":"analytics.js","version":"2"}"#,
        r#"{"name":"analytics.js","version":"2" }"#,
        r#"{"name":"a","name":"b"}"#,
        r#"{"name":"\u0061","n":[[[1]]]}"#,
        "{}",
        "null",
        "[]",
        r#""analytics.js""#,
    ];
    let browsers = [
        r#"{"brands":[{"brand":"Chromium","version":"156"}],"mobile":false,"platform":"Linux"}"#,
        r#"{"brands":[{"brand":"Chromium","version":"157"}],"mobile":true}"#,
        r#"{"platform":"é"}"#,
    ];
    let books = [
        r#"{"bundled":["Segment.io"],"unbundled":[]}"#,
        r#"{"bundled":[]}"#,
        "{}",
        "7",
    ];
    let mut texts = Vec::new();
    for (library, browser, book) in libraries.into_iter().flat_map(|library| {
        browsers
            .into_iter()
            .flat_map(move |browser| books.map(|book| (library, browser, book)))
    }) {
        for (before, between) in [
            ("", ""),
            (r#""event":"x","#, r#""locale":"de","#),
            (" ", " "),
            (r#""integrations":{"Segment.io":true},"#, ""),
            (r#""event":"x","integrations":{"Segment.io":true},"#, ""),
            (r#""integrations":{"All":false,"PostHog":true},"#, ""),
            (
                r#""integrations":{"All":true,"Actions Amplitude":{"session_id":7}},"#,
                "",
            ),
            (r#""integrations":{},"#, ""),
        ] {
            let text = format!(
                r#"{{{before}"context":{{{between}"library":{library},{between}"userAgentData":{browser}}},"_metadata":{book},"type":"track"}}"#
            );
            texts.extend([text.clone(), text.clone(), text.replace("track", "page")]);
        }
    }
    let mut differing = Vec::new();
    let (mut known, mut scratch) = (Message::default(), Scratch::default());
    for text in &texts {
        let shown = |message: &Message, end| {
            let context = &message.context;
            let inner = [ContextObject::Library, ContextObject::UserAgentData]
                .map(|inner| context.inner(inner));
            let of = (context.value, &context.entries, context.names(), inner);
            let (metadata, integrations) = (message.metadata(), &message.integrations);
            format!("{end:?} {metadata:?} {integrations:?} {of:?}")
        };
        let mut fresh = Message::default();
        let end = fresh.scan_first(text.as_bytes(), &mut Scratch::default());
        let expected = shown(&fresh, end);
        known.context.forget();
        let end = known.scan_first(text.as_bytes(), &mut scratch);
        let found = shown(&known, end);
        if matches!(end, Ok((Cleanliness::Clean, _))) {
            known.keep_parts(text);
        }
        if found != expected {
            differing.push(format!("{text}\n  alone {expected}\n  then  {found}"));
        }
    }
    assert_none_of(&texts, &differing);
}

/// Only the first keys of an object are remembered.
#[test]
fn objects_of_any_number_of_keys_are_scanned_alike_and_only_their_first_keys_take_memory() {
    let object = |keys: std::ops::Range<usize>, last: &str| {
        let keys: Vec<String> = keys.map(|key| format!("\"key{key}\":[{key}]")).collect();
        format!(
            r#"{{"type":"track","properties":{{{}{last}}}}}"#,
            keys.join(",")
        )
    };
    let mut texts = Vec::new();
    for number in [1, 31, 32, 33, 34, 64, 100, 200] {
        texts.push(object(0..number, ""));
        texts.push(object(0..number, r#","key0":1"#));
        texts.push(object(0..number, r#","other":{"a":1}"#));
        texts.push(object(1..number + 1, ""));
        for _ in 0..33 {
            texts.push(object(0..number, r#","last":null"#));
        }
    }
    assert_none_differs(&texts);
    let mut scratch = Scratch::default();
    let mut message = Message::default();
    for text in [object(0..60_000, ""), object(0..1, "")] {
        let scanned = message.scan_first(text.as_bytes(), &mut scratch);
        assert_eq!(scanned, Ok((Cleanliness::Clean, text.len())));
    }
    // The hashes of 60,000 keys take 240 kB.
    assert!(scratch.held() < 512 << 10, "{}", scratch.held());
}
