//! Objects that are the same in the messages of all senders: which library it was, which
//! browser, Segment's own books, and which destinations are switched on and off.
//!
//! The last one of each is remembered as it was written. One that is the same, byte for byte, need not
//! be scanned again: what was found in it is found where it stands now. Only what was clean is
//! remembered, and nothing of it but where its values stand is used.

use super::json::{Entry, Scanner, Shape, Value};

/// An object as it was written, and what was found in it.
#[derive(Debug, Default)]
pub(super) struct KnownObject {
    text: Vec<u8>,
    entries: Vec<Entry>,
    value: Value,
}

/// The longest that is remembered, in bytes.
const LONGEST: usize = 1024;

/// The deepest that is remembered: how deep the text around it may nest is no matter then.
const DEEPEST: u16 = 16;

impl KnownObject {
    /// The memory it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        self.text.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Passes over the value that stands here, if it is the one that is known; its entries are added.
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

    /// Remembers a value of a clean text instead, and its entries.
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
