//! Compares a text with what is expected: keys, and whole arrays and objects.
//!
//! An array or object mostly has the same form as the last one under the same key: the same brackets and
//! keys, with other strings, numbers and words between them. As long as it has, these bytes are compared
//! and only the values are scanned: if the last one was well-formed and had no repeated key, so is this
//! one.

use std::num::NonZeroUsize;

use super::super::block::{digits, special, Pattern, BLOCK};
use super::super::value::Shape;
use super::plain_string::behind_long_string;

/// The longest literal, in bytes.
pub(super) const LONGEST: usize = 2 * BLOCK - 1;

/// The number of bytes that are inspected together. A comma, the longest literal, a quote and two blocks
/// fit into them.
const WINDOW: usize = 5 * BLOCK;

/// The most parts that a remembered form can have.
pub(super) const MOST_PARTS: usize = 24;

/// The greatest depth of a form that is remembered. It is so small that the depth of the text around the
/// form does not matter.
const DEEPEST: u16 = 16;

/// The bytes of a text that are inspected together.
pub(super) type Window = [u8; WINDOW];

/// Bytes that are expected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Literal {
    /// Its first block, padded. `behind` has a bit for each byte of the padding.
    first: Pattern,
    behind: u32,
    /// Its last block, if it is longer than a block.
    last: Pattern,
    length: u8,
}

impl Literal {
    /// Creates a literal, unless the text is too long.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        let mut padded = [0; LONGEST];
        padded.get_mut(..text.len())?.copy_from_slice(text);
        let last = padded.get(text.len().saturating_sub(BLOCK)..)?;
        Some(Self {
            first: Pattern::of(*padded.first_chunk()?),
            behind: u32::from(u16::MAX) & !((1 << text.len().min(BLOCK)) - 1),
            last: Pattern::of(*last.first_chunk()?),
            length: u8::try_from(text.len()).ok()?,
        })
    }

    pub(super) fn length(&self) -> usize {
        usize::from(self.length)
    }

    /// Returns the text after the literal, if `rest` begins with it.
    #[inline(always)]
    pub(super) fn behind<'t>(&self, rest: &'t [u8]) -> Option<&'t [u8]> {
        const ALL: u32 = u16::MAX as u32;
        let first = rest.first_chunk::<BLOCK>()?;
        if self.first.same(first) | self.behind != ALL {
            return None;
        }
        let length = usize::from(self.length);
        if length <= BLOCK {
            return rest.get(length..);
        }
        let (last, behind) = rest.get(length - BLOCK..)?.split_first_chunk()?;
        (self.last.same(last) == ALL).then_some(behind)
    }

    /// Returns its length, if `window` begins with it. The window must be longer than any literal.
    #[inline(always)]
    pub(super) fn length_in(&self, window: &[u8]) -> Option<usize> {
        const ALL: u32 = u16::MAX as u32;
        let first = window.first_chunk()?;
        if self.first.same(first) | self.behind != ALL {
            return None;
        }
        let length = usize::from(self.length) % (2 * BLOCK);
        if length > BLOCK {
            let last = window.get(length - BLOCK..)?.first_chunk()?;
            if self.last.same(last) != ALL {
                return None;
            }
        }
        Some(length)
    }
}

/// Returns the window at an offset of a text, unless it is too close to the end.
#[inline(always)]
pub(super) fn window(text: &[u8], at: usize) -> Option<&Window> {
    text.get(at..)?.first_chunk()
}

/// Reads the string, number or word that follows the first `length` bytes of a window. Returns its end as
/// an offset in the window, and its shape. The window is at the offset `at` of `text`.
#[inline(always)]
pub(super) fn with_scalar(
    window: &Window,
    length: usize,
    (text, at): (&[u8], usize),
) -> Option<(usize, Shape)> {
    let value = window.get(length..)?;
    let (used, shape) = match value {
        [b'"', ..] => return Some((with_string(window, length, (text, at))?, Shape::Plain)),
        [b'n', ..] => (value.starts_with(b"null").then_some(4)?, Shape::Null),
        [b't', ..] => (value.starts_with(b"true").then_some(4)?, Shape::True),
        [b'f', ..] => (value.starts_with(b"false").then_some(5)?, Shape::False),
        _ => (length_of_number(window, length)?, Shape::Number),
    };
    Some((length + used, shape))
}

