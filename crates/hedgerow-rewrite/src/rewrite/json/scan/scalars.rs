//! Scans strings, numbers and words: all values except objects and arrays.

use super::super::block::plain_run;
use super::super::value::{Malformed, Shape};
use super::cursor::Scanner;
use super::number::{behind_number, fits_a_double, hex4, Size};
use super::plain_string::behind_plain_string;

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
                    // Escapes often come in a row.
                    while let [b'\\', ..] = self.rest {
                        self.escape();
                    }
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
