//! Strings and truth values as JavaScript sees them, and escaping.

use super::block::plain_run;
use super::event_writer::Output;
use super::value::{Shape, Value};

/// Whether JavaScript takes the value for true (mapping 1.8).
pub(in crate::rewrite) fn is_truthy(value: Value, text: &[u8]) -> bool {
    match value.shape {
        Shape::Null | Shape::False => false,
        Shape::True | Shape::Array | Shape::Object | Shape::Escaped => true,
        Shape::Plain => value.of(text) != b"\"\"",
        Shape::Number => {
            let number = value.of(text);
            // A number without any of these digits is a zero however it is spelled.
            let mantissa = number
                .split(|byte| matches!(byte, b'e' | b'E'))
                .next()
                .unwrap_or_default();
            if !mantissa.iter().any(|byte| matches!(byte, b'1'..=b'9')) {
                return false;
            }
            std::str::from_utf8(number)
                .ok()
                .and_then(|text| text.parse::<f64>().ok())
                .is_some_and(|number| number != 0.0)
        }
    }
}

/// Whether a string holds nothing but white space, as capture judges it (posthog-ingestion 1.7).
#[inline(always)]
pub(in crate::rewrite) fn is_blank(value: Value, text: &[u8]) -> bool {
    // Nearly every string is told by its first byte; a quote is its end.
    let first = text.get(value.span.start() + 1);
    let says = value.shape == Shape::Plain
        && first.is_some_and(|byte| byte.is_ascii_graphic() && *byte != b'"');
    !says && is_blank_after_all(value, text)
}

#[inline(never)]
fn is_blank_after_all(value: Value, text: &[u8]) -> bool {
    match value.shape {
        Shape::Plain => {
            let inside = std::str::from_utf8(inner(value.of(text)));
            inside.is_ok_and(|inside| inside.trim().is_empty())
        }
        Shape::Escaped => unescape(value.of(text)).trim().is_empty(),
        _ => false,
    }
}

/// The text between a string's quotes, escapes and all.
pub(in crate::rewrite) fn inner(string: &[u8]) -> &[u8] {
    string
        .get(1..string.len().saturating_sub(1))
        .unwrap_or_default()
}

/// Bytes of a clean text, which is UTF-8. Asking outright is much quicker than looking for what to
/// replace.
pub(super) fn as_text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// The text of a (clean) string value.
pub(in crate::rewrite) fn unescape(string: &[u8]) -> std::borrow::Cow<'_, str> {
    let raw = inner(string);
    if memchr::memchr(b'\\', raw).is_none() {
        return as_text(raw);
    }
    serde_json::from_slice::<String>(string)
        .unwrap_or_default()
        .into()
}

/// Appends a text as a JSON string, escaping only what must be escaped.
pub(in crate::rewrite) fn write_string(out: &mut impl Output, text: &str) {
    out.push(b'"');
    write_escaped(out, text);
    out.push(b'"');
}

/// Appends a control character, escaped.
#[inline(always)]
pub(super) fn write_control(out: &mut impl Output, control: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or(b'0');
    let escape = [
        b'\\',
        b'u',
        b'0',
        b'0',
        digit(control >> 4),
        digit(control & 15),
    ];
    out.extend_from_slice(&escape);
}

pub(super) fn write_escaped(out: &mut impl Output, text: &str) {
    let mut rest = text.as_bytes();
    loop {
        // Most texts need no escape at all: they are copied in one piece.
        let (run, special) = rest.split_at(plain_run(rest).min(rest.len()));
        out.extend_from_slice(run);
        let Some((byte, after)) = special.split_first() else {
            break;
        };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            control => write_control(out, *control),
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Scanner, Scratch};
    use super::*;

    fn value(text: &str) -> Value {
        let mut scratch = Scratch::default();
        Scanner::new(text.as_bytes(), &mut scratch).value().unwrap()
    }

    #[test]
    fn truth_is_javascripts() {
        for (text, expected) in [
            ("null", false),
            ("false", false),
            ("0", false),
            ("-0", false),
            ("0.0", false),
            ("0e5", false),
            ("1e-400", false),
            ("\"\"", false),
            ("true", true),
            ("[]", true),
            ("{}", true),
            ("\" \"", true),
            ("\"0\"", true),
            ("\"\\u0000\"", true),
            ("1", true),
            ("-0.001", true),
            ("10", true),
        ] {
            assert_eq!(is_truthy(value(text), text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn blank_strings_are_those_of_white_space_only() {
        for (text, expected) in [
            ("\"\"", true),
            ("\" \"", true),
            ("\"\\t\\n\"", true),
            ("\"\u{a0}\"", true),
            ("\"a\"", false),
            ("0", false),
            ("null", false),
        ] {
            assert_eq!(is_blank(value(text), text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn text_survives_the_way_out_and_back() {
        for text in ["", "a\"b\\c", "line\nbreak\u{1}", "é😀"] {
            let mut out = Vec::new();
            write_string(&mut out, text);
            assert_eq!(unescape(&out), text);
        }
    }
}
