//! Decides which values JavaScript converts to `true`, and which strings capture regards as blank.

use super::text::{inner, unescape};
use super::value::{Shape, Value};

/// Returns whether JavaScript converts the value to `true` (mapping 1.8).
#[inline(always)]
pub(in crate::rewrite) fn is_truthy(value: Value, text: &[u8]) -> bool {
    match value.shape {
        Shape::Null | Shape::False => false,
        Shape::True | Shape::Array | Shape::Object | Shape::Escaped => true,
        // The quotes of an empty string are two bytes.
        Shape::Plain => value.span.end() - value.span.start() != 2,
        Shape::Number => is_not_zero(value.of(text)),
    }
}

#[inline(never)]
fn is_not_zero(number: &[u8]) -> bool {
    // A number without any of these digits is zero in every notation.
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

/// Returns whether a string contains only white space, by capture's definition (posthog-ingestion 1.7).
#[inline(always)]
pub(in crate::rewrite) fn is_blank(value: Value, text: &[u8]) -> bool {
    match value.shape {
        Shape::Plain => {
            // The first byte decides for nearly every string; a quote is the end of the string.
            let first = text.get(value.span.start() + 1);
            let has_graphic = first.is_some_and(|byte| byte.is_ascii_graphic() && *byte != b'"');
            !has_graphic && is_plain_blank(value.of(text))
        }
        Shape::Escaped => is_escaped_blank(value.of(text)),
        _ => false,
    }
}

#[inline(never)]
fn is_plain_blank(string: &[u8]) -> bool {
    let inside = std::str::from_utf8(inner(string));
    inside.is_ok_and(|inside| inside.trim().is_empty())
}

#[inline(never)]
fn is_escaped_blank(string: &[u8]) -> bool {
    unescape(string).trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::super::scanned;
    use super::*;

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
            assert_eq!(
                is_truthy(scanned(text), text.as_bytes()),
                expected,
                "{text}"
            );
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
            assert_eq!(is_blank(scanned(text), text.as_bytes()), expected, "{text}");
        }
    }
}
