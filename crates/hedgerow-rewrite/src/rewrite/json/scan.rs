//! A validating scanner: in one pass it finds the position of each value of a message, and checks
//! whether the text can be copied unchanged.
//!
//! Text that is almost JSON (`NaN`, lone surrogates, a repeated key …) is not refused but marked
//! [unclean](Cleanliness::Unclean); `repair` then writes a clean copy, which is scanned again. So
//! readers of entries can rely on this: no key is repeated, keys have no needless escapes, and
//! capture's parser accepts all strings and numbers.

mod asked;
mod container;
mod entries;
mod flat;
mod forms;
mod habits;
mod scalars;

use super::keys::{hash_of_word, Hashes, Novelty, Seen};
use super::names::{Name, Names};
use super::span::Span;
use super::value::{Entry, Malformed, Shape, Value};
use crate::posthog::NESTING_LIMIT;

use asked::{plain_key, Asked};
use container::SkippedContainer;
pub(in crate::rewrite) use entries::Takes;
pub(in crate::rewrite) use flat::{find_flat_key, Sought};
pub(in crate::rewrite) use habits::Whose;
use habits::{Habits, Lessons};
use scalars::behind_plain_string;
pub(super) use scalars::{fits_a_double, hex4};

/// Memory that is reused for each message.
#[derive(Debug, Default)]
pub(in crate::rewrite) struct Scratch {
    work: Work,
    habits: Habits,
}

/// The part of the memory that changes while a text is scanned.
#[derive(Debug, Default)]
struct Work {
    frames: Vec<SkippedContainer>,
    hashes: Hashes,
    lessons: Lessons,
}

impl Scratch {
    /// Returns the memory that it holds, in bytes.
    pub(in crate::rewrite) fn held(&self) -> usize {
        let work = &self.work;
        work.frames.capacity() * size_of::<SkippedContainer>()
            + work.hashes.held()
            + work.lessons.held()
            + self.habits.held()
    }
}

/// Whether a text can be copied unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) enum Cleanliness {
    Clean,
    /// The text must be repaired first.
    Unclean,
}

/// A cursor over one text.
pub(in crate::rewrite) struct Scanner<'t, 's> {
    text: &'t [u8],
    /// The bytes that have not been scanned yet.
    rest: &'t [u8],
    /// The number of arrays and objects that are open.
    depth: usize,
    /// The most that were open at once within the current value.
    deepest: usize,
    clean: bool,
    /// Why the text is not JSON. `rest` is then empty, so that every scan ends and needs to check this
    /// field only once.
    malformed: Option<Malformed>,
    scratch: &'s mut Work,
    habits: &'s Habits,
}

/// A key, without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::rewrite) struct Key {
    pub(in crate::rewrite) span: Span,
    pub(in crate::rewrite) name: Name,
}

/// What follows an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Comma,
    End,
}

impl<'t, 's> Scanner<'t, 's> {
    /// Creates a scanner at the start of `text`, which must be valid UTF-8.
    pub(in crate::rewrite) fn new(text: &'t [u8], scratch: &'s mut Scratch) -> Self {
        let Scratch { work, habits } = scratch;
        work.frames.clear();
        work.hashes.clear();
        habits.learn(&mut work.lessons);
        Self {
            text,
            rest: text,
            depth: 0,
            deepest: 0,
            clean: true,
            malformed: None,
            scratch: work,
            habits,
        }
    }

    /// Returns whether everything scanned so far can be copied unchanged, or an error if it is not JSON.
    pub(in crate::rewrite) fn cleanliness(&self) -> Result<Cleanliness, Malformed> {
        self.judge()?;
        Ok(match self.clean {
            true => Cleanliness::Clean,
            false => Cleanliness::Unclean,
        })
    }

    /// Returns the offset of the next byte in the text.
    #[inline(always)]
    pub(in crate::rewrite) fn position(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    /// Returns the bytes that have not been scanned yet.
    #[inline(always)]
    pub(in crate::rewrite) fn rest(&self) -> &'t [u8] {
        self.rest
    }

    /// Skips white space and returns the next byte, without skipping it.
    #[inline(always)]
    pub(in crate::rewrite) fn peek(&mut self) -> Option<u8> {
        match self.rest.first() {
            Some(byte) if *byte > b' ' => Some(*byte),
            _ => self.peek_further(),
        }
    }

    #[inline(never)]
    fn peek_further(&mut self) -> Option<u8> {
        while let [byte, rest @ ..] = self.rest {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.rest = rest;
        }
        None
    }

