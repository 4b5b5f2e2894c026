//! A validating scanner: one pass that finds where each value of a message stands, and whether
//! the text can be copied as it is.
//!
//! Text that is JSON only in spirit (`NaN`, lone surrogates, a key given twice …) is not refused
//! but marked [unclean](Scanner::is_clean); `repair` then writes a clean copy, which is scanned
//! again. So whoever reads entries may rely on: no key twice, keys that hold no needless escape,
//! strings and numbers that capture's parser takes.

use super::value::{Entry, Malformed, Shape, Span, Value};
use crate::posthog::NESTING_LIMIT;

/// Memory that is used again from message to message.
#[derive(Debug, Default)]
pub(in crate::rewrite) struct Scratch {
    frames: Vec<Frame>,
    hashes: Vec<u32>,
}

impl Scratch {
    /// The memory it holds, in bytes.
    pub(in crate::rewrite) fn held(&self) -> usize {
        self.frames.capacity() * size_of::<Frame>() + self.hashes.capacity() * size_of::<u32>()
    }
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    container: Container,
    hashes_from: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

/// Past so many keys in one object the search for a key given twice is left to `repair`, which
/// has a map for it.
const KEYS_COMPARED: usize = 256;

/// A cursor over one text.
pub(in crate::rewrite) struct Scanner<'t, 's> {
    text: &'t [u8],
    at: usize,
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
    pub(in crate::rewrite) fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Takes one byte after white space, which must be this one.
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
    pub(in crate::rewrite) fn object(
        &mut self,
        mut entry: impl FnMut(&mut Self, Span) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.expect(b'{')?;
        self.open(Container::Object)?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.close();
            return Ok(());
        }
        loop {
            let key = self.key()?;
            entry(self, key)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    self.close();
                    return Ok(());
                }
                _ => return Err(Malformed::Syntax),
            }
        }
    }

    /// Scans one value of any kind; if it is an object, its entries are collected in `entries`.
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
    pub(in crate::rewrite) fn value(&mut self) -> Result<Value, Malformed> {
        let first = self.peek().ok_or(Malformed::Syntax)?;
        let start = self.at;
        let (shape, depth) = match first {
            b'{' => (Shape::Object, self.container(Container::Object)?),
            b'[' => (Shape::Array, self.container(Container::Array)?),
            _ => (self.scalar(first)?, 0),
        };
        Ok(Value {
            span: Span::new(start, self.at),
            shape,
            depth,
        })
    }

    fn scalar(&mut self, first: u8) -> Result<Shape, Malformed> {
        match first {
            b'"' => {
                if self.string()? {
                    Ok(Shape::Escaped)
                } else {
                    Ok(Shape::Plain)
                }
            }
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
    fn container(&mut self, outer: Container) -> Result<u16, Malformed> {
        let base = self.scratch.frames.len();
        let mut deepest = 1;
        self.at += 1;
        self.open(outer)?;
        let mut current = outer;
        let mut fresh = true;
        loop {
            // Before an element or the end of the innermost container.
            let closing = match current {
                Container::Array => b']',
                Container::Object => b'}',
            };
            let byte = self.peek().ok_or(Malformed::Syntax)?;
            if !(fresh && byte == closing) {
                if current == Container::Object {
                    self.key()?;
                }
                let byte = self.peek().ok_or(Malformed::Syntax)?;
                let inner = match byte {
                    b'{' => Some(Container::Object),
                    b'[' => Some(Container::Array),
                    _ => None,
                };
                if let Some(inner) = inner {
                    self.at += 1;
                    self.open(inner)?;
                    deepest = deepest.max(self.scratch.frames.len() - base);
                    current = inner;
                    fresh = true;
                    continue;
                }
                self.scalar(byte)?;
            }
            // After an element: a comma, or the ends of any number of containers.
            loop {
                let closing = match current {
                    Container::Array => b']',
                    Container::Object => b'}',
                };
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        fresh = false;
                        break;
                    }
                    Some(byte) if byte == closing => {
                        self.at += 1;
                        self.close();
                        if self.scratch.frames.len() == base {
                            return Ok(u16::try_from(deepest).unwrap_or(u16::MAX));
                        }
                        current = match self.scratch.frames.last() {
                            Some(frame) => frame.container,
                            None => return Err(Malformed::Syntax),
                        };
                    }
                    _ => return Err(Malformed::Syntax),
                }
            }
        }
    }

    fn open(&mut self, container: Container) -> Result<(), Malformed> {
        // The envelope and its array stand around every event, and properties may move one level.
        if self.scratch.frames.len() >= NESTING_LIMIT {
            return Err(Malformed::TooDeep);
        }
        self.scratch.frames.push(Frame {
            container,
            hashes_from: self.scratch.hashes.len(),
        });
        Ok(())
    }

    fn close(&mut self) {
        if let Some(frame) = self.scratch.frames.pop() {
            self.scratch.hashes.truncate(frame.hashes_from);
        }
    }

    /// A key with its colon. A key that may have been there before, or that holds an escape
    /// (so that it cannot be compared as bytes), makes the text unclean.
    fn key(&mut self) -> Result<Span, Malformed> {
        if self.peek() != Some(b'"') {
            return Err(Malformed::Syntax);
        }
        let start = self.at + 1;
        if self.string()? {
            self.clean = false;
        }
        let span = Span::new(start, self.at - 1);
        self.expect(b':')?;
        let from = self
            .scratch
            .frames
            .last()
            .map_or(0, |frame| frame.hashes_from);
        let seen = self.scratch.hashes.get(from..).unwrap_or_default();
        let hash = hash(span.of(self.text));
        if seen.len() >= KEYS_COMPARED || seen.contains(&hash) {
            self.clean = false;
        }
        self.scratch.hashes.push(hash);
        Ok(span)
    }

    /// A string; says whether it holds an escape.
    fn string(&mut self) -> Result<bool, Malformed> {
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at += plain_run(self.text.get(self.at..).unwrap_or_default());
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => {
                    // A control character that should have been escaped: `repair` does it.
                    self.clean = false;
                    self.at += 1;
                }
                None => return Err(Malformed::Syntax),
            }
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

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// How many bytes from here are neither a quote, a backslash nor a control character, looked at
/// eight at a time.
#[inline]
pub(super) fn plain_run(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(chunk) = text.get(at..at + 8) {
        let Ok(bytes) = <[u8; 8]>::try_from(chunk) else {
            break;
        };
        let word = u64::from_le_bytes(bytes);
        let quote = word ^ (ONES * b'"' as u64);
        let slash = word ^ (ONES * b'\\' as u64);
        let found = (quote.wrapping_sub(ONES) & !quote)
            | (slash.wrapping_sub(ONES) & !slash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let found = found & HIGHS;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = text.get(at..).unwrap_or_default();
    let stop = rest
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
    at + stop.unwrap_or(rest.len())
}

/// A quick hash of a key. Two keys with one hash only cost the detour over `repair`.
#[inline]
fn hash(key: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = key.len() as u64;
    let mut chunks = key.chunks_exact(8);
    for chunk in &mut chunks {
        let word = <[u8; 8]>::try_from(chunk).map_or(0, u64::from_le_bytes);
        state = (state.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    }
    let mut last = 0;
    for byte in chunks.remainder() {
        last = last << 8 | u64::from(*byte);
    }
    state = (state.rotate_left(5) ^ last).wrapping_mul(FACTOR);
    (state >> 32) as u32
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
