//! The position of a value in a text, and its kind.

use super::names::Name;
use super::span::Span;
use super::text::{as_text, inner, unescape};

/// Why a text is not JSON and cannot be repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) enum Malformed {
    /// An unexpected character, or an unexpected end of the text.
    Syntax,
    /// More nested arrays and objects than capture accepts.
    TooDeep,
}

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::rewrite) enum Shape {
    #[default]
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

/// A value: its position, its kind, and how many arrays and objects are nested in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::rewrite) struct Value {
    pub(in crate::rewrite) span: Span,
    pub(in crate::rewrite) shape: Shape,
    pub(in crate::rewrite) depth: u16,
}

impl Value {
    /// Returns the bytes of the value in `text`.
    pub(in crate::rewrite) fn of(self, text: &[u8]) -> &[u8] {
        self.span.of(text)
    }

    /// Returns the value as it is written in `text`.
    pub(in crate::rewrite) fn part_of(self, text: &str) -> &str {
        self.span.part_of(text)
    }

    /// Returns the decoded text of a (clean) string.
    #[inline(always)]
    pub(in crate::rewrite) fn decode(self, text: &[u8]) -> std::borrow::Cow<'_, str> {
        match self.shape {
            Shape::Plain => as_text(inner(self.of(text))),
            _ => unescape(self.of(text)),
        }
    }

    /// Returns the decoded text of a (clean) string in a `str`, which needs no second UTF-8 check.
    #[inline(always)]
    pub(in crate::rewrite) fn decode_str(self, text: &str) -> std::borrow::Cow<'_, str> {
        match self.shape {
            Shape::Plain => {
                let inside = self.span.start() + 1..self.span.end().saturating_sub(1);
                text.get(inside).unwrap_or_default().into()
            }
            _ => unescape(self.of(text.as_bytes())),
        }
    }

    /// Returns whether the value is a string.
    pub(in crate::rewrite) fn is_string(self) -> bool {
        matches!(self.shape, Shape::Plain | Shape::Escaped)
    }
}

/// One entry of an object. `key` covers the key without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) struct Entry {
    pub(in crate::rewrite) key: Span,
    pub(in crate::rewrite) value: Value,
    pub(in crate::rewrite) name: Name,
}
