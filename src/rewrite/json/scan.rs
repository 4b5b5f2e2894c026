//! A validating scanner: one pass that finds where each value of a message stands, and whether
//! the text can be copied as it is.
//!
//! Text that is JSON only in spirit (`NaN`, lone surrogates, a key given twice …) is not refused
//! but marked [unclean](Cleanliness::Unclean); `repair` then writes a clean copy, which is scanned
//! again. So whoever reads entries may rely on: no key twice, keys that hold no needless escape,
//! strings and numbers that capture's parser takes.

mod scalars;

use super::block::{special, BLOCK};
use super::keys::{hash, hash_of_word, word, Hashes, Novelty, Seen, Word};
use super::names::{Name, Names};
use super::value::{Entry, Malformed, Shape, Span, Value};
use crate::posthog::NESTING_LIMIT;

use scalars::behind_plain_string;
pub(super) use scalars::{fits_a_double, hex4};

/// Memory that is used again from message to message.
#[derive(Debug, Default)]
pub(in crate::rewrite) struct Scratch {
    frames: Vec<Frame>,
    hashes: Hashes,
}

impl Scratch {
    /// The memory it holds, in bytes.
    pub(in crate::rewrite) fn held(&self) -> usize {
        self.frames.capacity() * size_of::<Frame>() + self.hashes.held()
    }
}

/// Whether a text can be copied from as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) enum Cleanliness {
    Clean,
    /// It has to be repaired first.
    Unclean,
}

/// An array or object that is passed over, with what is known of its keys.
#[derive(Debug, Clone, Copy)]
struct Frame {
    container: Container,
    seen: Seen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

impl Container {
    #[inline(always)]
    fn end(self) -> u8 {
        match self {
            Self::Array => b']',
            Self::Object => b'}',
        }
    }
}

/// A cursor over one text.
pub(in crate::rewrite) struct Scanner<'t, 's> {
    text: &'t [u8],
    /// What has not been scanned yet.
    rest: &'t [u8],
    /// The arrays and objects that are open.
    depth: usize,
    /// The most that were open at once, within the value that is scanned.
    deepest: usize,
    clean: bool,
    /// Why the text is not JSON. Nothing is left of it from there on, so that all that is being
    /// scanned comes to its end, and looks here only once.
    malformed: Option<Malformed>,
    scratch: &'s mut Scratch,
}

/// A key, without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::rewrite) struct Key {
    pub(in crate::rewrite) span: Span,
    pub(in crate::rewrite) name: Name,
}

/// What is asked of the keys of an object.
trait Asked {
    /// Notes a key that fits a word.
    fn note(&mut self, scratch: &mut Scratch, word: Word, hash: u32) -> (Name, Novelty);
    /// Notes any key.
    fn note_any(&mut self, scratch: &mut Scratch, key: &[u8]) -> (Name, Novelty);
}

/// Nothing but whether one is given twice.
impl Asked for Seen {
    #[inline(always)]
    fn note(&mut self, scratch: &mut Scratch, _: Word, hash: u32) -> (Name, Novelty) {
        (Name::OTHER, scratch.hashes.note(self, hash))
    }

    fn note_any(&mut self, scratch: &mut Scratch, key: &[u8]) -> (Name, Novelty) {
        (Name::OTHER, scratch.hashes.note(self, hash(key)))
    }
}

/// Which of those with a name they are.
struct Named {
    names: Names,
    others: Seen,
}

impl Named {
    #[inline(always)]
    fn note_named(&mut self, scratch: &mut Scratch, name: Name, hash: u32) -> (Name, Novelty) {
        if name == Name::OTHER {
            return (name, scratch.hashes.note(&mut self.others, hash));
        }
        (name, self.names.note(name))
    }
}

impl Asked for Named {
    #[inline(always)]
    fn note(&mut self, scratch: &mut Scratch, word: Word, hash: u32) -> (Name, Novelty) {
        self.note_named(scratch, Name::of_word(word, hash), hash)
    }

    fn note_any(&mut self, scratch: &mut Scratch, key: &[u8]) -> (Name, Novelty) {
        let hash = hash(key);
        self.note_named(scratch, Name::of(key, hash), hash)
    }
}

/// What stands behind an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Comma,
    End,
}

