//! Pixels: a message in the query of a GET, answered with a GIF (segment-tracking 1.7).

use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::DecodePaddingMode;
use base64::{alphabet, Engine};
use serde_json::{Map, Value};

/// A transparent GIF of one pixel.
pub const GIF: &[u8] = &[
    0x47, 0x49, 0x46, 0x38, 0x39, 0x61, 0x01, 0x00, 0x01, 0x00, 0x80, 0x00, 0x00, 0x00, 0x00, 0x00,
    0xff, 0xff, 0xff, 0x21, 0xf9, 0x04, 0x01, 0x00, 0x00, 0x00, 0x00, 0x2c, 0x00, 0x00, 0x00, 0x00,
    0x01, 0x00, 0x01, 0x00, 0x00, 0x02, 0x01, 0x44, 0x00, 0x3b,
];

/// The longest query that is looked into, in bytes. No browser or mail program asks for a picture
/// with a longer one, and a field costs more than a byte of a body.
const LONGEST_QUERY: usize = 64 * 1024;

/// Dots in one key that are taken as levels; more stay in the last name.
const LEVELS: usize = 8;

/// The message that a pixel's query carries, as JSON text: the decoded `data` (base64 of either
/// alphabet, padding or not), else the parameters as fields, dotted names nested, values strings.
/// None when `data` is there but is not base64, or when the query has more than 64 KiB.
pub fn message_from_query(query: &str) -> Option<Vec<u8>> {
    if query.len() > LONGEST_QUERY {
        return None;
    }
    let mut fields = Map::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name == "data" && !value.is_empty() {
            return decode_data(&value);
        }
        insert(&mut fields, &name, value.into_owned());
    }
    serde_json::to_vec(&fields).ok()
}

fn decode_data(value: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    // A plus that was not percent-encoded has become a space on its way here.
    let standard: String = value
        .chars()
        .map(|sign| match sign {
            '-' | ' ' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    LENIENT.decode(standard.trim_end_matches('=')).ok()
}

fn insert(fields: &mut Map<String, Value>, name: &str, value: String) {
    let mut levels = name.splitn(LEVELS, '.').peekable();
    let mut at = fields;
    while let Some(level) = levels.next() {
        if levels.peek().is_none() {
            at.insert(level.to_owned(), Value::String(value));
            return;
        }
        let next = at.entry(level).or_insert_with(|| Value::Object(Map::new()));
        if !next.is_object() {
            *next = Value::Object(Map::new());
        }
        match next {
            Value::Object(inner) => at = inner,
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        assert_eq!(message("a=1&a.b=2"), json!({"a": {"b": "2"}}));
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
