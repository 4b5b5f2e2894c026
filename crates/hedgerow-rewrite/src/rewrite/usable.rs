//! Decides whether a value is usable: a key can be present without a real value.
//!
//! SDKs write placeholders for values that they do not have: null (analytics-elixir), an empty text
//! (C#, Swift), an empty array for an object (PHP), the text `undefined` (analytics-kotlin), and
//! the text that their language prints for nothing. A key with a placeholder counts as missing.

use std::borrow::Cow;
use std::net::IpAddr;

use super::json::{inner, Shape, Value};

/// The placeholders that languages print for nothing, in upper or lower case.
const NOTHING_IN_ANY_CASE: &[&str] = &["undefined", "null", "none"];

/// The placeholders that languages print for nothing, in exactly this case.
pub(super) const NOTHING: &[&str] = &["nil", "<nil>", "NaN", "(null)", "<null>", "[object Object]"];

/// The length of the longest placeholder, in bytes.
const LONGEST: usize = 15;

/// Returns a text without the space around it. Hardly any text has such space, so the function first
/// checks the text's first and last byte.
#[inline]
pub(super) fn trimmed(text: &str) -> &str {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) if first.is_ascii_graphic() && last.is_ascii_graphic() => text,
        _ => text.trim(),
    }
}

/// Whether a text is blank or a placeholder.
pub(super) fn is_nothing(text: &str) -> bool {
    let text = trimmed(text);
    text.is_empty() || is_placeholder(text)
}

/// Whether a text without space around it is a placeholder with an exact case. Nothing else has such
/// a name, so the text cannot be an id either.
pub(super) fn is_printed_nothing(text: &str) -> bool {
    NOTHING.contains(&text)
}

/// Whether a text without space around it is a placeholder.
fn is_placeholder(text: &str) -> bool {
    text.len() <= LONGEST
        && (is_printed_nothing(text)
            || NOTHING_IN_ANY_CASE
                .iter()
                .any(|nothing| text.eq_ignore_ascii_case(nothing)))
}

/// Whether a string's first and last byte and its length alone show that it is usable: it has no
/// escapes and no space around it, and no placeholder has its length or begins with its first byte.
/// This check decides most strings without reading the bytes between their ends.
#[inline(always)]
fn is_clear_text(value: Value, source: &[u8]) -> bool {
    let inside = match value.shape {
        Shape::Plain => inner(value.of(source)),
        _ => return false,
    };
    let (Some(first), Some(last)) = (inside.first(), inside.last()) else {
        return false;
    };
    // The lengths of the placeholders, as a set of bits.
    const LENGTHS: u32 = {
        let mut lengths = 0;
        let mut rest = NOTHING_IN_ANY_CASE;
        while let [nothing, others @ ..] = rest {
            lengths |= 1 << nothing.len();
            rest = others;
        }
        let mut rest = NOTHING;
        while let [nothing, others @ ..] = rest {
            lengths |= 1 << nothing.len();
            rest = others;
        }
        lengths
    };
    let is_otherwise_long = inside.len() > LONGEST || LENGTHS >> inside.len() & 1 == 0;
    let begins_otherwise = !matches!(first, b'u' | b'U' | b'n' | b'N' | b'<' | b'(' | b'[');
    first.is_ascii_graphic() && last.is_ascii_graphic() && (begins_otherwise || is_otherwise_long)
}

/// Returns the text of a string, or none if the value is not a string, is blank or is a placeholder.
pub(super) fn text(value: Value, source: &[u8]) -> Option<Cow<'_, str>> {
    if is_clear_text(value, source) {
        return Some(value.decode(source));
    }
    let decoded = match value.shape {
        Shape::Plain | Shape::Escaped => value.decode(source),
        _ => return None,
    };
    (!is_nothing(&decoded)).then_some(decoded)
}

/// The same as [`text`] for a source that is known to be UTF-8.
pub(super) fn text_of_str(value: Value, source: &str) -> Option<Cow<'_, str>> {
    if is_clear_text(value, source.as_bytes()) {
        return Some(value.decode_str(source));
    }
    text(value, source.as_bytes())
}

/// Whether a value is a usable text.
#[inline]
pub(super) fn is_text(value: Value, source: &[u8]) -> bool {
    is_clear_text(value, source) || has_text(value, source)
}

#[inline(never)]
fn has_text(value: Value, source: &[u8]) -> bool {
    text(value, source).is_some()
}

/// Whether a value is a usable text or a number: clients send versions and names as either.
pub(super) fn is_word(value: Value, source: &[u8]) -> bool {
    value.shape == Shape::Number || is_text(value, source)
}

/// Whether a value is a placeholder text. A blank text is not one.
pub(super) fn is_undefined_text(value: Value, source: &[u8]) -> bool {
    value.is_string()
        && !is_clear_text(value, source)
        && is_placeholder(value.decode(source).trim())
}

/// Whether a value is null, a blank text or a placeholder text.
#[inline(always)]
pub(super) fn is_missing(value: Value, source: &[u8]) -> bool {
    !is_clear_text(value, source) && is_missing_after_all(value, source)
}

#[inline(never)]
fn is_missing_after_all(value: Value, source: &[u8]) -> bool {
    value.shape == Shape::Null || value.is_string() && !has_text(value, source)
}

/// Whether a value is an object that is not empty. PHP writes an empty object as `[]`.
pub(super) fn is_object(value: Value, source: &[u8]) -> bool {
    value.shape == Shape::Object && !is_empty(value, source)
}

