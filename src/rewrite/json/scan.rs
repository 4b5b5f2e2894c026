//! A validating scanner: one pass that finds where each value of a message stands, and whether
//! the text can be copied as it is.
//!
//! Text that is JSON only in spirit (`NaN`, lone surrogates, a key given twice …) is not refused
//! but marked [unclean](Scanner::is_clean); `repair` then writes a clean copy, which is scanned
//! again. So whoever reads entries may rely on: no key twice, keys that hold no needless escape,
//! strings and numbers that capture's parser takes.

use super::block::{block, run_end, special, BLOCK};
use super::keys::{hash, hash_of_word, word, Hashes, Novelty, Seen};
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
    at: usize,
    /// The arrays and objects that are open.
    depth: usize,
    clean: bool,
    scratch: &'s mut Scratch,
}

impl<'t, 's> Scanner<'t, 's> {
    /// A scanner at the start of `text`, which must be valid UTF-8.
    pub(in crate::rewrite) fn new(text: &'t [u8], scratch: &'s mut Scratch) -> Self {
        scratch.frames.clear();
        scratch.hashes.clear();
        Self {
            text,
            at: 0,
            depth: 0,
            clean: true,
            scratch,
        }
    }

    /// Whether all that was scanned so far can be copied as it is.
    pub(in crate::rewrite) fn is_clean(&self) -> bool {
        self.clean
    }

    /// How far the text has been scanned.
    pub(in crate::rewrite) fn position(&self) -> usize {
        self.at
    }

    /// The next byte after white space.
    #[inline(always)]
    pub(in crate::rewrite) fn peek(&mut self) -> Option<u8> {
        match self.text.get(self.at) {
            Some(byte) if *byte > b' ' => Some(*byte),
            _ => self.peek_further(),
        }
    }

