//! A cursor over one text: its position, and what has been found so far.

use super::super::keys::{Novelty, Seen};
use super::super::value::Malformed;
use super::expected_keys::KeyOrders;
use super::memory::{ScanState, Scratch};
use crate::posthog::NESTING_LIMIT;

/// Whether a text can be copied unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) enum Cleanliness {
    Clean,
    /// The text must be repaired first.
    Unclean,
}

/// A cursor over one text.
pub(in crate::rewrite) struct Scanner<'t, 's> {
    pub(super) text: &'t [u8],
    /// The bytes that have not been scanned yet.
    pub(super) rest: &'t [u8],
    /// The number of arrays and objects that are open.
    pub(super) depth: usize,
    /// The most that were open at once within the current value.
    pub(super) deepest: usize,
    pub(super) clean: bool,
    /// Why the text is not JSON. `rest` is then empty, so that every scan ends and needs to check this
    /// field only once.
    pub(super) malformed: Option<Malformed>,
    pub(super) state: &'s mut ScanState,
    pub(super) orders: &'s KeyOrders,
}

/// What follows an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    Comma,
    End,
}

impl<'t, 's> Scanner<'t, 's> {
    /// Creates a scanner at the start of `text`, which must be valid UTF-8.
    pub(in crate::rewrite) fn new(text: &'t [u8], scratch: &'s mut Scratch) -> Self {
        let Scratch { state, orders } = scratch;
        state.frames.clear();
        state.hashes.clear();
        orders.apply(&mut state.updates);
        Self {
            text,
            rest: text,
            depth: 0,
            deepest: 0,
            clean: true,
            malformed: None,
            state,
            orders,
        }
    }

    /// Returns whether everything scanned so far can be copied unchanged, or an error if it is not JSON.
    pub(in crate::rewrite) fn cleanliness(&self) -> Result<Cleanliness, Malformed> {
        self.check()?;
        Ok(match self.clean {
            true => Cleanliness::Clean,
            false => Cleanliness::Unclean,
        })
    }

    /// Returns the offset of the next byte in the text.
    #[inline(always)]
    pub(in crate::rewrite) fn position(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    /// Returns the bytes that have not been scanned yet.
    #[inline(always)]
    pub(in crate::rewrite) fn rest(&self) -> &'t [u8] {
        self.rest
    }

    /// Skips white space and returns the next byte, without skipping it.
    #[inline(always)]
    pub(in crate::rewrite) fn peek(&mut self) -> Option<u8> {
        match self.rest.first() {
            Some(byte) if *byte > b' ' => Some(*byte),
            _ => self.peek_further(),
        }
    }

    #[inline(never)]
    pub(super) fn peek_further(&mut self) -> Option<u8> {
        while let [byte, rest @ ..] = self.rest {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.rest = rest;
        }
        None
    }

    /// Skips this many bytes, which the caller has checked.
    #[inline(always)]
    pub(super) fn skip(&mut self, bytes: usize) {
        if let Some(rest) = self.rest.get(bytes..) {
            self.rest = rest;
        }
    }

    /// Skips the next bytes if they equal `text`, and returns whether they do.
    pub(in crate::rewrite) fn skip_same(&mut self, text: &[u8]) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Skips the next bytes if they equal `text`, which is a value of this depth. Returns whether they
    /// do.
    #[inline(always)]
    pub(in crate::rewrite) fn skip_same_value(&mut self, text: &[u8], depth: u16) -> bool {
        let is_same = self.skip_same(text);
        if is_same {
            self.deepest = self.deepest.max(self.depth + usize::from(depth));
        }
        is_same
    }

    /// Scans the rest as a separate text: offsets are counted from the current position.
    pub(in crate::rewrite) fn as_separate_text(&mut self, scan: impl FnOnce(&mut Self)) {
        let text = std::mem::replace(&mut self.text, self.rest);
        scan(self);
        self.text = text;
    }

    /// Skips white space and the next byte, which must be `wanted`.
    #[inline(always)]
    pub(in crate::rewrite) fn expect(&mut self, wanted: u8) -> Result<(), Malformed> {
        if self.peek() == Some(wanted) {
            self.skip(1);
            return Ok(());
        }
        Err(Malformed::Syntax)
    }

    /// Whether only white space is left.
    pub(in crate::rewrite) fn at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Returns an error if the scanned text is not even almost JSON.
    #[inline(always)]
    pub(super) fn check(&self) -> Result<(), Malformed> {
        match self.malformed {
            None => Ok(()),
            Some(malformed) => Err(malformed),
        }
    }

    #[inline(never)]
    pub(super) fn fail(&mut self, malformed: Malformed) {
        self.malformed.get_or_insert(malformed);
        self.rest = &[];
    }

    #[inline(always)]
    pub(super) fn open(&mut self) {
        // `EventPlan::check` applies the exact limit: the envelope and its array are around every
        // event, and properties may move one level.
        if self.depth >= NESTING_LIMIT {
            self.fail(Malformed::TooDeep);
        }
        self.depth += 1;
    }

    #[inline(always)]
    pub(super) fn close(&mut self, seen: Seen) {
        if self.state.hashes.close(seen) == Novelty::Doubtful {
            self.clean = false;
        }
    }

    /// Leaves an object and returns its depth. `outside` is the value of `deepest` before the object.
    #[inline(always)]
    pub(super) fn leave(&mut self, outside: usize) -> u16 {
        self.depth -= 1;
        let depth = self.deepest - self.depth;
        self.deepest = self.deepest.max(outside);
        u16::try_from(depth).unwrap_or(u16::MAX)
    }

    /// Skips what follows an element: a comma, or the end of its container.
    #[inline(always)]
    pub(super) fn after_element(&mut self, end: u8) -> After {
        match self.peek() {
            Some(b',') => {
                self.skip(1);
                After::Comma
            }
            Some(byte) if byte == end => {
                self.skip(1);
                After::End
            }
            _ => {
                self.fail(Malformed::Syntax);
                After::End
            }
        }
    }
}
