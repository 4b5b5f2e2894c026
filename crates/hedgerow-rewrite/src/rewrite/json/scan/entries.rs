//! Scans objects and passes their entries to a receiver.

use super::super::keys::{hash_of_word, Novelty};
use super::super::name_sets::Names;
use super::super::names::Name;
use super::super::span::Span;
use super::super::value::{Entry, Malformed, Shape, Value};
use super::cursor::{After, Scanner};
use super::expected_keys::ExpectedKey;
use super::key::Key;
use super::key_recorder::KeyRecorder;
use super::key_tracker::{expected_order, met_expectation, KeyTracker};
use super::object_kind::ObjectKind;
use super::plain_key::plain_key;
use super::plain_string::behind_quoted;

/// A receiver of the entries of an object.
pub(in crate::rewrite) trait EntryReceiver {
    /// Whether [`plain`](Self::plain) receives a plain string under this key; otherwise
    /// [`other`](Self::other) does.
    fn receives_plain(name: Name) -> bool;
    /// Receives a plain string.
    fn plain(&mut self, key: Key, value: Value);
    /// Receives any other value, which it must scan.
    fn other(&mut self, scanner: &mut Scanner<'_, '_>, key: Key);
    /// Receives the entries that are expected next, if it can do so faster than key by key, and returns how
    /// many it has received. The scanner is at the brace or comma before them.
    #[inline(always)]
    fn expected(&mut self, _: &mut Scanner<'_, '_>, _: &[ExpectedKey], _: u8) -> usize {
        0
    }
    /// Whether [`expected`](Self::expected) receives entries.
    const RECEIVES_EXPECTED: bool = false;
}

/// Stores all entries.
impl EntryReceiver for Vec<Entry> {
    #[inline(always)]
    fn receives_plain(_: Name) -> bool {
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

    const RECEIVES_EXPECTED: bool = true;

    #[inline(always)]
    fn expected(
        &mut self,
        scanner: &mut Scanner<'_, '_>,
        keys: &[ExpectedKey],
        before: u8,
    ) -> usize {
        if keys.is_empty() {
            return 0;
        }
        let length_before = self.len();
        let start = scanner.position();
        let (end, depth) = receive_expected(self, keys, before, (scanner.text, start));
        scanner.skip(end - start);
        scanner.deepest = scanner.deepest.max(scanner.depth + usize::from(depth));
        self.len() - length_before
    }
}

/// Receives the next entries as long as they are the expected ones. Returns the end of the last one, and
/// the greatest depth of their values.
#[inline(never)]
fn receive_expected(
    entries: &mut Vec<Entry>,
    keys: &[ExpectedKey],
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

impl Scanner<'_, '_> {
    /// Scans one value of any kind. If it is an object, collects its entries in `entries`.
    pub(in crate::rewrite) fn value_with_entries(
        &mut self,
        entries: &mut Vec<Entry>,
    ) -> Result<(Value, Names), Malformed> {
        let found = self.value_with_entries_unchecked(ObjectKind::OTHER, entries);
        self.check()?;
        Ok(found)
    }

    /// Does the same without a check for errors; the caller checks at the end of the outer value.
    #[inline(never)]
    pub(in crate::rewrite) fn value_with_entries_unchecked(
        &mut self,
        kind: ObjectKind,
        entries: &mut Vec<Entry>,
    ) -> (Value, Names) {
        if self.peek() != Some(b'{') {
            return (self.any(), Names::default());
        }
        self.named_object(kind, entries)
    }

    /// Scans the object at the position and recognises the names of its keys. Returns the value, and the
    /// names that the object has.
    ///
    /// The rest of the text and the expected keys are local variables, because the compiler would keep
    /// the fields in memory.
    #[inline(always)]
    pub(in crate::rewrite) fn named_object<T: EntryReceiver>(
        &mut self,
        kind: ObjectKind,
        entries: &mut T,
    ) -> (Value, Names) {
        let start = self.position();
        self.open();
        let outside = std::mem::replace(&mut self.deepest, self.depth);
        let order = expected_order(kind, self.orders, self.state);
        let keys = order.map_or(&[][..], |order| &order.keys);
        let received = entries.expected(self, keys, b'{');
        if let (Some(order), true) = (order, received == keys.len()) {
            // Most objects end here, without a search for other keys.
            if T::RECEIVES_EXPECTED && self.rest.first() == Some(&b'}') {
                self.skip(1);
                met_expectation(kind, self.state);
                let depth = self.leave(outside);
                return (self.object_from(start, depth), order.names);
            }
        }
        let mut tracker = KeyTracker::of(kind, self.orders, self.state);
        let mut expected = tracker.expected();
        let before = match received {
            0 => self.first_key(),
            received => {
                expected.nth(received - 1);
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
                        tracker.set_expected(&expected);
                        let key = match plain_key(rest) {
                            Some((word, length, behind)) => {
                                let (name, novelty) =
                                    tracker.note(self.state, (word, length), hash_of_word(word));
                                if novelty == Novelty::Doubtful {
                                    self.clean = false;
                                }
                                rest = behind;
                                let span = Span::new(at, at + length);
                                Key { span, name }
                            }
                            None => {
                                self.rest = rest;
                                let key = self.any_key(&mut tracker);
                                rest = self.rest;
                                key
                            }
                        };
                        expected = tracker.expected();
                        key
                    };
                let plain = match behind_quoted(rest) {
                    Some(behind) if receives_plain(entries, key.name) => Some(behind),
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
                    if T::RECEIVES_EXPECTED {
                        self.note_form(&tracker, rest, expected.len());
                        if let Some(last_received) = entries
                            .expected(self, expected.as_slice(), b',')
                            .checked_sub(1)
                        {
                            expected.nth(last_received);
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
        tracker.set_expected(&expected);
        let depth = self.leave(outside);
        let (names, others) = tracker.end(self.state);
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
    fn note_form(&mut self, tracker: &KeyTracker<'_>, value: &[u8], left: usize) {
        if matches!(value, [b'{' | b'[', ..]) && self.clean && self.malformed.is_none() {
            let value = self.text.len() - value.len()..self.position();
            tracker.note_form(self.state, (self.text, value), left);
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
fn receives_plain<T: EntryReceiver>(_: &T, name: Name) -> bool {
    T::receives_plain(name)
}
