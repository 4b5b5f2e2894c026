//! A cache of objects that are often the same in the messages of many senders: the library, the
//! browser, Segment's `_metadata`, and `integrations`.
//!
//! A [`KnownObject`] stores the bytes of the last such object and the entries that the scanner found
//! in it. If the next object has the same bytes, it is not scanned again: the stored entries are
//! moved to its position. Only clean objects are stored, and only the positions and kinds of their
//! values are used.

use super::json::{Entry, Scanner, Shape, Value};

/// The bytes of an object, and the entries that the scanner found in it.
#[derive(Debug, Default)]
pub(super) struct KnownObject {
    text: Vec<u8>,
    entries: Vec<Entry>,
    value: Value,
}

/// The length of the longest object that is stored, in bytes.
const LONGEST: usize = 1024;

/// The depth of the deepest object that is stored. It is so low that the depth of the text around the
/// object does not matter.
const DEEPEST: u16 = 16;

impl KnownObject {
    /// Returns the size of the memory that it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        self.text.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Skips the next value and adds its entries to `entries`, if the value has the stored bytes.
    #[inline(always)]
    pub(super) fn pass(
        &self,
        scanner: &mut Scanner<'_, '_>,
        entries: &mut Vec<Entry>,
    ) -> Option<Value> {
        if self.text.is_empty() {
            return None;
        }
        let start = scanner.position();
        if !scanner.skip_same_value(&self.text, self.value.depth) {
            return None;
        }
        let from = self.value.span.start();
        entries.extend(self.entries.iter().map(|entry| Entry {
            key: entry.key.moved(from, start),
            value: Value {
                span: entry.value.span.moved(from, start),
                ..entry.value
            },
            name: entry.name,
        }));
        Some(Value {
            span: self.value.span.moved(from, start),
            ..self.value
        })
    }

    /// Replaces the stored object with a value of a clean text and its entries, if it is a small object.
    pub(super) fn keep(&mut self, value: Value, text: &[u8], entries: &[Entry]) {
        let written = value.of(text);
        let is_worth_it =
            value.shape == Shape::Object && value.depth <= DEEPEST && written.len() <= LONGEST;
        if is_worth_it && self.text != written {
            self.text.clear();
            self.text.extend_from_slice(written);
            self.entries.clear();
            self.entries.extend_from_slice(entries);
            self.value = value;
        }
    }
}