/// A short key without escapes that stands here, with its colon right behind it, as nearly every
/// key is: its bytes, how many they are, and what is behind the colon.
#[inline(always)]
fn plain_key(rest: &[u8]) -> Option<(Word, usize, &[u8])> {
    let Some([b'"', after @ ..]) = rest.first_chunk::<WINDOW>() else {
        return None;
    };
    let block = after.first_chunk::<BLOCK>()?;
    // The bit behind the block stands for a key that fills it.
    let length = (special(block) | 1 << BLOCK).trailing_zeros() as usize;
    match after.get(length..length + 2) {
        Some(b"\":") => Some((word(block, length), length, rest.get(length + 3..)?)),
        _ => None,
    }
}

/// What is behind the string that stands here, if it is plain and does not end too close to the
/// end of the text.
#[inline(always)]
fn behind_quoted(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [b'"', after @ ..] => behind_plain_string(after),
        _ => None,
    }
}

/// A key, its quotes and its colon are looked at together, if the text goes on for so long.
const WINDOW: usize = BLOCK + 3;

impl<'t, 's> Scanner<'t, 's> {
    /// A scanner at the start of `text`, which must be valid UTF-8.
    pub(in crate::rewrite) fn new(text: &'t [u8], scratch: &'s mut Scratch) -> Self {
        scratch.frames.clear();
        scratch.hashes.clear();
        Self {
            text,
            rest: text,
            depth: 0,
            deepest: 0,
            clean: true,
            malformed: None,
            scratch,
        }
    }

    /// Whether all that was scanned so far can be copied as it is, if it is JSON at all.
    pub(in crate::rewrite) fn cleanliness(&self) -> Result<Cleanliness, Malformed> {
        self.judge()?;
        Ok(match self.clean {
            true => Cleanliness::Clean,
            false => Cleanliness::Unclean,
        })
    }

