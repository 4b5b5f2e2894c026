//! A validating scanner: one pass that finds where each value of a message stands, and whether
//! the text can be copied as it is.
//!
//! Text that is JSON only in spirit (`NaN`, lone surrogates, a key given twice …) is not refused
//! but marked [unclean](Cleanliness::Unclean); `repair` then writes a clean copy, which is scanned
//! again. So whoever reads entries may rely on: no key twice, keys that hold no needless escape,
//! strings and numbers that capture's parser takes.

use super::block::{plain_run, special, BLOCK};
use super::keys::{hash, hash_of_word, word, Hashes, Novelty, Seen, Word};
use super::names::{Name, Names};
use super::value::{Entry, Malformed, Shape, Span, Value};
use crate::posthog::NESTING_LIMIT;

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
        self.named_object(|scanner, key| {
            let value = scanner.any();
            entries.push(Entry {
                key: key.span,
                value,
                name: key.name,
            });
        })
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

    /// The string whose opening quote stands here.
    #[inline(always)]
    fn string(&mut self) -> Shape {
        self.skip(1);
        if let Some(rest) = behind_plain_string(self.rest) {
            self.rest = rest;
            return Shape::Plain;
        }
        self.rest_of_string()
    }

    #[inline(always)]
    fn bare(&mut self, first: u8) -> Shape {
        match first {
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word(b"true", Shape::True),
            b'f' => self.word(b"false", Shape::False),
            b'n' => self.word(b"null", Shape::Null),
            // What Python's json module writes; `repair` makes it null, as JavaScript would.
            b'N' => self.not_a_number(b"NaN"),
            b'I' => self.not_a_number(b"Infinity"),
            _ => {
                self.fail(Malformed::Syntax);
                Shape::Null
            }
        }
    }

    #[inline(always)]
    fn word(&mut self, word: &[u8], shape: Shape) -> Shape {
        match self.rest.strip_prefix(word) {
            Some(rest) => self.rest = rest,
            None => self.fail(Malformed::Syntax),
        }
        shape
    }

    fn not_a_number(&mut self, word: &[u8]) -> Shape {
        self.clean = false;
        self.word(word, Shape::Null)
    }

    /// A whole array or object, without recursion: how deep it may nest is decided by the input.
    #[inline(never)]
    fn container(&mut self, first: u8) -> u16 {
        let base = self.scratch.frames.len();
        let outside = self.depth;
        let mut deepest = outside + 1;
        let mut current = self.enter(first);
        let mut fresh = true;
        loop {
            if !(fresh && self.peek() == Some(current.container.end())) {
                if current.container == Container::Object {
                    self.key(&mut current.seen);
                }
                match self.peek() {
                    Some(b'"') => drop(self.string()),
                    Some(byte @ (b'{' | b'[')) => {
                        self.scratch.frames.push(current);
                        current = self.enter(byte);
                        deepest = deepest.max(self.depth);
                        fresh = true;
                        continue;
                    }
                    byte => drop(self.bare(byte.unwrap_or(0))),
                }
                if self.after_element(current.container.end()) == After::Comma {
                    fresh = false;
                    continue;
                }
            } else {
                self.skip(1);
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
                        return u16::try_from(deepest - outside).unwrap_or(u16::MAX);
                    }
                }
                if self.after_element(current.container.end()) == After::Comma {
                    fresh = false;
                    break;
                }
            }
        }
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
        let Some([b'"', after @ ..]) = self.rest.first_chunk::<WINDOW>() else {
            return self.any_key(asked);
        };
        let Some(block) = after.first_chunk::<BLOCK>() else {
            return self.any_key(asked);
        };
        // The bit behind the block stands for a key that fills it.
        let length = (special(block) | 1 << BLOCK).trailing_zeros() as usize;
        // Nearly every key is short, plain, and has its colon right behind it.
        let behind = after.get(length..length + 2);
        let (Some(b"\":"), Some(rest)) = (behind, self.rest.get(length + 3..)) else {
            return self.any_key(asked);
        };
        let start = self.position() + 1;
        self.rest = rest;
        let word = word(block, length);
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

    /// The rest of a string that is not plain, or that ends too close to the end of the text.
    #[inline(never)]
    fn rest_of_string(&mut self) -> Shape {
        let mut shape = Shape::Plain;
        loop {
            self.skip(plain_run(self.rest));
            match self.rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return shape;
                }
                [b'\\', ..] => {
                    shape = Shape::Escaped;
                    self.escape();
                }
                [_, rest @ ..] => {
                    // A control character that should have been escaped: `repair` does it.
                    self.clean = false;
                    self.rest = rest;
                }
                [] => {
                    self.fail(Malformed::Syntax);
                    return shape;
                }
            }
        }
    }

    fn escape(&mut self) {
        match self.rest.get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.skip(2),
            Some(b'u') => {
                let Some(unit) = hex4(self.rest, 2) else {
                    return self.fail(Malformed::Syntax);
                };
                self.skip(6);
                match unit {
                    0xd800..=0xdbff => {
                        let pair = self.rest.starts_with(b"\\u");
                        match hex4(self.rest, 2) {
                            Some(0xdc00..=0xdfff) if pair => self.skip(6),
                            // Half a character (segment-tracking 2.7).
                            _ => self.clean = false,
                        }
                    }
                    0xdc00..=0xdfff => self.clean = false,
                    _ => {}
                }
            }
            _ => self.fail(Malformed::Syntax),
        }
    }

    #[inline(always)]
    fn number(&mut self) -> Shape {
        let text = self.rest;
        match text {
            [b'-', b'I', ..] => {
                self.skip(1);
                self.not_a_number(b"Infinity")
            }
            _ => {
                match behind_number(text) {
                    None => self.fail(Malformed::Syntax),
                    Some((rest, size)) => {
                        self.rest = rest;
                        let length = text.len() - rest.len();
                        let number = text.get(..length).unwrap_or_default();
                        if (size == Size::Any || length > 300) && !fits_a_double(number) {
                            self.clean = false;
                        }
                    }
                }
                Shape::Number
            }
        }
    }
}

