//! Pixels: a GET request carries a message in its query and is answered with a GIF (segment-tracking 1.7).

use std::borrow::Cow;

use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::DecodePaddingMode;
use base64::{alphabet, Engine};

use super::fields::{write_fields, PixelField};

/// A transparent GIF of one pixel.
pub const GIF: &[u8] = &[
    0x47, 0x49, 0x46, 0x38, 0x39, 0x61, 0x01, 0x00, 0x01, 0x00, 0x80, 0x00, 0x00, 0x00, 0x00, 0x00,
    0xff, 0xff, 0xff, 0x21, 0xf9, 0x04, 0x01, 0x00, 0x00, 0x00, 0x00, 0x2c, 0x00, 0x00, 0x00, 0x00,
    0x01, 0x00, 0x01, 0x00, 0x00, 0x02, 0x01, 0x44, 0x00, 0x3b,
];

/// The longest query that is parsed, in bytes. No browser or mail program requests a picture with a longer
/// query, and a field of a query costs more time than a byte of a body.
const LONGEST_QUERY: usize = 64 * 1024;

/// Returns the message of a pixel's query as JSON text.
///
/// If the query has a `data` parameter that is not empty, the message is its decoded value (base64 of
/// either alphabet, with or without padding). Otherwise each parameter becomes a field: dots in its name
/// nest it, and its value is a string. Returns `None` if `data` is not base64, or if the query is longer
/// than 64 KiB.
pub fn message_from_query(query: &str) -> Option<Vec<u8>> {
    if query.len() > LONGEST_QUERY {
        return None;
    }
    let mut fields = Vec::new();
    for field in query.split('&').filter(|field| !field.is_empty()) {
        let (name, value) = pair(field);
        if name == "data" && !value.is_empty() {
            return decode_data(&value);
        }
        fields.push(PixelField::new(name, value));
    }
    Some(write_fields(&fields))
}

/// Returns a field's decoded name and value. Nearly all fields have no escapes and are borrowed.
fn pair(field: &str) -> (Cow<'_, str>, Cow<'_, str>) {
    let mut equals = None;
    for (at, byte) in field.bytes().enumerate() {
        match byte {
            b'%' | b'+' => {
                let mut pairs = form_urlencoded::parse(field.as_bytes());
                return pairs.next().unwrap_or_default();
            }
            b'=' if equals.is_none() => equals = Some(at),
            _ => {}
        }
    }
    let (name, value) = match equals {
        Some(at) => (field.get(..at), field.get(at + 1..)),
        None => (Some(field), None),
    };
    let [name, value] = [name, value].map(Option::unwrap_or_default);
    (name.into(), value.into())
}

fn decode_data(value: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    // Decoding the query turned each plus that was not percent-encoded into a space.
    let standard: String = value
        .chars()
        .map(|character| match character {
            '-' | ' ' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    LENIENT.decode(standard.trim_end_matches('=')).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    fn message(query: &str) -> Value {
        serde_json::from_slice(&message_from_query(query).unwrap()).unwrap()
    }

    #[test]
    fn dotted_parameters_become_nested_fields() {
        assert_eq!(
            message("userId=u%201&event=Email+Opened&properties.subject=A%20B&properties.c.id=7&x"),
            json!({"userId": "u 1", "event": "Email Opened",
                   "properties": {"subject": "A B", "c": {"id": "7"}}, "x": ""})
        );
        for (query, expected) in [
            ("", json!({})),
            ("a=1&a=2", json!({"a": "2"})),
            ("a=1&a.b=2", json!({"a": {"b": "2"}})),
            ("a.b=2&a=1", json!({"a": "1"})),
            ("a.b=1&a=1&a.c=2", json!({"a": {"c": "2"}})),
            (
                "x=1&a.b=1&x=2&a.b=3&a.b.c=4&y",
                json!({"x": "2", "a": {"b": {"c": "4"}}, "y": ""}),
            ),
            ("a.b.c=1&a.b=2&a.d=3", json!({"a": {"b": "2", "d": "3"}})),
            (".=1&..a=2&=3", json!({"": "3"})),
            ("=3&.=1&..a=2", json!({"": {"": {"a": "2"}}})),
            (
                "a.b.c.d.e.f.g.h.i.j=1",
                json!({"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h.i.j": "1"}}}}}}}}),
            ),
            (
                "a%22.b%5C=%0A%C3%A4&%ff=1",
                json!({"a\"": {"b\\": "\nä"}, "\u{fffd}": "1"}),
            ),
        ] {
            assert_eq!(message(query), expected, "{query}");
        }
    }

    #[test]
    fn many_fields_are_those_that_would_be_set_one_by_one() {
        fn set(fields: &mut Value, name: &str, value: &str) {
            let mut at = fields;
            for level in name.splitn(8, '.') {
                if !at.is_object() {
                    *at = json!({});
                }
                at = &mut at[level];
            }
            *at = value.into();
        }
        let mut seed = 7_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % below
        };
        for round in 0..300 {
            let (names, deepest) = (1 + random(40), 1 + random(10));
            let mut expected = json!({});
            let mut query = String::new();
            for value in 0..random(120) {
                let levels = 1 + random(deepest);
                let name: Vec<_> = (0..levels).map(|_| format!("n{}", random(names))).collect();
                let name = name.join(".");
                query.push_str(&format!("{name}={value}&"));
                set(&mut expected, &name, &value.to_string());
            }
            assert_eq!(message(&query), expected, "{round} {query}");
        }
    }

    #[test]
    fn data_is_base64_of_either_alphabet_with_or_without_padding() {
        let text = br#"{"event":"?>>~~~","userId":"u1"}"#;
        use base64::engine::general_purpose as engines;
        for data in [
            engines::STANDARD.encode(text),
            engines::STANDARD_NO_PAD.encode(text),
            engines::URL_SAFE.encode(text),
            engines::URL_SAFE_NO_PAD.encode(text),
            engines::STANDARD
                .encode(text)
                .replace('+', "%2B")
                .replace('=', "%3D"),
        ] {
            assert_eq!(
                message_from_query(&format!("data={data}")).unwrap(),
                text,
                "{data}"
            );
        }
        assert_eq!(message_from_query("data=***"), None);
    }

    #[test]
    fn a_query_that_no_client_writes_is_not_looked_into() {
        let fields: String = (0..20_000).map(|n| format!("k{n}=1&")).collect();
        let (taken, _) = fields.split_at(LONGEST_QUERY);
        assert!(message_from_query(taken).is_some());
        assert_eq!(message_from_query(&fields), None);
    }
}