/// Does the same for a plain string, and returns only its end.
#[inline(always)]
fn with_string(window: &Window, length: usize, (text, at): (&[u8], usize)) -> Option<usize> {
    let mut start = length + 1;
    for _ in 0..2 {
        let block = window.get(start..)?.first_chunk::<BLOCK>()?;
        let special = special(block);
        if special != 0 {
            let before = special.trailing_zeros() as usize;
            return (block.get(before) == Some(&b'"')).then_some(start + before + 1);
        }
        start += BLOCK;
    }
    let behind = behind_long_string(text.get(at + start..)?)?;
    Some(text.len() - at - behind.len())
}

/// Returns the length of the number at an offset, if it is shorter than a block and has no exponent.
#[inline(always)]
fn length_of_number(window: &Window, at: usize) -> Option<usize> {
    let block = window.get(at..)?.first_chunk::<BLOCK>()?;
    let digits = digits(block);
    let sign = usize::from(block.starts_with(b"-"));
    let whole = (digits >> sign).trailing_ones() as usize;
    let is_whole = match whole {
        0 => false,
        1 => true,
        _ => block.get(sign) != Some(&b'0'),
    };
    let mut end = sign + whole;
    if !is_whole {
        return None;
    }
    if block.get(end) == Some(&b'.') {
        let decimals = (digits >> (end + 1)).trailing_ones() as usize;
        if decimals == 0 {
            return None;
        }
        end += 1 + decimals;
    }
    match block.get(end)? {
        b'e' | b'E' => None,
        _ => Some(end),
    }
}

/// The form of a key and the array or object under it.
#[derive(Debug)]
pub(super) struct Form {
    parts: Box<[Part]>,
    shape: Shape,
    depth: u16,
}

/// Some bytes of a form, and what follows them.
#[derive(Debug, Clone, Copy)]
struct Part {
    literal: Literal,
    next: Next,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// A string, a number or a word.
    Value,
    /// More of the form, or its end.
    Form,
}

impl Form {
    /// Returns the form of a text that has a key, a colon, and an array or object. The text must be
    /// well-formed and clean. Returns none if it has white space between its parts, is too large or
    /// nests too deep.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        let mut outline = ObjectOutline::default();
        let mut rest = text;
        while !rest.is_empty() {
            rest = outline.step(rest)?;
        }
        outline.end_part(Next::Form)?;
        Some(Self {
            parts: outline.parts.into(),
            shape: match text.last()? {
                b'}' => Shape::Object,
                _ => Shape::Array,
            },
            depth: outline.deepest,
        })
    }

    /// Returns [`Shape::Array`] or [`Shape::Object`].
    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Returns the number of its parts.
    pub(super) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Returns the memory that it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        size_of_val(&*self.parts)
    }

    /// Returns the depth of the array or object.
    pub(super) fn depth(&self) -> u16 {
        self.depth
    }

    /// Returns the end of the array or object whose key is at `place`, if the text there has this form.
    #[inline(always)]
    pub(super) fn end(&self, text: &[u8], place: usize) -> Option<NonZeroUsize> {
        let mut at = place;
        for part in &*self.parts {
            let window = window(text, at)?;
            let length = part.literal.length_in(window)?;
            at += match part.next {
                Next::Value => with_scalar(window, length, (text, at))?.0,
                Next::Form => length,
            };
        }
        NonZeroUsize::new(at)
    }
}

/// A form that is being built.
#[derive(Debug, Default)]
struct ObjectOutline {
    parts: Vec<Part>,
    /// The part that is being read.
    part: Vec<u8>,
    open: u16,
    deepest: u16,
}

impl ObjectOutline {
    /// Reads a bracket, a comma, a colon, a key or a value of a well-formed text, and returns the rest.
    fn step<'t>(&mut self, text: &'t [u8]) -> Option<&'t [u8]> {
        let length = match text.first()? {
            b'{' | b'[' => {
                self.open += 1;
                self.deepest = self.deepest.max(self.open);
                (self.open <= DEEPEST).then_some(1)?
            }
            b'}' | b']' => {
                self.open = self.open.checked_sub(1)?;
                1
            }
            b',' | b':' => 1,
            b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                let length = length_of_scalar(text)?;
                let behind = text.get(length..)?;
                if behind.first() != Some(&b':') {
                    self.end_part(Next::Value)?;
                    return Some(behind);
                }
                length
            }
            _ => return None,
        };
        let (taken, rest) = text.split_at_checked(length)?;
        if self.part.len() + length > LONGEST {
            self.end_part(Next::Form)?;
        }
        self.part.extend_from_slice(taken);
        Some(rest)
    }

    fn end_part(&mut self, next: Next) -> Option<()> {
        self.parts.push(Part {
            literal: Literal::of(&self.part)?,
            next,
        });
        self.part.clear();
        (self.parts.len() <= MOST_PARTS).then_some(())
    }
}