    #[inline(never)]
    fn peek_further(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Takes one byte after white space, which must be this one.
    #[inline(always)]
    pub(in crate::rewrite) fn expect(&mut self, wanted: u8) -> Result<(), Malformed> {
        if self.peek() == Some(wanted) {
            self.at += 1;
            return Ok(());
        }
        Err(Malformed::Syntax)
    }

    /// Whether nothing but white space is left.
    pub(in crate::rewrite) fn at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Scans the entries of the object that stands here; each is handed to `entry`, which scans
    /// the value itself.
    #[inline(always)]
    pub(in crate::rewrite) fn object(
        &mut self,
        mut entry: impl FnMut(&mut Self, Span) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.expect(b'{')?;
        self.open()?;
        let mut seen = self.scratch.hashes.open();
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        loop {
            let key = self.key(&mut seen)?;
            entry(self, key)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    self.depth -= 1;
                    self.close(seen);
                    return Ok(());
                }
                _ => return Err(Malformed::Syntax),
            }
        }
    }

    /// Scans one value of any kind; if it is an object, its entries are collected in `entries`.
    #[inline(never)]
    pub(in crate::rewrite) fn value_with_entries(
        &mut self,
        entries: &mut Vec<Entry>,
    ) -> Result<Value, Malformed> {
        if self.peek() != Some(b'{') {
            return self.value();
        }
        self.object_value(|scanner, key| {
            let value = scanner.value()?;
            entries.push(Entry { key, value });
            Ok(value)
        })
    }

    /// Scans the object that stands here as a value; each entry is handed to `entry`, which scans
    /// its value and gives it back.
    #[inline(always)]
    pub(in crate::rewrite) fn object_value(
        &mut self,
        mut entry: impl FnMut(&mut Self, Span) -> Result<Value, Malformed>,
    ) -> Result<Value, Malformed> {
        self.peek();
        let start = self.at;
        let mut depth = 0;
        self.object(|scanner, key| {
            depth = depth.max(entry(scanner, key)?.depth);
            Ok(())
        })?;
        Ok(Value {
            span: Span::new(start, self.at),
            shape: Shape::Object,
            depth: depth + 1,
        })
    }

    /// Scans one value of any kind.
    #[inline(always)]
    pub(in crate::rewrite) fn value(&mut self) -> Result<Value, Malformed> {
        let first = self.peek().ok_or(Malformed::Syntax)?;
        let start = self.at;
        let (shape, depth) = match first {
            b'"' => (self.text_value()?, 0),
            b'{' | b'[' => (
                match first {
                    b'{' => Shape::Object,
                    _ => Shape::Array,
                },
                self.container(first)?,
            ),
            _ => (self.bare(first)?, 0),
        };
        Ok(Value {
            span: Span::new(start, self.at),
            shape,
            depth,
        })
    }

    /// A string that is a value.
    #[inline(always)]
    fn text_value(&mut self) -> Result<Shape, Malformed> {
        let end = run_end(self.text, self.at + 1);
        if self.text.get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok(Shape::Plain);
        }
        self.at = end;
        self.rest_of_string()
    }

    #[inline(never)]
    fn bare(&mut self, first: u8) -> Result<Shape, Malformed> {
        match first {
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word(b"true", Shape::True),
            b'f' => self.word(b"false", Shape::False),
            b'n' => self.word(b"null", Shape::Null),
            // What Python's json module writes; `repair` makes it null, as JavaScript would.
            b'N' => self.not_a_number(b"NaN"),
            b'I' => self.not_a_number(b"Infinity"),
            _ => Err(Malformed::Syntax),
        }
    }

    #[inline(always)]
    fn word(&mut self, word: &[u8], shape: Shape) -> Result<Shape, Malformed> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(Malformed::Syntax);
        }
        self.at += word.len();
        Ok(shape)
    }

    fn not_a_number(&mut self, word: &[u8]) -> Result<Shape, Malformed> {
        self.clean = false;
        self.word(word, Shape::Null)
    }

    /// A whole array or object, without recursion: how deep it may nest is decided by the input.
    #[inline(never)]
    fn container(&mut self, first: u8) -> Result<u16, Malformed> {
        let base = self.scratch.frames.len();
        let mut deepest = 1;
        let mut current = self.enter(first)?;
        let mut fresh = true;
        loop {
            // Before an element or the end of the innermost container.
            let mut byte = self.peek().ok_or(Malformed::Syntax)?;
            if !(fresh && byte == current.container.end()) {
                if current.container == Container::Object {
                    self.key(&mut current.seen)?;
                    byte = self.peek().ok_or(Malformed::Syntax)?;
                }
                match byte {
                    b'"' => drop(self.text_value()?),
                    b'{' | b'[' => {
                        self.scratch.frames.push(current);
                        current = self.enter(byte)?;
                        deepest = deepest.max(self.scratch.frames.len() - base + 1);
                        fresh = true;
                        continue;
                    }
                    _ => drop(self.bare(byte)?),
                }
            }
            // After an element: a comma, or the ends of any number of containers.
            loop {
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        fresh = false;
                        break;
                    }
                    Some(byte) if byte == current.container.end() => {
                        self.at += 1;
                        self.depth -= 1;
                        self.close(current.seen);
                        if self.scratch.frames.len() == base {
                            return Ok(u16::try_from(deepest).unwrap_or(u16::MAX));
                        }
                        current = self.scratch.frames.pop().ok_or(Malformed::Syntax)?;
                    }
                    _ => return Err(Malformed::Syntax),
                }
            }
        }
    }

    #[inline(always)]
    fn enter(&mut self, first: u8) -> Result<Frame, Malformed> {
        self.at += 1;
        self.open()?;
        Ok(Frame {
            container: match first {
                b'{' => Container::Object,
                _ => Container::Array,
            },
            seen: self.scratch.hashes.open(),
        })
    }

    #[inline(always)]
    fn open(&mut self) -> Result<(), Malformed> {
        // The envelope and its array stand around every event, and properties may move one level.
        if self.depth >= NESTING_LIMIT {
            return Err(Malformed::TooDeep);
        }
        self.depth += 1;
        Ok(())
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
    fn key(&mut self, seen: &mut Seen) -> Result<Span, Malformed> {
        if self.peek() != Some(b'"') {
            return Err(Malformed::Syntax);
        }
        let start = self.at + 1;
        if let Some(block) = block(self.text, start) {
            // The bit behind the block stands for a key that fills it.
            let length = (special(block) | 1 << BLOCK).trailing_zeros() as usize;
            let end = start + length;
            // Nearly every key is short, plain, and has its colon right behind it.
            if self.text.get(end..end + 2) == Some(b"\":") {
                self.at = end + 2;
                let hash = hash_of_word(word(block, length));
                self.note(seen, hash);
                return Ok(Span::new(start, end));
            }
        }
        self.any_key(seen)
    }

    #[inline(never)]
    fn any_key(&mut self, seen: &mut Seen) -> Result<Span, Malformed> {
        let start = self.at + 1;
        if self.text_value()? == Shape::Escaped {
            self.clean = false;
        }
        let span = Span::new(start, self.at - 1);
        self.expect(b':')?;
        self.note(seen, hash(span.of(self.text)));
        Ok(span)
    }

    #[inline(always)]
    fn note(&mut self, seen: &mut Seen, hash: u32) {
        if self.scratch.hashes.note(seen, hash) == Novelty::Doubtful {
            self.clean = false;
        }
    }

    /// The rest of a string, from a byte that is not plain.
    #[inline(never)]
    fn rest_of_string(&mut self) -> Result<Shape, Malformed> {
        let mut shape = Shape::Plain;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(shape);
                }
                Some(b'\\') => {
                    shape = Shape::Escaped;
                    self.escape()?;
                }
                Some(_) => {
                    // A control character that should have been escaped: `repair` does it.
                    self.clean = false;
                    self.at += 1;
                }
                None => return Err(Malformed::Syntax),
            }
            self.at = run_end(self.text, self.at);
        }
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                let unit = hex4(self.text, self.at + 2).ok_or(Malformed::Syntax)?;
                self.at += 6;
                match unit {
                    0xd800..=0xdbff => {
                        let pair = self.text.get(self.at..self.at + 2) == Some(b"\\u");
                        match hex4(self.text, self.at + 2) {
                            Some(0xdc00..=0xdfff) if pair => self.at += 6,
                            // Half a character (segment-tracking 2.7).
                            _ => self.clean = false,
                        }
                    }
                    0xdc00..=0xdfff => self.clean = false,
                    _ => {}
                }
                Ok(())
            }
            _ => Err(Malformed::Syntax),
        }
    }

    fn number(&mut self) -> Result<Shape, Malformed> {
        let start = self.at;
        if self.text.get(self.at) == Some(&b'-') {
            self.at += 1;
            if self.text.get(self.at) == Some(&b'I') {
                return self.not_a_number(b"Infinity");
            }
        }
        match self.text.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(Malformed::Syntax),
        }
        let mut exponent = false;
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            exponent = true;
            self.at += 1;
            if matches!(self.text.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        if exponent || self.at - start > 300 {
            let text = self.text.get(start..self.at).unwrap_or_default();
            if !fits_a_double(text) {
                self.clean = false;
            }
        }
        Ok(Shape::Number)
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while matches!(self.text.get(self.at), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            return Err(Malformed::Syntax);
        }
        Ok(())
    }
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
