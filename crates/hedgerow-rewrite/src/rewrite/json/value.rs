//! The position of a value in a text, and its kind.

use super::names::Name;
use super::span::Span;
use super::text::{as_text, inner, unescape};

/// Why a text is not JSON, not even almost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) enum Malformed {
    /// A character at a wrong position, or an end too early.
    Syntax,
    /// More nested arrays and objects than capture takes.
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
    /// Its bytes.
    pub(in crate::rewrite) fn of(self, text: &[u8]) -> &[u8] {
        self.span.of(text)
    }

    /// The same of a text that is known to be UTF-8.
    pub(in crate::rewrite) fn part_of(self, text: &str) -> &str {
        self.span.part_of(text)
    }

    /// Its text, if it is a (clean) string.
    #[inline(always)]
    pub(in crate::rewrite) fn decode(self, text: &[u8]) -> std::borrow::Cow<'_, str> {
        match self.shape {
            // It has no escapes.
            Shape::Plain => as_text(inner(self.of(text))),
            _ => unescape(self.of(text)),
        }
    }

    /// The same in a text that is known to be UTF-8, so that it does not have to be checked again.
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
    pub(in crate::rewrite) name: Name,
}
