//! Scans objects and passes their entries to a receiver.

use super::super::keys::{hash_of_word, Novelty};
use super::super::names::{Name, Names};
use super::super::span::Span;
use super::super::value::{Entry, Shape, Value};
use super::asked::{behind_quoted, plain_key, Asked};
use super::habits::{Expected, Named, Whose};
use super::{After, Key, Scanner};

/// A receiver of the entries of an object.
pub(in crate::rewrite) trait Takes {
    /// Whether [`plain`](Self::plain) takes a plain string under this key; otherwise
    /// [`other`](Self::other) does.
    fn takes_plain(name: Name) -> bool;
    /// Takes a plain string.
    fn plain(&mut self, key: Key, value: Value);
    /// Takes any other value, which it must scan.
    fn other(&mut self, scanner: &mut Scanner<'_, '_>, key: Key);
    /// Takes the entries that are expected next, if it can do so faster than key by key, and returns how
    /// many it has taken. The scanner is at the brace or comma before them.
    #[inline(always)]
    fn expected(&mut self, _: &mut Scanner<'_, '_>, _: &[Expected], _: u8) -> usize {
        0
    }
    /// Whether [`expected`](Self::expected) takes entries.
    const TAKES_EXPECTED: bool = false;
}

/// Stores all entries.
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

    const TAKES_EXPECTED: bool = true;

    #[inline(always)]
    fn expected(&mut self, scanner: &mut Scanner<'_, '_>, keys: &[Expected], before: u8) -> usize {
        if keys.is_empty() {
            return 0;
        }
        let had = self.len();
        let start = scanner.position();
        let (end, depth) = take_expected(self, keys, before, (scanner.text, start));
        scanner.skip(end - start);
        scanner.deepest = scanner.deepest.max(scanner.depth + usize::from(depth));
        self.len() - had
    }
}

/// Takes the next entries as long as they are the expected ones. Returns the end of the last one, and
/// the greatest depth of their values.
#[inline(never)]
fn take_expected(
    entries: &mut Vec<Entry>,
    keys: &[Expected],
    mut before: u8,
    (text, start): (&[u8], usize),
) -> (usize, u16) {
    let (mut at, mut depth) = (start, 0);
    for key in keys {
        let Some((entry, end)) = key.entry(before, text, at) else {
            break;
        };
        depth = depth.max(entry.value.depth);
        entries.push(entry);
        at = end;
        before = b',';
    }
    (at, depth)
}

impl Key {
    /// Returns the entry of this key and a value.
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
    /// Scans the object at the position and recognises the names of its keys. Returns the value, and the
    /// names that the object has.
    ///
    /// The rest of the text and the expected keys are local variables, because the compiler would keep
    /// the fields in memory.
    #[inline(always)]
    pub(in crate::rewrite) fn named_object<T: Takes>(
        &mut self,
        whose: Whose,
        entries: &mut T,
    ) -> (Value, Names) {
        let start = self.position();
        let mut named = Named::of(whose, self.habits, self.scratch);
        self.open();
        let outside = std::mem::replace(&mut self.deepest, self.depth);
        let mut expected = named.expected();
        let before = match entries.expected(self, expected.as_slice(), b'{') {
            0 => self.first_key(),
            taken => {
                expected.nth(taken - 1);
                self.after_element(b'}')
            }
        };
        if before == After::Comma {
            let end = self.text.len();
            let mut rest = self.rest;
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
                    if T::TAKES_EXPECTED {
                        self.note_form(&named, rest, expected.len());
                        if let Some(met) = entries
                            .expected(self, expected.as_slice(), b',')
                            .checked_sub(1)
                        {
                            expected.nth(met);
                        }
                    }
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
        }
        named.otherwise(&expected);
        let depth = self.left(outside);
        let (names, others) = named.end(self.scratch);
        self.close(others);
        (self.object_from(start, depth), names)
    }
}

impl Scanner<'_, '_> {
    /// Skips the brace before the first key, or a whole object that has no key.
    #[inline(always)]
    fn first_key(&mut self) -> After {
        self.skip(1);
        if self.peek() == Some(b'}') {
            self.skip(1);
            return After::End;
        }
        After::Comma
    }

    /// Records the form of the array or object that has just been scanned.
    #[inline(always)]
    fn note_form(&mut self, named: &Named<'_>, value: &[u8], left: usize) {
        if matches!(value, [b'{' | b'[', ..]) && self.clean && self.malformed.is_none() {
            let value = self.text.len() - value.len()..self.position();
            named.note_form(self.scratch, (self.text, value), left);
        }
    }

    /// Scans a value and adds its entry. The key is passed in two parts, so that each is in a register.
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
