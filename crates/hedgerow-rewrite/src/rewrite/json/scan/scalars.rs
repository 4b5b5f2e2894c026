//! Scans strings, numbers and words: all values except objects and arrays.

use super::super::block::{has_special, plain_run, special, BLOCK};
use super::super::value::{Malformed, Shape};
use super::Scanner;

impl Scanner<'_, '_> {
    /// Scans the string whose opening quote is the next byte.
    #[inline(always)]
    pub(super) fn string(&mut self) -> Shape {
        self.skip(1);
        if let Some(rest) = behind_plain_string(self.rest) {
            self.rest = rest;
            return Shape::Plain;
        }
        self.rest_of_string()
    }

    #[inline(always)]
    pub(super) fn bare(&mut self, first: u8) -> Shape {
        match first {
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word(b"true", Shape::True),
            b'f' => self.word(b"false", Shape::False),
            b'n' => self.word(b"null", Shape::Null),
            // Python's json module writes these; `repair` replaces them with null, as JavaScript would.
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

    /// Scans the rest of a string that is not plain, or that ends too close to the end of the text.
    #[inline(never)]
    pub(super) fn rest_of_string(&mut self) -> Shape {
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
                    // A control character that should have been escaped: `repair` escapes it.
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

    pub(super) fn escape(&mut self) {
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
                            // A surrogate without its other half (segment-tracking 2.7).
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

/// What the form of a number shows about its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    /// No exponent: the number of digits limits the size.
    OfItsDigits,
    /// An exponent: the number can have any size.
    Any,
}

/// Returns the text after the number at the start of `text`, and what its form shows about its size.
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

/// Returns the text after the closing quote, if the string is plain and does not end too close to the
/// end of the text. `text` begins after the opening quote.
#[inline(always)]
pub(super) fn behind_plain_string(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    for _ in 0..2 {
        let (block, after) = rest.split_first_chunk::<BLOCK>()?;
        let special = special(block);
        if special != 0 {
            return behind_quote(rest, block, special);
        }
        rest = after;
    }
    behind_long_string(rest)
}

/// Does the same as [`behind_plain_string`] for the rest of a long string.
#[inline(never)]
pub(super) fn behind_long_string(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    // Most long strings are ids, which end within two more blocks.
    for _ in 0..2 {
        let (block, after) = rest.split_first_chunk::<BLOCK>()?;
        let special = special(block);
        if special != 0 {
            return behind_quote(rest, block, special);
        }
        rest = after;
    }
    while let Some((blocks, after)) = rest.split_first_chunk::<{ 4 * BLOCK }>() {
        if has_special(blocks) {
            break;
        }
        rest = after;
    }
    while let Some((block, after)) = rest.split_first_chunk::<BLOCK>() {
        let special = special(block);
        if special != 0 {
            return behind_quote(rest, block, special);
        }
        rest = after;
    }
    None
}

/// Returns the text after the first of the `special` bytes of a block, if that byte is a quote.
#[inline(always)]
fn behind_quote<'t>(rest: &'t [u8], block: &[u8; BLOCK], special: u32) -> Option<&'t [u8]> {
    let length = special.trailing_zeros() as usize;
    match block.get(length) {
        Some(b'"') => rest.get(length + 1..),
        _ => None,
    }
}

/// Returns the text after the digits at the start of `text`, or `None` if there is no digit.
#[inline(always)]
fn behind_digits(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    while let [b'0'..=b'9', after @ ..] = rest {
        rest = after;
    }
    (rest.len() < text.len()).then_some(rest)
}

/// Returns whether a number is within the range of a double. If one is not, capture refuses the whole
/// request (posthog-ingestion 1.6).
pub(in crate::rewrite::json) fn fits_a_double(number: &[u8]) -> bool {
    std::str::from_utf8(number)
        .ok()
        .and_then(|text| text.parse::<f64>().ok())
        .is_some_and(f64::is_finite)
}

#[allow(clippy::indexing_slicing)]
pub(in crate::rewrite::json) fn hex4(text: &[u8], at: usize) -> Option<u32> {
    /// The value of each byte as a hexadecimal digit; 0xff for a byte that is not a digit.
    static DIGITS: [u8; 256] = {
        let mut digits = [0xff; 256];
        let mut value = 0;
        while value < 16 {
            let digit = b"0123456789abcdef"[value];
            digits[digit as usize] = value as u8;
            digits[digit.to_ascii_uppercase() as usize] = value as u8;
            value += 1;
        }
        digits
    };
    let digits: &[u8; 4] = text.get(at..)?.first_chunk()?;
    let [a, b, c, d] = digits.map(|digit| {
        let value = DIGITS.get(usize::from(digit)).copied();
        u32::from(value.unwrap_or(0xff))
    });
    ((a | b | c | d) < 16).then_some(a << 12 | b << 8 | c << 4 | d)
}
