//! Scans keys.

use super::super::keys::{hash_of_word, Novelty};
use super::super::names::Name;
use super::super::span::Span;
use super::super::value::{Entry, Malformed, Shape, Value};
use super::cursor::Scanner;
use super::key_recorder::KeyRecorder;
use super::plain_key::plain_key;

/// A key, without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::rewrite) struct Key {
    pub(in crate::rewrite) span: Span,
    pub(in crate::rewrite) name: Name,
}

impl Key {
    /// Returns the entry of this key and a value.
    #[inline(always)]
    pub(in crate::rewrite) fn with(self, value: Value) -> Entry {
        Entry {
            key: self.span,
            value,
            name: self.name,
        }
    }
}

impl Scanner<'_, '_> {
    /// Scans a key and its colon. The text is unclean if the key may be a repetition, or if it contains an
    /// escape, so that its bytes cannot be compared.
    #[inline(always)]
    pub(super) fn key(&mut self, recorder: &mut impl KeyRecorder) -> Key {
        let Some((word, length, rest)) = plain_key(self.rest) else {
            return self.any_key(recorder);
        };
        let start = self.position() + 1;
        self.rest = rest;
        let (name, novelty) = recorder.note(self.state, (word, length), hash_of_word(word));
        if novelty == Novelty::Doubtful {
            self.clean = false;
        }
        let span = Span::new(start, start + length);
        Key { span, name }
    }

    #[inline(always)]
    pub(super) fn any_key(&mut self, recorder: &mut impl KeyRecorder) -> Key {
        let mut name = Name::OTHER;
        let span = self.any_key_into(recorder, &mut name);
        Key { span, name }
    }

    /// Does the same, but returns the key in two parts, so that they stay in registers.
    #[inline(never)]
    pub(super) fn any_key_into(
        &mut self,
        recorder: &mut impl KeyRecorder,
        found: &mut Name,
    ) -> Span {
        if self.peek() != Some(b'"') {
            self.fail(Malformed::Syntax);
            return Span::default();
        }
        let start = self.position() + 1;
        if self.string() == Shape::Escaped {
            self.clean = false;
        }
        let span = Span::new(start, self.position() - 1);
        if self.peek() != Some(b':') {
            self.fail(Malformed::Syntax);
            return Span::default();
        }
        self.skip(1);
        let (name, novelty) = recorder.note_any(self.state, span.of(self.text));
        if novelty == Novelty::Doubtful {
            self.clean = false;
        }
        *found = name;
        span
    }
}
