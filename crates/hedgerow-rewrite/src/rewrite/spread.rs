//! Rare cases of the reference: JavaScript's spread of a value that is not an object, and the caller's
//! keys that replace the context's.

use std::collections::HashSet;

use super::json::{write_string, Entry, Output, Scanner, Scratch, Shape, Value};

/// Writes the entries that JavaScript's spread makes of a value that is not an object: an array's
/// elements and a string's UTF-16 units by index, and nothing for any other value (mapping 1.8).
/// Skips the keys that `unknown_keys` contains. Each entry begins with its comma.
pub(super) fn write_spread<S: Output>(
    out: &mut S,
    (prefix, unknown_keys): (&[u8], &UnknownKeys<'_>),
    text: &[u8],
    value: Value,
) {
    let mut index = Index::of(prefix);
    let mut write = |out: &mut S, written: &[u8]| {
        if !unknown_keys.contains(index.digits()) {
            out.extend_from_slice(&index.key);
            out.extend_from_slice(written);
        }
        index.next();
    };
    match value.shape {
        Shape::Plain | Shape::Escaped => {
            let mut character_text = Vec::new();
            for unit in value.decode(text).encode_utf16() {
                // A lone surrogate is not a character; capture accepts none (posthog-ingestion 1.6).
                let character =
                    char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER);
                character_text.clear();
                write_string(&mut character_text, character.encode_utf8(&mut [0; 4]));
                write(out, &character_text);
            }
        }
        Shape::Array => {
            let text = value.of(text);
            let mut scratch = Scratch::default();
            let mut scanner = Scanner::new(text, &mut scratch);
            let mut before = scanner.expect(b'[');
            while before.is_ok() && scanner.peek() != Some(b']') {
                let Ok(element) = scanner.value() else {
                    return;
                };
                write(out, element.of(text));
                before = scanner.expect(b',');
            }
        }
        _ => {}
    }
}

/// The key of an entry with its comma and colon. It counts up in place, which is cheap: an array with
/// two bytes per element needs as many keys as it has elements.
struct Index {
    key: Vec<u8>,
    /// The position of the first digit in `key`.
    from: usize,
}

impl Index {
    const BEHIND: &'static [u8] = b"\":";

    /// Returns the key with the index 0.
    fn of(prefix: &[u8]) -> Self {
        let key = [b",\"", prefix, b"0", Self::BEHIND].concat();
        Self {
            key,
            from: 2 + prefix.len(),
        }
    }

    fn digits(&self) -> &[u8] {
        let to = self.key.len() - Self::BEHIND.len();
        self.key.get(self.from..to).unwrap_or_default()
    }

    #[inline(always)]
    fn next(&mut self) {
        let to = self.key.len() - Self::BEHIND.len();
        let digits = self.key.get_mut(self.from..to).unwrap_or_default();
        for digit in digits.iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                return;
            }
            *digit = b'0';
        }
        self.key.insert(self.from, b'1');
    }
}

/// Whether the spread of a value is certain to be longer than `limit` bytes. A key and a value for each
/// character of a long string could take twenty times the string's size, only to be deleted.
pub(super) fn spreads_beyond(value: Value, limit: usize) -> bool {
    let length = value.span.end() - value.span.start();
    match value.shape {
        // Every UTF-16 unit takes at most 3 bytes here and at least 8 bytes in the spread: `"0":"x",`.
        Shape::Plain => length / 3 > limit / 8,
        // The spread is at least as long as the value.
        Shape::Escaped | Shape::Array => length > limit,
        _ => false,
    }
}

/// The caller's keys that begin with a prefix, without that prefix.
pub(super) enum UnknownKeys<'t> {
    Few(Vec<&'t [u8]>),
    Many(HashSet<&'t [u8]>),
}

/// Up to this many comparisons are cheaper than a set, even in the worst case.
const COMPARED: usize = 4096;

impl<'t> UnknownKeys<'t> {
    /// Returns a collection without keys.
    pub(super) fn none() -> Self {
        Self::Few(Vec::new())
    }

    /// Collects the keys of `entries` that begin with `prefix`. `lookups` is the number of calls of
    /// [`contains`](Self::contains) that will follow.
    pub(super) fn with_prefix(
        prefix: &[u8],
        entries: &[Entry],
        text: &'t [u8],
        lookups: usize,
    ) -> Self {
        let keys = entries
            .iter()
            .filter_map(|entry| entry.key.of(text).strip_prefix(prefix));
        let keys: Vec<&[u8]> = keys.collect();
        if keys.len().saturating_mul(lookups) > COMPARED {
            return Self::Many(keys.into_iter().collect());
        }
        Self::Few(keys)
    }

    /// Whether one of the keys is the prefix followed by `key`.
    #[inline(always)]
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::Few(keys) if keys.is_empty() => false,
            Self::Few(keys) => keys.contains(&key),
            Self::Many(keys) => keys.contains(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_counts_on_from_nought() {
        let mut index = Index::of(b"utm_");
        for number in 0..1200 {
            assert_eq!(index.digits(), number.to_string().as_bytes());
            assert_eq!(index.key, format!(",\"utm_{number}\":").as_bytes());
            index.next();
        }
    }
}
