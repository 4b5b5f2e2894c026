//! Reads and writes strings: quotes and escapes.

use super::block::plain_run;
use super::output::Output;

/// Returns the bytes between the quotes of a string, with the escapes unchanged.
pub(in crate::rewrite) fn inner(string: &[u8]) -> &[u8] {
    string
        .get(1..string.len().saturating_sub(1))
        .unwrap_or_default()
}

/// Returns bytes of a clean text, which is UTF-8, as a `str`. Validating first is much faster than
/// searching for bytes to replace.
pub(super) fn as_text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// Returns the text of a (clean) string value, with its escapes decoded.
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

/// Appends a control character as an escape.
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
        // Most texts need no escape: they are copied in one piece.
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
    use super::*;

    #[test]
    fn text_survives_the_way_out_and_back() {
        for text in ["", "a\"b\\c", "line\nbreak\u{1}", "é😀"] {
            let mut out = Vec::new();
            write_string(&mut out, text);
            assert_eq!(unescape(&out), text);
        }
    }
}