/// Returns the length of the string, number or word at the start of a well-formed text.
fn length_of_scalar(text: &[u8]) -> Option<usize> {
    let Some(after) = text.strip_prefix(b"\"") else {
        let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}');
        return text.iter().position(ends);
    };
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', after.get(at..)?)?;
        match after.get(at)? {
            b'"' => return Some(at + 2),
            _ => at += 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cleanliness, Scanner, Scratch};
    use super::*;

    /// Returns the depth and the length of the array or object at the start of a text, if it is clean.
    fn scanned(text: &str) -> Option<(u16, usize)> {
        let mut scratch = Scratch::default();
        let mut scanner = Scanner::new(text.as_bytes(), &mut scratch);
        let value = scanner.any();
        let clean = scanner.cleanliness() == Ok(Cleanliness::Clean);
        let is_container = matches!(value.shape, Shape::Object | Shape::Array);
        (clean && is_container).then_some((value.depth, value.span.end()))
    }

    /// Compares every form with every text: a form may only match where the scanner finds the same value.
    #[test]
    fn a_form_is_found_only_where_the_scanner_finds_a_value_of_the_same_depth_and_length() {
        let long = "x".repeat(40);
        let long_key = format!(r#"{{"{long}":1}}"#);
        let long_value = format!(r#"{{"a":"{long}","b":["{long}",-1.5e3]}}"#);
        let long_number = format!("[{}]", "1".repeat(400));
        let many_keys: String = (0..9).map(|key| format!(r#""key{key}":[],"#)).collect();
        let many_keys = format!(r#"{{{many_keys}"z":{{}}}}"#);
        let deep = format!("{}{}", "[".repeat(17), "]".repeat(17));
        let texts = [
            "[]",
            "{}",
            "[1]",
            "[12.75]",
            "[-1]",
            "[1e400]",
            "[1e4]",
            "[01]",
            "[1.]",
            "[1 ]",
            "[1,2]",
            "[null]",
            "[nul]",
            "[NaN]",
            "[true,false]",
            "[\"\"]",
            "[\"a\"]",
            "[\"a\\n\"]",
            "[\"a\n\"]",
            "[\"a\",\"é\"]",
            "[[]]",
            "[{}]",
            r#"{"a":1}"#,
            r#"{"b":1}"#,
            r#"{"a":"1"}"#,
            r#"{"a" :1}"#,
            r#"{"a":[1]}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"b":2}"#,
            r#"{"a":{"b":[1,{"c":null}]}}"#,
            r#"{"a":{"b":[1,{"c":"x"}]}}"#,
            r#"{"a":{"b":[1,{"b":"x"}]}}"#,
            r#"{"\u0061":1}"#,
            r#"{"a":1"#,
            r#"{"a":1]"#,
            &long_key,
            &long_value,
            &long_number,
            &many_keys,
            &deep,
        ];
        // Each text is followed by more bytes than a window has, or by nothing.
        let behind = [format!(",\"next\":\"{long}{long}\"}}"), String::new()];
        let (mut found, mut wrong) = (0, Vec::new());
        for form in texts {
            if scanned(form).is_none_or(|(_, end)| end != form.len()) {
                continue;
            }
            let Some(form_of) = Form::of(format!("\"key\":{form}").as_bytes()) else {
                continue;
            };
            for (text, behind) in texts
                .iter()
                .flat_map(|text| behind.iter().map(move |b| (text, b)))
            {
                let text = format!("{text}{behind}");
                let with_key = format!("\"key\":{text}");
                let Some(end) = form_of.end(with_key.as_bytes(), 0) else {
                    continue;
                };
                found += 1;
                let ours = Some((form_of.depth(), end.get() - 6));
                if ours != scanned(&text) {
                    wrong.push(format!("{text} as {form}: {ours:?}, {:?}", scanned(&text)));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(found > 30, "{found}");
    }
}