/// What is known of a number's size by its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    /// As large as it has digits.
    OfItsDigits,
    /// It has an exponent.
    Any,
}

/// What stands behind a number.
#[inline(always)]
fn behind_number(text: &[u8]) -> Option<(&[u8], Size)> {
    let mut size = Size::OfItsDigits;
    let mut rest = match text.strip_prefix(b"-").unwrap_or(text) {
        [b'0', after @ ..] => after,
        whole => behind_digits(whole)?,
    };
    if let [b'.', after @ ..] = rest {
        rest = behind_digits(after)?;
    }
    if let [b'e' | b'E', after @ ..] = rest {
        size = Size::Any;
        rest = match after {
            [b'+' | b'-', after @ ..] => behind_digits(after)?,
            _ => behind_digits(after)?,
        };
    }
    Some((rest, size))
}

/// What stands behind the closing quote of a string that is plain, and that does not end too close
/// to the end of the text.
#[inline(always)]
fn behind_plain_string(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    while let Some((block, after)) = rest.split_first_chunk::<BLOCK>() {
        let special = special(block);
        if special != 0 {
            let length = special.trailing_zeros() as usize;
            if block.get(length) != Some(&b'"') {
                return None;
            }
            return rest.get(length + 1..);
        }
        rest = after;
    }
    None
}

/// What stands behind digits, of which there is at least one.
#[inline(always)]
fn behind_digits(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    while let [b'0'..=b'9', after @ ..] = rest {
        rest = after;
    }
    (rest.len() < text.len()).then_some(rest)
}

/// Whether a number is within a double's range: beyond it capture refuses the whole request
/// (posthog-ingestion 1.6).
pub(super) fn fits_a_double(number: &[u8]) -> bool {
    std::str::from_utf8(number)
        .ok()
        .and_then(|text| text.parse::<f64>().ok())
        .is_some_and(f64::is_finite)
}

pub(super) fn hex4(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at..at + 4)?;
    digits.iter().try_fold(0, |value, digit| {
        char::from(*digit)
            .to_digit(16)
            .map(|digit| value << 4 | digit)
    })
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