    /// Skips this many bytes, which the caller has checked.
    #[inline(always)]
    fn skip(&mut self, bytes: usize) {
        if let Some(rest) = self.rest.get(bytes..) {
            self.rest = rest;
        }
    }

    /// Skips the next bytes if they equal `text`, and returns whether they do.
    pub(in crate::rewrite) fn skip_same(&mut self, text: &[u8]) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Skips the next bytes if they equal `text`, which is a value of this depth. Returns whether they
    /// do.
    #[inline(always)]
    pub(in crate::rewrite) fn skip_same_value(&mut self, text: &[u8], depth: u16) -> bool {
        let is_same = self.skip_same(text);
        if is_same {
            self.deepest = self.deepest.max(self.depth + usize::from(depth));
        }
        is_same
    }

    /// Scans the rest as a separate text: offsets are counted from the current position.
    pub(in crate::rewrite) fn on_its_own(&mut self, scan: impl FnOnce(&mut Self)) {
        let text = std::mem::replace(&mut self.text, self.rest);
        scan(self);
        self.text = text;
    }

    /// Skips white space and the next byte, which must be `wanted`.
    #[inline(always)]
    pub(in crate::rewrite) fn expect(&mut self, wanted: u8) -> Result<(), Malformed> {
        if self.peek() == Some(wanted) {
            self.skip(1);
            return Ok(());
        }
        Err(Malformed::Syntax)
    }

    /// Whether only white space is left.
    pub(in crate::rewrite) fn at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Returns an error if the scanned text is not even almost JSON.
    #[inline(always)]
    fn judge(&self) -> Result<(), Malformed> {
        match self.malformed {
            None => Ok(()),
            Some(malformed) => Err(malformed),
        }
    }

    #[inline(never)]
    fn fail(&mut self, malformed: Malformed) {
        self.malformed.get_or_insert(malformed);
        self.rest = &[];
    }

    /// Scans the object at the position. Calls `entry` with each key, and `entry` scans the value.
    pub(in crate::rewrite) fn object(
        &mut self,
        mut entry: impl FnMut(&mut Self, Span) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut seen = self.scratch.hashes.open();
        self.entries(&mut seen, |scanner, key| {
            if let Err(malformed) = entry(scanner, key.span) {
                scanner.fail(malformed);
            }
        });
        self.close(seen);
        self.judge()
    }

    /// Scans the object at the position and returns it as a value. Calls `entry` with each key, and
    /// `entry` scans the value and returns it.
    #[inline(always)]
    pub(in crate::rewrite) fn object_value(
        &mut self,
        mut entry: impl FnMut(&mut Self, Span) -> Result<Value, Malformed>,
    ) -> Result<Value, Malformed> {
        self.peek();
        let start = self.position();
        let mut seen = self.scratch.hashes.open();
        let depth = self.entries(&mut seen, |scanner, key| {
            if let Err(malformed) = entry(scanner, key.span) {
                scanner.fail(malformed);
            }
        });
        self.close(seen);
        self.judge()?;
        Ok(self.object_from(start, depth))
    }

    #[inline(always)]
    fn object_from(&self, start: usize, depth: u16) -> Value {
        Value {
            span: Span::new(start, self.position()),
            shape: Shape::Object,
            depth,
        }
    }

    /// Scans the entries of the object at the position. Returns its depth.
    #[inline(always)]
    fn entries(&mut self, asked: &mut impl Asked, mut entry: impl FnMut(&mut Self, Key)) -> u16 {
        if self.peek() != Some(b'{') {
            self.fail(Malformed::Syntax);
            return 0;
        }
        self.skip(1);
        self.open();
        let outside = std::mem::replace(&mut self.deepest, self.depth);
        if self.peek() == Some(b'}') {
            self.skip(1);
        } else {
            loop {
                let key = self.key(asked);
                entry(self, key);
                match self.rest {
                    [b',', after @ ..] => self.rest = after,
                    _ => match self.after_element(b'}') {
                        After::Comma => {}
                        After::End => break,
                    },
                }
            }
        }
        self.left(outside)
    }

    /// Leaves an object and returns its depth. `outside` is the value of `deepest` before the object.
    #[inline(always)]
    fn left(&mut self, outside: usize) -> u16 {
        self.depth -= 1;
        let depth = self.deepest - self.depth;
        self.deepest = self.deepest.max(outside);
        u16::try_from(depth).unwrap_or(u16::MAX)
    }