    /// How far the text has been scanned.
    #[inline(always)]
    pub(in crate::rewrite) fn position(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    /// The next byte after white space.
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

    /// Leaves so many bytes behind; what is passed over is there.
    #[inline(always)]
    fn skip(&mut self, bytes: usize) {
        if let Some(rest) = self.rest.get(bytes..) {
            self.rest = rest;
        }
    }

    /// Passes over this text, if the next bytes are the same.
    pub(in crate::rewrite) fn skip_same(&mut self, text: &[u8]) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Scans what comes next as a text of its own: places are counted from here on.
    pub(in crate::rewrite) fn on_its_own(&mut self, scan: impl FnOnce(&mut Self)) {
        let text = std::mem::replace(&mut self.text, self.rest);
        scan(self);
        self.text = text;
    }

    /// Takes one byte after white space, which must be this one.
    #[inline(always)]
    pub(in crate::rewrite) fn expect(&mut self, wanted: u8) -> Result<(), Malformed> {
        if self.peek() == Some(wanted) {
            self.skip(1);
            return Ok(());
        }
        Err(Malformed::Syntax)
    }

    /// Whether nothing but white space is left.
    pub(in crate::rewrite) fn at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Whether what was scanned is JSON, at least in spirit.
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

    /// Scans the object that stands here; each key is handed to `entry`, which scans the value.
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

    /// Scans the object that stands here as a value; each key is handed to `entry`, which scans
    /// the value and gives it back.
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

    /// Scans the object that stands here, whose keys are asked for by their names; each is handed
    /// to `entry`, which scans the value. Gives back the value, and the names it has.
    #[inline(always)]
    pub(in crate::rewrite) fn named_object(
        &mut self,
        entry: impl FnMut(&mut Self, Key),
    ) -> (Value, Names) {
        self.peek();
        let start = self.position();
        let mut named = Named {
            names: Names::default(),
            others: self.scratch.hashes.open(),
        };
        let depth = self.entries(&mut named, entry);
        self.close(named.others);
        (self.object_from(start, depth), named.names)
    }

    #[inline(always)]
    fn object_from(&self, start: usize, depth: u16) -> Value {
        Value {
            span: Span::new(start, self.position()),
            shape: Shape::Object,
            depth,
        }
    }

    /// The entries of the object that stands here. Says how deep it nests.
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

    /// Leaves an object. Says how deep it nests; outside of it this much was the most.
    #[inline(always)]
    fn left(&mut self, outside: usize) -> u16 {
        self.depth -= 1;
        let depth = self.deepest - self.depth;
        self.deepest = self.deepest.max(outside);
        u16::try_from(depth).unwrap_or(u16::MAX)
    }

    /// What stands behind an element: a comma, or the end of its container.
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

    /// Scans one value of any kind; if it is an object, its entries are collected in `entries`.
    pub(in crate::rewrite) fn value_with_entries(
        &mut self,
        entries: &mut Vec<Entry>,
    ) -> Result<(Value, Names), Malformed> {
        let found = self.any_with_entries(entries);
        self.judge()?;
        Ok(found)
    }

    /// The same within a value whose end has the last word on whether it is well-formed.
    #[inline(never)]
    pub(in crate::rewrite) fn any_with_entries(
        &mut self,
        entries: &mut Vec<Entry>,
    ) -> (Value, Names) {
        if self.peek() != Some(b'{') {
            return (self.any(), Names::default());
        }
        self.named_object_into(entries)
    }

    /// The same for each value of an object of which all entries are kept. What is left of the text
    /// is a variable here, since it would be memory to the compiler otherwise.
    #[inline(always)]
    fn named_object_into(&mut self, entries: &mut Vec<Entry>) -> (Value, Names) {
        let start = self.position();
        let mut named = Named {
            names: Names::default(),
            others: self.scratch.hashes.open(),
        };
        self.skip(1);
        self.open();
        let outside = std::mem::replace(&mut self.deepest, self.depth);
        if self.peek() == Some(b'}') {
            self.skip(1);
        } else {
            let end = self.text.len();
            let mut rest = self.rest;
            loop {
                let key = match plain_key(rest) {
                    Some((word, length, behind)) => {
                        let start = end - rest.len() + 1;
                        let (name, novelty) = named.note(self.scratch, word, hash_of_word(word));
                        if novelty == Novelty::Doubtful {
                            self.clean = false;
                        }
                        rest = behind;
                        let span = Span::new(start, start + length);
                        Key { span, name }
                    }
                    None => {
                        self.rest = rest;
                        let key = self.any_key(&mut named);
                        rest = self.rest;
                        key
                    }
                };
                match behind_quoted(rest) {
                    Some(behind) => {
                        let span = Span::new(end - rest.len(), end - behind.len());
                        rest = behind;
                        entries.push(Entry {
                            key: key.span,
                            value: Value {
                                span,
                                shape: Shape::Plain,
                                depth: 0,
                            },
                            name: key.name,
                        });
                    }
                    None => {
                        self.rest = rest;
                        self.other_entry(key, entries);
                        rest = self.rest;
                    }
                }
                match rest {
                    [b',', after @ ..] => rest = after,
                    _ => {
                        self.rest = rest;
                        match self.after_element(b'}') {
                            After::Comma => rest = self.rest,
                            After::End => break,
                        }
                    }
                }
            }
        }
        let depth = self.left(outside);
        self.close(named.others);
        (self.object_from(start, depth), named.names)
    }

    #[inline(never)]
    fn other_entry(&mut self, key: Key, entries: &mut Vec<Entry>) {
        let value = self.any_other();
        entries.push(Entry {
            key: key.span,
            value,
            name: key.name,
        });
    }

    /// Scans one value of any kind.
    pub(in crate::rewrite) fn value(&mut self) -> Result<Value, Malformed> {
        let value = self.any();
        self.judge()?;
        Ok(value)
    }

    /// The same within a value whose end has the last word on whether it is well-formed.
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

    #[inline(never)]
    fn any_other(&mut self) -> Value {
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

    /// A whole array or object, without recursion: how deep it may nest is decided by the input.
    #[inline(never)]
    fn container(&mut self, first: u8) -> u16 {
        let base = self.scratch.frames.len();
        let outside = self.depth;
        let mut deepest = outside + 1;
        let mut current = self.enter(first);
        let mut fresh = true;
        // A variable here, since it would be memory to the compiler otherwise.
        let mut rest = self.rest;
        loop {
            if !(fresh && self.first_of(&mut rest) == current.container.end()) {
                if current.container == Container::Object {
                    match plain_key(rest) {
                        Some((word, _, behind)) => {
                            let hashes = &mut self.scratch.hashes;
                            let novelty = hashes.note(&mut current.seen, hash_of_word(word));
                            if novelty == Novelty::Doubtful {
                                self.clean = false;
                            }
                            rest = behind;
                        }
                        None => {
                            self.rest = rest;
                            self.any_key(&mut current.seen);
                            rest = self.rest;
                        }
                    }
                }
                if let Some(behind) = behind_quoted(rest) {
                    rest = behind;
                } else {
                    let first = self.first_of(&mut rest);
                    self.rest = rest;
                    match first {
                        b'"' => drop(self.string()),
                        b'{' | b'[' => {
                            self.scratch.frames.push(current);
                            current = self.enter(first);
                            deepest = deepest.max(self.depth);
                            fresh = true;
                            rest = self.rest;
                            continue;
                        }
                        first => drop(self.bare(first)),
                    }
                    rest = self.rest;
                }
                if self.comma_or_end(&mut rest, current.container) == After::Comma {
                    fresh = false;
                    continue;
                }
            } else {
                rest = rest.get(1..).unwrap_or_default();
            }
            // The innermost container has ended, and with it any number of others.
            loop {
                self.depth -= 1;
                if current.container == Container::Object {
                    self.close(current.seen);
                }
                match self.scratch.frames.pop() {
                    Some(frame) if self.scratch.frames.len() >= base => current = frame,
                    _ => {
                        self.deepest = self.deepest.max(deepest);
                        self.rest = rest;
                        return u16::try_from(deepest - outside).unwrap_or(u16::MAX);
                    }
                }
                if self.comma_or_end(&mut rest, current.container) == After::Comma {
                    fresh = false;
                    break;
                }
            }
        }
    }

    /// The next byte of what is left, after white space; 0 at the end.
    #[inline(always)]
    fn first_of(&mut self, rest: &mut &'t [u8]) -> u8 {
        match rest.first() {
            Some(byte) if *byte > b' ' => *byte,
            _ => {
                self.rest = rest;
                let byte = self.peek_further();
                *rest = self.rest;
                byte.unwrap_or(0)
            }
        }
    }

    /// What stands behind an element.
    #[inline(always)]
    fn comma_or_end(&mut self, rest: &mut &'t [u8], container: Container) -> After {
        let (after, behind) = match rest {
            [b',', behind @ ..] => (After::Comma, behind),
            [byte, behind @ ..] if *byte == container.end() => (After::End, behind),
            _ => {
                self.rest = rest;
                let after = self.after_element(container.end());
                *rest = self.rest;
                return after;
            }
        };
        *rest = behind;
        after
    }

    #[inline(always)]
    fn enter(&mut self, first: u8) -> Frame {
        self.skip(1);
        self.open();
        Frame {
            container: match first {
                b'{' => Container::Object,
                _ => Container::Array,
            },
            seen: self.scratch.hashes.open(),
        }
    }

    #[inline(always)]
    fn open(&mut self) {
        // The envelope and its array stand around every event, and properties may move one level.
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

    /// A key with its colon. A key that may have been there before, or that holds an escape
    /// (so that it cannot be compared as bytes), makes the text unclean.
    #[inline(always)]
    fn key(&mut self, asked: &mut impl Asked) -> Key {
        let Some((word, length, rest)) = plain_key(self.rest) else {
            return self.any_key(asked);
        };
        let start = self.position() + 1;
        self.rest = rest;
        let (name, novelty) = asked.note(self.scratch, word, hash_of_word(word));
        if novelty == Novelty::Doubtful {
            self.clean = false;
        }
        let span = Span::new(start, start + length);
        Key { span, name }
    }

    #[inline(never)]
    fn any_key(&mut self, asked: &mut impl Asked) -> Key {
        if self.peek() != Some(b'"') {
            self.fail(Malformed::Syntax);
            return Key::default();
        }
        let start = self.position() + 1;
        if self.string() == Shape::Escaped {
            self.clean = false;
        }
        let span = Span::new(start, self.position() - 1);
        if self.peek() != Some(b':') {
            self.fail(Malformed::Syntax);
            return Key::default();
        }
        self.skip(1);
        let (name, novelty) = asked.note_any(self.scratch, span.of(self.text));
        if novelty == Novelty::Doubtful {
            self.clean = false;
        }
        Key { span, name }
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
