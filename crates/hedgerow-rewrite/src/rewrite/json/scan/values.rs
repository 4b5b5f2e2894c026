//! Scans values of any kind.

use super::super::span::Span;
use super::super::value::{Malformed, Shape, Value};
use super::cursor::Scanner;
use super::plain_string::behind_plain_string;

impl Scanner<'_, '_> {
    /// Scans one value of any kind.
    pub(in crate::rewrite) fn value(&mut self) -> Result<Value, Malformed> {
        let value = self.any();
        self.check()?;
        Ok(value)
    }

    /// Does the same without a check for errors; the caller checks at the end of the outer value.
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

    /// Skips `null`, if it follows directly.
    #[inline(always)]
    pub(in crate::rewrite) fn null(&mut self) -> Option<Value> {
        let behind = self.rest.strip_prefix(b"null")?;
        let start = self.position();
        self.rest = behind;
        Some(Value {
            span: Span::new(start, start + 4),
            shape: Shape::Null,
            depth: 0,
        })
    }

    #[inline(never)]
    pub(in crate::rewrite) fn any_other(&mut self) -> Value {
        self.other()
    }

    /// Scans a value that may be something else than a plain string.
    #[inline(always)]
    pub(super) fn other(&mut self) -> Value {
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
}
