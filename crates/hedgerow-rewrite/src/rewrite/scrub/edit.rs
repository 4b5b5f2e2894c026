//! Removes entries from a text or replaces them. The parts between the changes are copied in runs.

use std::ops::Range;

use crate::rewrite::json::Value;

/// A text that is being copied with changes.
pub(super) struct Edit<'e, 'o> {
    pub(super) text: &'e [u8],
    out: &'o mut Vec<u8>,
    /// The number of bytes of the text that have been copied or left out.
    done: usize,
}

impl<'e, 'o> Edit<'e, 'o> {
    pub(super) fn new(text: &'e [u8], out: &'o mut Vec<u8>) -> Self {
        Self { text, out, done: 0 }
    }

    /// Copies the text up to `to`, as far as it has not been copied yet. Returns the length of the copy.
    pub(super) fn flush(&mut self, to: usize) -> usize {
        if to > self.done {
            let run = self.text.get(self.done..to).unwrap_or_default();
            self.out.extend_from_slice(run);
            self.done = to;
        }
        self.out.len()
    }

    /// Copies the rest of the text.
    pub(super) fn finish(mut self) {
        self.flush(self.text.len());
    }

    /// Returns the position that a byte at `place`, which has not been copied yet, will have in the copy.
    pub(super) fn at(&self, place: usize) -> usize {
        self.out.len() + place.saturating_sub(self.done)
    }

    /// Returns the copy from the position `from` on.
    pub(super) fn since(&self, from: usize) -> &[u8] {
        self.out.get(from..).unwrap_or_default()
    }

    /// Replaces a value with what `write` writes.
    pub(super) fn replace(&mut self, value: Value, write: impl FnOnce(&mut Vec<u8>)) {
        self.flush(value.span.start());
        write(self.out);
        self.done = value.span.end();
    }
}

/// The state of the entries of an array or object so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Entries {
    #[default]
    None,
    /// All entries have been cut.
    Cut,
    /// At least one entry has been kept. Holds the position where the last entry ends.
    Kept(usize),
}

impl Entries {
    /// Begins the next entry, at the position `start`.
    #[inline(always)]
    pub(super) fn begin(&mut self, edit: &mut Edit<'_, '_>, start: usize) {
        if matches!(self, Self::Cut) {
            // All entries before this one were cut, so the comma before it is cut as well.
            edit.done = start;
        }
    }

    /// Keeps the entry that was begun.
    #[inline(always)]
    pub(super) fn keep(&mut self, end: usize) {
        *self = Self::Kept(end);
    }

    /// Cuts the entry that was begun.
    pub(super) fn cut(&mut self, edit: &mut Edit<'_, '_>, entry: Range<usize>) {
        match self {
            Self::None => {
                edit.flush(entry.start);
                *self = Self::Cut;
            }
            Self::Cut => {}
            Self::Kept(end) => {
                edit.flush(*end);
                *end = entry.end;
            }
        }
        edit.done = entry.end;
    }

    /// Writes a new entry after the last one, in an object whose entries begin at `begin`.
    pub(super) fn add(
        &mut self,
        edit: &mut Edit<'_, '_>,
        begin: usize,
        (key, value): (&str, &str),
    ) {
        match *self {
            Self::None => drop(edit.flush(begin)),
            Self::Cut => {}
            Self::Kept(end) => {
                edit.flush(end);
                edit.out.push(b',');
            }
        }
        for part in ["\"", key, "\":", value] {
            edit.out.extend_from_slice(part.as_bytes());
        }
        *self = Self::Kept(edit.done);
    }
}
