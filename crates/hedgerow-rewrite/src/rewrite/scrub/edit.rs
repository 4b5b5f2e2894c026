//! Taking entries out of a text, and writing others in their place: what stays is copied in runs.

use std::ops::Range;

use crate::rewrite::json::Value;

/// A text of which a copy is made, with changes.
pub(super) struct Edit<'e, 'o> {
    pub(super) text: &'e [u8],
    out: &'o mut Vec<u8>,
    /// How much of the text has been copied or left out.
    done: usize,
}

impl<'e, 'o> Edit<'e, 'o> {
    pub(super) fn new(text: &'e [u8], out: &'o mut Vec<u8>) -> Self {
        Self { text, out, done: 0 }
    }

    /// Copies what has not been copied up to here; says how long the copy is then.
    pub(super) fn flush(&mut self, to: usize) -> usize {
        if to > self.done {
            let run = self.text.get(self.done..to).unwrap_or_default();
            self.out.extend_from_slice(run);
            self.done = to;
        }
        self.out.len()
    }

    /// Copies what is left.
    pub(super) fn finish(mut self) {
        self.flush(self.text.len());
    }

    /// Where in the copy a place of what has not been copied yet will be.
    pub(super) fn at(&self, place: usize) -> usize {
        self.out.len() + place.saturating_sub(self.done)
    }

    /// What has been copied from here on.
    pub(super) fn since(&self, from: usize) -> &[u8] {
        self.out.get(from..).unwrap_or_default()
    }

    /// Writes something else instead of a value.
    pub(super) fn replace(&mut self, value: Value, write: impl FnOnce(&mut Vec<u8>)) {
        self.flush(value.span.start());
        write(self.out);
        self.done = value.span.end();
    }
}

/// What has become of the entries of an array or object so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Entries {
    #[default]
    None,
    /// All of them have been cut out.
    Cut,
    /// One has been kept; where the last one ends.
    Kept(usize),
}

impl Entries {
    /// Another one begins here.
    #[inline(always)]
    pub(super) fn begin(&mut self, edit: &mut Edit<'_, '_>, start: usize) {
        if matches!(self, Self::Cut) {
            // It is the first one now: the comma before it goes as well.
            edit.done = start;
        }
    }

    /// It stays.
    #[inline(always)]
    pub(super) fn keep(&mut self, end: usize) {
        *self = Self::Kept(end);
    }

    /// It goes.
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

    /// Writes another entry behind the last one, in an object whose entries begin here.
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
