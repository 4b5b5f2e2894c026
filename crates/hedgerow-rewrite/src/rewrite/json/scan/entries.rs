//! Objects of which all entries are kept.

use super::super::keys::{hash_of_word, Novelty};
use super::super::names::Names;
use super::super::value::{Entry, Shape, Span, Value};
use super::asked::{behind_quoted, plain_key, Asked};
use super::habits::{Named, Whose};
use super::{After, Key, Scanner};

impl Scanner<'_, '_> {
    /// The same for each value of an object of which all entries are kept. What is left of the text
    /// is a variable here, since it would be memory to the compiler otherwise.
    #[inline(always)]
    pub(super) fn named_object_into(
        &mut self,
        whose: Whose,
        entries: &mut Vec<Entry>,
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
            loop {
                let key = if let Some((length, name)) = named.follow(rest) {
                    let start = end - rest.len() + 1;
                    rest = rest.get(length..).unwrap_or_default();
                    // It ends before a quote and a colon.
                    let span = Span::new(start, end - rest.len() - 2);
                    Key { span, name }
                } else {
                    match plain_key(rest) {
                        Some((word, length, behind)) => {
                            let start = end - rest.len() + 1;
                            let (name, novelty) =
                                named.note(self.scratch, (word, length), hash_of_word(word));
                            if novelty == Novelty::Doubtful {
                                self.clean = false;
                            }
                            rest = behind;
                            let span = Span::new(start, start + length);
                            Key { span, name }
                        }
                        None => {
                            self.rest = rest;
                            let key = self.any_key(&mut named);
                            rest = self.rest;
                            key
                        }
                    }
                };
                match behind_quoted(rest) {
                    Some(behind) => {
                        let span = Span::new(end - rest.len(), end - behind.len());
                        rest = behind;
                        entries.push(Entry {
                            key: key.span,
                            value: Value {
                                span,
                                shape: Shape::Plain,
                                depth: 0,
                            },
                            name: key.name,
                        });
                    }
                    None => {
                        self.rest = rest;
                        self.other_entry(key, entries);
                        rest = self.rest;
                    }
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
        let depth = self.left(outside);
        let (names, others) = named.end(self.scratch);
        self.close(others);
        (self.object_from(start, depth), names)
    }

    #[inline(never)]
    fn other_entry(&mut self, key: Key, entries: &mut Vec<Entry>) {
        let value = self.other();
        entries.push(Entry {
            key: key.span,
            value,
            name: key.name,
        });
    }
}