    /// Skips what follows an element: a comma, or the end of its container.
    #[inline(always)]
    fn after_element(&mut self, end: u8) -> After {
        match self.peek() {
            Some(b',') => {
                self.skip(1);
                After::Comma
            }
            Some(byte) if byte == end => {
                self.skip(1);
                After::End
            }
            _ => {
                self.fail(Malformed::Syntax);
                After::End
            }
        }
    }

    /// Scans one value of any kind. If it is an object, collects its entries in `entries`.
    pub(in crate::rewrite) fn value_with_entries(
        &mut self,
        entries: &mut Vec<Entry>,
    ) -> Result<(Value, Names), Malformed> {
        let found = self.value_with_entries_unchecked(Whose::OTHER, entries);
        self.judge()?;
        Ok(found)
    }

    /// Does the same without a check for errors; the caller checks at the end of the outer value.
    #[inline(never)]
    pub(in crate::rewrite) fn value_with_entries_unchecked(
        &mut self,
        whose: Whose,
        entries: &mut Vec<Entry>,
    ) -> (Value, Names) {
        if self.peek() != Some(b'{') {
            return (self.any(), Names::default());
        }
        self.named_object(whose, entries)
    }

    /// Scans one value of any kind.
    pub(in crate::rewrite) fn value(&mut self) -> Result<Value, Malformed> {
        let value = self.any();
        self.judge()?;
        Ok(value)
    }

    /// Does the same without a check for errors; the caller checks at the end of the outer value.
    #[inline(always)]
    pub(in crate::rewrite) fn any(&mut self) -> Value {
        // Most values are strings.
        if let [b'"', after @ ..] = self.rest {
            if let Some(rest) = behind_plain_string(after) {
                let span = Span::new(self.position(), self.text.len() - rest.len());
                self.rest = rest;
                return Value {
                    span,
                    shape: Shape::Plain,
                    depth: 0,
                };
            }
        }
        self.any_other()
    }

    /// Skips `null`, if it follows directly.
    #[inline(always)]
    pub(in crate::rewrite) fn null(&mut self) -> Option<Value> {
        let behind = self.rest.strip_prefix(b"null")?;
        let start = self.position();
        self.rest = behind;
        Some(Value {
            span: Span::new(start, start + 4),
            shape: Shape::Null,
            depth: 0,
        })
    }

    #[inline(never)]
    pub(in crate::rewrite) fn any_other(&mut self) -> Value {
        self.other()
    }

    /// Scans a value that may be something else than a plain string.
    #[inline(always)]
    fn other(&mut self) -> Value {
        let first = self.peek().unwrap_or(0);
        let start = self.position();
        let (shape, depth) = match first {
            b'"' => (self.string(), 0),
            b'{' => (Shape::Object, self.container(first)),
            b'[' => (Shape::Array, self.container(first)),
            _ => (self.bare(first), 0),
        };
        Value {
            span: Span::new(start, self.position()),
            shape,
            depth,
        }
    }

    #[inline(always)]
    fn open(&mut self) {
        // `EventPlan::check` applies the exact limit: the envelope and its array are around every
        // event, and properties may move one level.
        if self.depth >= NESTING_LIMIT {
            self.fail(Malformed::TooDeep);
        }
        self.depth += 1;
    }

    #[inline(always)]
    fn close(&mut self, seen: Seen) {
        if self.scratch.hashes.close(seen) == Novelty::Doubtful {
            self.clean = false;
        }
    }

    /// Scans a key and its colon. The text is unclean if the key may be a repetition, or if it contains an
    /// escape, so that its bytes cannot be compared.
    #[inline(always)]
    fn key(&mut self, asked: &mut impl Asked) -> Key {
        let Some((word, length, rest)) = plain_key(self.rest) else {
            return self.any_key(asked);
        };
        let start = self.position() + 1;
        self.rest = rest;
        let (name, novelty) = asked.note(self.scratch, (word, length), hash_of_word(word));
        if novelty == Novelty::Doubtful {
            self.clean = false;
        }
        let span = Span::new(start, start + length);
        Key { span, name }
    }

    #[inline(always)]
    fn any_key(&mut self, asked: &mut impl Asked) -> Key {
        let mut name = Name::OTHER;
        let span = self.any_key_into(asked, &mut name);
        Key { span, name }
    }

    /// Does the same, but returns the key in two parts, so that they stay in registers.
    #[inline(never)]
    fn any_key_into(&mut self, asked: &mut impl Asked, its: &mut Name) -> Span {
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
        let (name, novelty) = asked.note_any(self.scratch, span.of(self.text));
        if novelty == Novelty::Doubtful {
            self.clean = false;
        }
        *its = name;
        span
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
