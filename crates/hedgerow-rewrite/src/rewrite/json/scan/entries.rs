//! Objects whose entries are taken in, one by one.

use super::super::keys::{hash_of_word, Novelty};
use super::super::names::{Name, Names};
use super::super::span::Span;
use super::super::value::{Entry, Shape, Value};
use super::asked::{behind_quoted, plain_key, Asked};
use super::habits::{Named, Whose};
use super::{After, Key, Scanner};

/// Where the entries of an object go.
pub(in crate::rewrite) trait Takes {
    /// Whether a plain string under this key is taken as it is.
    fn takes_plain(name: Name) -> bool;
    /// Takes a plain string.
    fn plain(&mut self, key: Key, value: Value);
    /// Takes what else stands here: it has to be scanned.
    fn other(&mut self, scanner: &mut Scanner<'_, '_>, key: Key);
}

/// All of them are kept.
impl Takes for Vec<Entry> {
    #[inline(always)]
    fn takes_plain(_: Name) -> bool {
        true
    }

    #[inline(always)]
    fn plain(&mut self, key: Key, value: Value) {
        self.push(key.with(value));
    }

    #[inline(always)]
    fn other(&mut self, scanner: &mut Scanner<'_, '_>, key: Key) {
        scanner.other_entry(key.span, key.name, self);
    }
}

impl Key {
    /// The entry that it makes with its value.
    #[inline(always)]
    pub(in crate::rewrite) fn with(self, value: Value) -> Entry {
        Entry {
            key: self.span,
            value,
            name: self.name,
        }
    }
}

impl Scanner<'_, '_> {
    /// Scans the object that stands here, whose keys are asked for by their names. Gives back the
    /// value, and the names it has.
    ///
    /// What is left of the text, and the keys that are expected, are variables here, since they would be
    /// memory to the compiler otherwise.
    #[inline(always)]
    pub(in crate::rewrite) fn named_object(
        &mut self,
        whose: Whose,
        entries: &mut impl Takes,
    ) -> (Value, Names) {
        let start = self.position();
        let mut named = Named::of(whose, self.habits, self.scratch);
        self.skip(1);
        self.open();
        let outside = std::mem::replace(&mut self.deepest, self.depth);
        if self.peek() == Some(b'}') {
            self.skip(1);
        } else {
            let end = self.text.len();
            let mut rest = self.rest;
            let mut expected = named.expected();
            loop {
                let at = end - rest.len() + 1;
                let next = expected.clone().next();
                let key =
                    if let Some((behind, length, name)) = next.and_then(|next| next.behind(rest)) {
                        expected.next();
                        rest = behind;
                        let span = Span::new(at, at + length);
                        Key { span, name }
                    } else {
                        named.otherwise(&expected);
                        let key = match plain_key(rest) {
                            Some((word, length, behind)) => {
                                let (name, novelty) =
                                    named.note(self.scratch, (word, length), hash_of_word(word));
                                if novelty == Novelty::Doubtful {
                                    self.clean = false;
                                }
                                rest = behind;
                                let span = Span::new(at, at + length);
                                Key { span, name }
                            }
                            None => {
                                self.rest = rest;
                                let key = self.any_key(&mut named);
                                rest = self.rest;
                                key
                            }
                        };
                        expected = named.expected();
                        key
                    };
                let plain = match behind_quoted(rest) {
                    Some(behind) if takes_plain(entries, key.name) => Some(behind),
                    _ => None,
                };
                if let Some(behind) = plain {
                    let span = Span::new(end - rest.len(), end - behind.len());
                    rest = behind;
                    let value = Value {
                        span,
                        shape: Shape::Plain,
                        depth: 0,
                    };
                    entries.plain(key, value);
                } else {
                    self.rest = rest;
                    entries.other(self, key);
                    rest = self.rest;
                }
                match rest {
                    [b',', after @ ..] => rest = after,
                    _ => {
                        self.rest = rest;
                        match self.after_element(b'}') {
                            After::Comma => rest = self.rest,
                            After::End => break,
                        }
                    }
                }
            }
            named.otherwise(&expected);
        }
        let depth = self.left(outside);
        let (names, others) = named.end(self.scratch);
        self.close(others);
        (self.object_from(start, depth), names)
    }
}

impl Scanner<'_, '_> {
    /// With the two parts of its key each in a register.
    #[inline(never)]
    fn other_entry(&mut self, span: Span, name: Name, entries: &mut Vec<Entry>) {
        let value = self.other();
        entries.push(Key { span, name }.with(value));
    }
}

#[inline(always)]
fn takes_plain<T: Takes>(_: &T, name: Name) -> bool {
    T::takes_plain(name)
}
