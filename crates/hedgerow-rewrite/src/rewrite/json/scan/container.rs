//! Skips arrays and objects, and only checks that they are well-formed.

use super::super::keys::{hash_of_word, Novelty};
use super::cursor::{After, Scanner};
use super::memory::{Container, SkippedContainer};
use super::plain_key::plain_key;
use super::plain_string::behind_quoted;

impl<'t> Scanner<'t, '_> {
    /// Skips a whole array or object and returns its depth. It does not recurse, because the client
    /// decides how deep the text nests.
    #[inline(never)]
    pub(super) fn container(&mut self, first: u8) -> u16 {
        let base = self.state.frames.len();
        let outside = self.depth;
        let mut deepest = outside + 1;
        let mut current = self.enter(first);
        let mut fresh = true;
        // A local variable, because the compiler would keep the field in memory.
        let mut rest = self.rest;
        loop {
            if !(fresh && self.first_of(&mut rest) == current.container.end()) {
                if current.container == Container::Object {
                    match plain_key(rest) {
                        Some((word, _, behind)) => {
                            let hashes = &mut self.state.hashes;
                            let novelty = hashes.note(&mut current.seen, hash_of_word(word));
                            if novelty == Novelty::Doubtful {
                                self.clean = false;
                            }
                            rest = behind;
                        }
                        None => {
                            self.rest = rest;
                            self.any_key(&mut current.seen);
                            rest = self.rest;
                        }
                    }
                }
                if let Some(behind) = behind_quoted(rest) {
                    rest = behind;
                } else {
                    let first = self.first_of(&mut rest);
                    self.rest = rest;
                    match first {
                        b'"' => drop(self.string()),
                        b'{' | b'[' => {
                            self.state.frames.push(current);
                            current = self.enter(first);
                            deepest = deepest.max(self.depth);
                            fresh = true;
                            rest = self.rest;
                            continue;
                        }
                        first => drop(self.bare(first)),
                    }
                    rest = self.rest;
                }
                if self.comma_or_end(&mut rest, current.container) == After::Comma {
                    fresh = false;
                    continue;
                }
            } else {
                rest = rest.get(1..).unwrap_or_default();
            }
            // The innermost container has ended, and perhaps containers around it.
            loop {
                self.depth -= 1;
                if current.container == Container::Object {
                    self.close(current.seen);
                }
                match self.state.frames.pop() {
                    Some(frame) if self.state.frames.len() >= base => current = frame,
                    _ => {
                        self.deepest = self.deepest.max(deepest);
                        self.rest = rest;
                        return u16::try_from(deepest - outside).unwrap_or(u16::MAX);
                    }
                }
                if self.comma_or_end(&mut rest, current.container) == After::Comma {
                    fresh = false;
                    break;
                }
            }
        }
    }

    /// Skips white space and returns the next byte without skipping it; 0 at the end.
    #[inline(always)]
    fn first_of(&mut self, rest: &mut &'t [u8]) -> u8 {
        match rest.first() {
            Some(byte) if *byte > b' ' => *byte,
            _ => {
                self.rest = rest;
                let byte = self.peek_further();
                *rest = self.rest;
                byte.unwrap_or(0)
            }
        }
    }

    /// Skips what follows an element: a comma, or the end of its container.
    #[inline(always)]
    fn comma_or_end(&mut self, rest: &mut &'t [u8], container: Container) -> After {
        let (after, behind) = match rest {
            [b',', behind @ ..] => (After::Comma, behind),
            [byte, behind @ ..] if *byte == container.end() => (After::End, behind),
            _ => {
                self.rest = rest;
                let after = self.after_element(container.end());
                *rest = self.rest;
                return after;
            }
        };
        *rest = behind;
        after
    }

    #[inline(always)]
    fn enter(&mut self, first: u8) -> SkippedContainer {
        self.skip(1);
        self.open();
        SkippedContainer {
            container: match first {
                b'{' => Container::Object,
                _ => Container::Array,
            },
            seen: self.state.hashes.open(),
        }
    }
}
