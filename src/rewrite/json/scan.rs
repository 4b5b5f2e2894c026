//! A validating scanner: one pass that finds where each value of a message stands, and whether
//! the text can be copied as it is.
//!
//! Text that is JSON only in spirit (`NaN`, lone surrogates, a key given twice …) is not refused
//! but marked [unclean](Scanner::is_clean); `repair` then writes a clean copy, which is scanned
//! again. So whoever reads entries may rely on: no key twice, keys that hold no needless escape,
//! strings and numbers that capture's parser takes.

use crate::posthog::NESTING_LIMIT;

/// Why a text is not JSON, not even in spirit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) enum Malformed {
    /// A character that cannot stand where it stands, or an end too early.
    Syntax,
    /// More nested arrays and objects than capture takes.
    TooDeep,
}

/// Where something stands in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::rewrite) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(start: usize, end: usize) -> Self {
        // Texts are bounded by the body limit, which the configuration keeps below 4 GiB.
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    /// The bytes of `text` that it covers.
    pub(in crate::rewrite) fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// Where it begins.
    pub(in crate::rewrite) fn start(self) -> usize {
        self.start as usize
    }

    /// Where it ends.
    pub(in crate::rewrite) fn end(self) -> usize {
        self.end as usize
    }
}

/// What kind of value stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) enum Shape {
    Null,
    True,
    False,
    Number,
    /// A string without escapes.
    Plain,
    /// A string with at least one escape.
    Escaped,
    Array,
    Object,
}

/// A value: where it stands, what it is, and how many arrays and objects are nested in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) struct Value {
    pub(in crate::rewrite) span: Span,
    pub(in crate::rewrite) shape: Shape,
    pub(in crate::rewrite) depth: u16,
}

impl Value {
    /// Its bytes.
    pub(in crate::rewrite) fn of(self, text: &[u8]) -> &[u8] {
        self.span.of(text)
    }

    /// Whether it is a string.
    pub(in crate::rewrite) fn is_string(self) -> bool {
        matches!(self.shape, Shape::Plain | Shape::Escaped)
    }
}

/// One entry of an object. The key is without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) struct Entry {
    pub(in crate::rewrite) key: Span,
    pub(in crate::rewrite) value: Value,
}

/// Memory that is used again from message to message.
#[derive(Debug, Default)]
pub(in crate::rewrite) struct Scratch {
    frames: Vec<Frame>,
    hashes: Vec<u32>,
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
fn plain_run(text: &[u8]) -> usize {
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
mod tests {
    use super::*;

    fn scan(text: &str) -> Result<(Shape, u16, bool), Malformed> {
        let mut scratch = Scratch::default();
        let mut scanner = Scanner::new(text.as_bytes(), &mut scratch);
        let value = scanner.value()?;
        if !scanner.at_end() {
            return Err(Malformed::Syntax);
        }
        Ok((value.shape, value.depth, scanner.is_clean()))
    }

    #[test]
    fn it_agrees_with_serde_json_on_what_json_is() {
        for text in [
            "{}",
            "[]",
            "[1,2]",
            "[1,]",
            "[,1]",
            "{\"a\":1}",
            "{\"a\":1,}",
            "{\"a\"}",
            "{a:1}",
            "1",
            "-0",
            "01",
            "1.",
            ".5",
            "1e5",
            "1e",
            "+1",
            "-",
            "\"a",
            "\"a\"",
            "\"\\x\"",
            "\"\\u00e9\"",
            "\"\\u00g0\"",
            "tru",
            "true",
            "nul",
            "[[[]]]",
            "[}",
            "{]",
            "{\"a\":{\"b\":[1,{}]}}",
            "",
            " ",
            "[1 2]",
            "{\"a\" :1 }",
            "{\"a\":1 \"b\":2}",
            "1 2",
            "\"\\ud83d\\ude00\"",
            "[\"\\\"\",\"\\\\\"]",
            "[1e2,-3.25E-7]",
            "--1",
            "truefalse",
        ] {
            let expected = serde_json::from_str::<serde_json::Value>(text).is_ok();
            let got = scan(text);
            assert_eq!(got.is_ok(), expected, "{text:?} gave {got:?}");
            if let Ok((_, _, clean)) = got {
                assert!(clean, "{text:?}");
            }
        }
    }

    #[test]
    fn what_capture_would_refuse_is_marked_unclean() {
        for text in [
            "NaN",
            "[-Infinity]",
            "Infinity",
            "\"\\ud83d\"",
            "\"\\udc00x\"",
            "\"\\ud83d\\u0041\"",
            "1e400",
            "\"a\nb\"",
            "{\"a\":1,\"a\":2}",
            "[{\"x\":{\"k\":1,\"j\":2,\"k\":3}}]",
            "{\"\\u0061\":1}",
        ] {
            assert_eq!(scan(text).map(|found| found.2), Ok(false), "{text:?}");
        }
        let long = "9".repeat(400);
        assert_eq!(scan(&long).map(|found| found.2), Ok(false));
        let long = format!("0.{}", "9".repeat(400));
        assert_eq!(scan(&long).map(|found| found.2), Ok(true));
        assert_eq!(scan("[{\"a\":1},{\"a\":2}]").map(|found| found.2), Ok(true));
    }

    #[test]
    fn nesting_is_counted_and_bounded_without_recursion() {
        assert_eq!(scan("[[],[[{}]]]").map(|found| found.1), Ok(4));
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(scan(&deep(127)).map(|found| found.1), Ok(127));
        assert_eq!(scan(&deep(128)), Err(Malformed::TooDeep));
        assert_eq!(scan(&"[".repeat(1_000_000)), Err(Malformed::TooDeep));
    }

    #[test]
    fn a_run_of_plain_bytes_ends_at_the_first_special_one_wherever_it_stands() {
        for length in 0..40 {
            for special in [b'"', b'\\', 0x1f, b'\n', 0] {
                let mut text = vec![0xc3; length];
                text.push(special);
                text.extend_from_slice(b"\"\\\x01tail");
                assert_eq!(plain_run(&text), length, "{length} {special}");
            }
            assert_eq!(plain_run(&vec![b'~'; length]), length);
        }
    }
}
