//! Scans objects, and lets the caller scan the value of each key.

use super::super::span::Span;
use super::super::value::{Malformed, Shape, Value};
use super::cursor::{After, Scanner};
use super::key::Key;
use super::key_recorder::KeyRecorder;

impl Scanner<'_, '_> {
    /// Scans the object at the position. Calls `entry` with each key, and `entry` scans the value.
    pub(in crate::rewrite) fn object(
        &mut self,
        mut entry: impl FnMut(&mut Self, Span) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut seen = self.state.hashes.open();
        self.entries(&mut seen, |scanner, key| {
            if let Err(malformed) = entry(scanner, key.span) {
                scanner.fail(malformed);
            }
        });
        self.close(seen);
        self.check()
    }

    /// Scans the object at the position and returns it as a value. Calls `entry` with each key, and
    /// `entry` scans the value and returns it.
    #[inline(always)]
    pub(in crate::rewrite) fn object_value(
        &mut self,
        mut entry: impl FnMut(&mut Self, Span) -> Result<Value, Malformed>,
    ) -> Result<Value, Malformed> {
        self.peek();
        let start = self.position();
        let mut seen = self.state.hashes.open();
        let depth = self.entries(&mut seen, |scanner, key| {
            if let Err(malformed) = entry(scanner, key.span) {
                scanner.fail(malformed);
            }
        });
        self.close(seen);
        self.check()?;
        Ok(self.object_from(start, depth))
    }

    #[inline(always)]
    pub(super) fn object_from(&self, start: usize, depth: u16) -> Value {
        Value {
            span: Span::new(start, self.position()),
            shape: Shape::Object,
            depth,
        }
    }

    /// Scans the entries of the object at the position. Returns its depth.
    #[inline(always)]
    pub(super) fn entries(
        &mut self,
        recorder: &mut impl KeyRecorder,
        mut entry: impl FnMut(&mut Self, Key),
    ) -> u16 {
        if self.peek() != Some(b'{') {
            self.fail(Malformed::Syntax);
            return 0;
        }
        self.skip(1);
        self.open();
        let outside = std::mem::replace(&mut self.deepest, self.depth);
        if self.peek() == Some(b'}') {
            self.skip(1);
        } else {
            loop {
                let key = self.key(recorder);
                entry(self, key);
                match self.rest {
                    [b',', after @ ..] => self.rest = after,
                    _ => match self.after_element(b'}') {
                        After::Comma => {}
                        After::End => break,
                    },
                }
            }
        }
        self.leave(outside)
    }
}
