//! Rare corners of the reference: what JavaScript's spread makes of a value that is no object,
//! and keys of the caller's that stand in the way of the context's.

use std::collections::HashSet;

use super::json::{write_string, Entry, Scanner, Scratch, Shape, Sink, Value};

/// Writes what spreading a value that is not an object yields: an array's elements and a string's
/// UTF-16 units by index, and nothing of anything else (mapping 1.8). What strangers hold stays
/// theirs. Each entry begins with its comma.
pub(super) fn write_spread<S: Sink>(
    out: &mut S,
    (prefix, strangers): (&[u8], &UnknownKeys<'_>),
    text: &[u8],
    value: Value,
) {
    let write = |out: &mut S, index: usize, written: &[u8]| {
        let index = index.to_string();
        if strangers.hold(index.as_bytes()) {
            return;
        }
        out.extend_from_slice(b",\"");
        out.extend_from_slice(prefix);
        out.extend_from_slice(index.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(written);
    };
    match value.shape {
        Shape::Plain | Shape::Escaped => {
            let mut sign_text = Vec::new();
            for (index, unit) in value.says(text).encode_utf16().enumerate() {
                // Half of a character cannot stand alone; capture takes none (posthog-ingestion 1.6).
                let sign = char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER);
                sign_text.clear();
                write_string(&mut sign_text, sign.encode_utf8(&mut [0; 4]));
                write(out, index, &sign_text);
            }
        }
        Shape::Array => {
            let text = value.of(text);
            let mut scratch = Scratch::default();
            let mut scanner = Scanner::new(text, &mut scratch);
            let mut index = 0;
            let mut before = scanner.expect(b'[');
            while before.is_ok() && scanner.peek() != Some(b']') {
                let Ok(element) = scanner.value() else {
                    return;
                };
                write(out, index, element.of(text));
                index += 1;
                before = scanner.expect(b',');
            }
        }
        _ => {}
    }
}

/// Whether spreading this value gives more than so many bytes for certain: a key and a value for
/// each character of a long string could take twenty times its size only to be thrown away.
pub(super) fn spreads_beyond(value: Value, limit: usize) -> bool {
    let length = value.span.end() - value.span.start();
    match value.shape {
        // At least 8 bytes, `"0":"x",`, for at most 3.
        Shape::Plain => length / 3 > limit / 8,
        // At least as many as there are.
        Shape::Escaped | Shape::Array => length > limit,
        _ => false,
    }
}

/// The caller's keys that begin with a prefix, to be asked for by what follows it.
pub(super) enum UnknownKeys<'t> {
    Few(Vec<&'t [u8]>),
    Many(HashSet<&'t [u8]>),
}

/// So many comparisons are cheaper than a set, and cannot be made to hurt.
const COMPARED: usize = 4096;

impl<'t> UnknownKeys<'t> {
    /// None at all.
    pub(super) fn none() -> Self {
        Self::Few(Vec::new())
    }

    /// The keys of `entries`; `questions` is how often [`hold`](Self::hold) will be asked.
    pub(super) fn with_prefix(
        prefix: &[u8],
        entries: &[Entry],
        text: &'t [u8],
        questions: usize,
    ) -> Self {
        let keys = entries
            .iter()
            .filter_map(|entry| entry.key.of(text).strip_prefix(prefix));
        let keys: Vec<&[u8]> = keys.collect();
        if keys.len().saturating_mul(questions) > COMPARED {
            return Self::Many(keys.into_iter().collect());
        }
        Self::Few(keys)
    }

    /// Whether one of them is the prefix and this.
    #[inline(always)]
    pub(super) fn hold(&self, key: &[u8]) -> bool {
        match self {
            Self::Few(keys) if keys.is_empty() => false,
            Self::Few(keys) => keys.contains(&key),
            Self::Many(keys) => keys.contains(key),
        }
    }
}