/// Whether a value is an empty array or object.
pub(super) fn is_empty(value: Value, source: &[u8]) -> bool {
    let inside = inner(value.of(source)).trim_ascii();
    matches!(value.shape, Shape::Array | Shape::Object) && inside.is_empty()
}

/// Whether a value is an IP address whose location PostHog can look up. For 127.0.0.1 and 192.168.*
/// PostHog uses a place in Sweden (posthog-ingestion 2.3), and for other private addresses no place.
pub(super) fn is_address(value: Value, source: &[u8]) -> bool {
    let usable_text = text(value, source);
    usable_text
        .and_then(|address| address.trim().parse::<IpAddr>().ok())
        .is_some_and(has_place)
}

fn has_place(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let inner = address.is_private() || address.is_loopback() || address.is_link_local();
            !inner && !address.is_unspecified()
        }
        IpAddr::V6(address) => {
            let inner = address.is_unique_local() || address.is_unicast_link_local();
            !inner && !address.is_loopback() && !address.is_unspecified()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::scanned;
    use super::*;

    #[test]
    fn texts_for_a_missing_value_count_as_missing() {
        for nothing in [
            "null",
            "true",
            "false",
            "0",
            "[]",
            "{}",
            "[1]",
            r#""""#,
            r#"" ""#,
            r#""\t\n""#,
            r#""undefined""#,
            r#""Undefined""#,
            r#"" undefined ""#,
            r#""null""#,
            r#""NULL""#,
            r#""None""#,
            r#""nil""#,
            r#""<nil>""#,
            r#""NaN""#,
            r#""(null)""#,
            r#""<null>""#,
            r#""[object Object]""#,
            r#""\u006eull""#,
        ] {
            assert!(!is_text(scanned(nothing), nothing.as_bytes()), "{nothing}");
        }
        for something in [
            r#""a""#,
            r#""0""#,
            r#""false""#,
            r#""unknown""#,
            r#""Nan""#,
            r#""undefined behaviour""#,
            r#""\u00e9""#,
        ] {
            let (value, text) = (scanned(something), something.as_bytes());
            assert!(is_text(value, text) && is_word(value, text), "{something}");
        }
        assert!(is_word(scanned("7"), b"7") && !is_text(scanned("7"), b"7"));
    }

    #[test]
    fn the_check_of_a_strings_ends_matches_the_check_of_the_whole() {
        let words = NOTHING_IN_ANY_CASE.iter().chain(NOTHING).copied();
        let others = [
            "",
            "x",
            "unix",
            "Nan",
            "none of them",
            "[0]",
            "undefined undefined",
            "é",
        ];
        for word in words.chain(others) {
            for word in [word.to_owned(), word.to_uppercase(), word.to_lowercase()] {
                for before in ["", " ", "\u{a0}", "\u{2003}", "x", "<"] {
                    for after in ["", " ", "                ", "\u{a0}", "\u{feff}", ">"] {
                        let padded = format!("{before}{word}{after}");
                        let json = format!("\"{padded}\"");
                        let (value, source) = (scanned(&json), json.as_bytes());
                        assert_eq!(is_text(value, source), !is_nothing(&padded), "{json}");
                        let text = text(value, source);
                        let expected = (!is_nothing(&padded)).then_some(padded.as_str());
                        assert_eq!(text.as_deref(), expected, "{json}");
                        let undefined = is_placeholder(padded.trim());
                        assert_eq!(is_undefined_text(value, source), undefined, "{json}");
                        let blank = crate::rewrite::json::is_blank(value, source);
                        assert_eq!(blank, padded.trim().is_empty(), "{json}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_object_is_one_with_something_in_it() {
        for (text, is) in [
            ("{}", false),
            ("{ }", false),
            ("[]", false),
            ("[1]", false),
            ("null", false),
            (r#""a""#, false),
            (r#"{"a":null}"#, true),
        ] {
            assert_eq!(is_object(scanned(text), text.as_bytes()), is, "{text}");
        }
        assert!(is_empty(scanned("[ ]"), b"[ ]") && !is_empty(scanned("[0]"), b"[0]"));
        assert!(!is_empty(scanned(r#""""#), br#""""#));
    }

    #[test]
    fn an_address_is_one_that_can_be_looked_up() {
        for (text, is) in [
            (r#""203.0.113.7""#, true),
            (r#"" 203.0.113.7 ""#, true),
            (r#""2001:db8::7""#, true),
            (r#""::ffff:203.0.113.7""#, true),
            (r#""172.32.0.1""#, true),
            (r#""0.0.0.0""#, false),
            (r#""127.0.0.1""#, false),
            (r#"" 192.168.1.4""#, false),
            (r#""10.0.0.1""#, false),
            (r#""172.16.0.1""#, false),
            (r#""169.254.1.1""#, false),
            (r#""::1""#, false),
            (r#""::""#, false),
            (r#""::ffff:127.0.0.1""#, false),
            (r#""fd00::1""#, false),
            (r#""fe80::1""#, false),
            (r#""203.0.113.7:443""#, false),
            (r#""203.0.113.7, 10.0.0.1""#, false),
            (r#""unknown""#, false),
            (r#""undefined""#, false),
            (r#""""#, false),
            ("null", false),
            ("false", false),
            ("0", false),
            ("3405803783", false),
            ("{}", false),
        ] {
            assert_eq!(is_address(scanned(text), text.as_bytes()), is, "{text}");
        }
    }
}
