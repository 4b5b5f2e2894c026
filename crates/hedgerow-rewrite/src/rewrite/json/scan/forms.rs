//! What is expected to stand in a text: keys, and whole arrays and objects.
//!
//! An array or object mostly has the form of the one that stood under the same key before: the same brackets and
//! keys, with other strings, numbers and words between them. While it has, these bytes are compared and only
//! the values are scanned: what was well-formed then, without a key given twice, is so now.

use std::num::NonZeroUsize;

use super::super::block::{digits, special, Pattern, BLOCK};
use super::super::value::Shape;
use super::scalars::behind_long_string;

/// The longest text that is compared at once.
pub(super) const LONGEST: usize = 2 * BLOCK - 1;

/// The bytes that are looked at together: a comma, the longest text, a quote and two blocks.
const WINDOW: usize = 5 * BLOCK;

/// The most parts of a form that is remembered.
pub(super) const MOST_PARTS: usize = 24;

/// The deepest that is remembered: how deep the text around it may nest is no matter then.
const DEEPEST: u16 = 16;

/// So many bytes of a text.
pub(super) type Window = [u8; WINDOW];

/// Bytes that are expected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Literal {
    /// Its first bytes, and a bit for each byte of a block behind them.
    first: Pattern,
    behind: u32,
    /// Its last bytes, if it is longer than a block.
    last: Pattern,
    length: u8,
}

impl Literal {
    /// None of a text that is too long.
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

    /// What stands behind it, if it stands here.
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

    /// Its length, if it stands at the start of these bytes, which are more than enough.
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

/// Bytes at a place of a text; none close to its end.
#[inline(always)]
pub(super) fn window(text: &[u8], at: usize) -> Option<&Window> {
    text.get(at..)?.first_chunk()
}

/// How many bytes a text of this length at the start of these bytes takes with the string, number or word behind
/// it, and what that is. They stand at this place of the whole text.
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

/// The same with a plain string.
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

/// The length of the number at this place, if it is shorter than a block and has no exponent.
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

/// The form of a key with an array or object.
#[derive(Debug)]
pub(super) struct Form {
    parts: Box<[Part]>,
    shape: Shape,
    depth: u16,
}

/// Bytes of a form, and what follows them.
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
    /// The form of a key and its colon, and an array or object that is well-formed, clean and without white space
    /// between its parts. None of one that is too large or too deep.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        let mut outline = Outline::default();
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

    /// Whether it is an array or an object.
    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// How many parts it has.
    pub(super) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// The memory it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        size_of_val(&*self.parts)
    }

    /// How deep it nests.
    pub(super) fn depth(&self) -> u16 {
        self.depth
    }

    /// Where the array or object ends, if its key stands at this place and all has this form.
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

/// What is found out about a form.
#[derive(Debug, Default)]
struct Outline {
    parts: Vec<Part>,
    /// The part that is being read.
    part: Vec<u8>,
    open: u16,
    deepest: u16,
}

impl Outline {
    /// Reads a bracket, a comma, a key or a value of a well-formed text, and gives back the rest.
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

/// The length of the string, number or word at the start of a well-formed text.
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

    /// The depth and the length of the array or object at the start of a text, if it is clean.
    fn scanned(text: &str) -> Option<(u16, usize)> {
        let mut scratch = Scratch::default();
        let mut scanner = Scanner::new(text.as_bytes(), &mut scratch);
        let value = scanner.any();
        let clean = scanner.cleanliness() == Ok(Cleanliness::Clean);
        let is_container = matches!(value.shape, Shape::Object | Shape::Array);
        (clean && is_container).then_some((value.depth, value.span.end()))
    }

    /// Every form is compared with every text: it may only be found where the scanner finds the same.
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
        // Behind them stands more than is looked at together, or nothing.
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
