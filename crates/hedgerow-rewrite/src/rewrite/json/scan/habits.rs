//! Remembers which keys to expect: libraries write the same keys in the same order in every message.
//!
//! For each kind of object, the keys of an earlier one are remembered. As long as the next object has the
//! same keys, one comparison recognises each key, and none can be repeated: the scanner need not search
//! for the key's end, hash it or record it. From the first different key on, it scans the object as usual.

use std::ops::Range;

use super::super::block::plain_run;
use super::super::keys::{hash, Novelty, Seen, Word};
use super::super::names::{Name, Names};
use super::super::span::Span;
use super::super::value::{Entry, Value};
use super::asked::Asked;
use super::forms::{window, with_scalar, Form, Literal, LONGEST as LONGEST_LITERAL, MOST_PARTS};
use super::Work;

/// The kind of an object in a message; each kind has its own keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) struct Whose(u8);

/// The number of kinds that are remembered.
const KINDS: usize = 4 + Whose::INNERS + Whose::MORE_PROPERTIES;

impl Whose {
    pub(in crate::rewrite) const MESSAGE: Self = Self(0);
    pub(in crate::rewrite) const CONTEXT: Self = Self(1);
    const PROPERTIES: Self = Self(2);
    pub(in crate::rewrite) const INTEGRATIONS: Self = Self(3);
    /// Any other object; its keys are not remembered.
    pub(in crate::rewrite) const OTHER: Self = Self(u8::MAX);

    /// The number of kinds of objects in the context.
    pub(in crate::rewrite) const INNERS: usize = 9;

    /// The number of further kinds of `properties`: each event has properties of its own.
    const MORE_PROPERTIES: usize = 7;

    /// Returns the kind of `properties` with this text. The first bytes of the first key select it.
    #[inline(always)]
    pub(in crate::rewrite) fn properties(text: &[u8]) -> Self {
        const AT: u8 = 4 + Whose::INNERS as u8;
        let Some(first) = text.get(2..).and_then(|key| key.first_chunk()) else {
            return Self::PROPERTIES;
        };
        let hash = u64::from_le_bytes(*first).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61;
        match hash.checked_sub(1) {
            Some(more) => Self(AT + more as u8),
            None => Self::PROPERTIES,
        }
    }

    /// Returns the kind of the context's object with this number.
    pub(in crate::rewrite) const fn inner(number: u8) -> Self {
        Self(4 + number)
    }
}

/// The most keys of one object that are remembered.
const MOST: usize = 32;

/// The longest key that is remembered, in bytes.
const LONGEST: usize = LONGEST_LITERAL - AROUND;

/// The bytes around a key: two quotes and a colon.
const AROUND: usize = 3;

/// After this many objects in a row that were not as expected, the next one is remembered. Messages of
/// several libraries alternate, and remembering costs more than a miss, so the most common keys should
/// stay.
const PATIENCE: u8 = 32;

/// A key that is expected.
#[derive(Debug)]
pub(in crate::rewrite) struct Expected {
    /// The key with its quotes and its colon.
    literal: Literal,
    name: Name,
    hash: u32,
    /// The form of the array or object under the key, if it had one.
    form: Option<Form>,
}

impl Expected {
    /// Returns none for a key that is too long, or that has escapes and so cannot be compared as bytes.
    fn of(key: &[u8], name: Name, hash: u32) -> Option<Self> {
        if key.len() > LONGEST || plain_run(key) != key.len() {
            return None;
        }
        Some(Self {
            literal: Literal::of(&[b"\"", key, b"\":"].concat())?,
            name,
            hash,
            form: None,
        })
    }

    /// If `rest` begins with the key, returns the text after it, its length without quotes and colon,
    /// and its name.
    #[inline(always)]
    pub(super) fn behind<'t>(&self, rest: &'t [u8]) -> Option<(&'t [u8], usize, Name)> {
        let behind = self.literal.behind(rest)?;
        Some((behind, self.literal.length() - AROUND, self.name))
    }

    /// Returns the form of the key and an array or object, if `text` has this key before `value`.
    fn form_of(&self, text: &[u8], value: Range<usize>) -> Option<Form> {
        let start = value.start.checked_sub(self.literal.length())?;
        let is_key = self.literal.behind(text.get(start..)?).is_some();
        is_key
            .then(|| Form::of(text.get(start..value.end)?))
            .flatten()
    }

    /// Returns the entry of this key and its end, if the key follows the byte `before` (a brace or comma)
    /// at the offset `at`. The value must be a scalar without escapes or, if a form is expected, an array
    /// or object of that form.
    #[inline(always)]
    pub(super) fn entry(&self, before: u8, text: &[u8], at: usize) -> Option<(Entry, usize)> {
        let window = window(text, at)?;
        let (first, behind) = window.split_first()?;
        if *first != before {
            return None;
        }
        let (start, end, shape, depth) = match &self.form {
            Some(form) => {
                let end = form.end(text, at + 1)?.get();
                let start = at + 1 + self.literal.length();
                (start, end, form.shape(), form.depth())
            }
            None => {
                let length = 1 + self.literal.length_in(behind)?;
                let (used, shape) = with_scalar(window, length, (text, at))?;
                (at + length, at + used, shape, 0)
            }
        };
        let entry = Entry {
            key: Span::new(at + 2, start - 2),
            value: Value {
                span: Span::new(start, end),
                shape,
                depth,
            },
            name: self.name,
        };
        Some((entry, end))
    }
}

/// The keys that are expected in an object of one kind, none of them twice.
#[derive(Debug, Default)]
struct Habit {
    keys: Vec<Expected>,
    names: Names,
}

impl Habit {
    fn held(&self) -> usize {
        let forms = self.keys.iter().filter_map(|key| key.form.as_ref());
        self.keys.capacity() * size_of::<Expected>() + forms.map(Form::held).sum::<usize>()
    }

    fn learn(&mut self, lesson: Lesson) {
        match lesson {
            Lesson::Key(_, mut key) => {
                // The scanner has checked that the keys differ. This check is repeated here because
                // expected keys are not checked for repetition later.
                let is_known = self.keys.iter().any(|known| known.hash == key.hash);
                if self.keys.len() < MOST && !is_known {
                    key.form = key.form.filter(|form| self.has_room_for(form));
                    if key.name != Name::OTHER {
                        self.names.add(key.name);
                    }
                    self.keys.push(key);
                }
            }
            Lesson::Form(_, number, form) => {
                if let Some(key) = self.keys.get_mut(number) {
                    key.form = None;
                }
                let form = Some(form).filter(|form| self.has_room_for(form));
                if let Some(key) = self.keys.get_mut(number) {
                    key.form = form;
                }
            }
            Lesson::Begin(_) | Lesson::Forget(_) => {
                self.keys.clear();
                self.names = Names::default();
            }
        }
    }

    /// Whether there is room for one more form.
    fn has_room_for(&self, form: &Form) -> bool {
        let forms = self.keys.iter().filter_map(|key| key.form.as_ref());
        forms.map(Form::parts).sum::<usize>() + form.parts() <= 2 * MOST_PARTS
    }
}

/// The expected keys of each kind.
#[derive(Debug, Default)]
pub(super) struct Habits {
    of: [Habit; KINDS],
    /// The memory that they hold in total, in bytes.
    held: usize,
}

/// A change to the expected keys, which is applied before the next text is scanned.
#[derive(Debug)]
enum Lesson {
    /// Deletes the keys of this kind, because a new object is to be remembered.
    Begin(usize),
    /// Adds a key to this kind.
    Key(usize, Expected),
    /// Deletes the keys of this kind, because the object may repeat a key.
    Forget(usize),
    /// Replaces the form under a key, given the kind and the index of the key.
    Form(usize, usize, Form),
}

/// The changes to make, and how often expectations were not met.
#[derive(Debug, Default)]
pub(super) struct Lessons {
    learned: Vec<Lesson>,
    /// For each kind, the number of objects in a row that had other keys.
    missed: [u8; KINDS],
    /// For each kind, the number of values that had other forms. It is reset at [`PATIENCE`].
    other_forms: [u8; KINDS],
}

impl Lessons {
    /// Returns the memory that it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        self.learned.capacity() * size_of::<Lesson>()
    }
}

impl Habits {
    /// Returns the memory that it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Applies what was learned from the last text.
    #[inline(always)]
    pub(super) fn learn(&mut self, lessons: &mut Lessons) {
        if !lessons.learned.is_empty() {
            self.learn_now(lessons);
        }
    }

    #[inline(never)]
    fn learn_now(&mut self, lessons: &mut Lessons) {
        for lesson in lessons.learned.drain(..) {
            let (Lesson::Begin(kind)
            | Lesson::Key(kind, _)
            | Lesson::Forget(kind)
            | Lesson::Form(kind, ..)) = &lesson;
            if let Some(habit) = self.of.get_mut(*kind) {
                habit.learn(lesson);
            }
        }
        self.held = self.of.iter().map(Habit::held).sum();
    }
}

/// Records which known names an object has, while it is scanned.
pub(super) struct Named<'h> {
    names: Names,
    others: Seen,
    kind: usize,
    /// The expected keys of the kind, as long as the object has them.
    habit: Option<&'h Habit>,
    /// The keys that are expected next; none after a different key.
    expected: &'h [Expected],
    /// Whether the keys of the object are to be remembered.
    learning: Learning,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Learning {
    No,
    /// They are to be remembered, and none has been read yet.
    First,
    Yes,
}

impl<'h> Named<'h> {
    #[inline(always)]
    pub(super) fn of(whose: Whose, habits: &'h Habits, work: &mut Work) -> Self {
        let kind = usize::from(whose.0);
        let mut named = Self {
            names: Names::default(),
            others: work.hashes.open(),
            kind,
            habit: None,
            expected: &[],
            learning: Learning::No,
        };
        if let (Some(habit), Some(missed)) = (habits.of.get(kind), work.lessons.missed.get(kind)) {
            if habit.keys.is_empty() || *missed >= PATIENCE {
                named.learning = Learning::First;
            } else {
                named.habit = Some(habit);
                named.expected = &habit.keys;
            }
        }
        named
    }

    /// Returns the keys that are expected next.
    #[inline(always)]
    pub(super) fn expected(&self) -> std::slice::Iter<'h, Expected> {
        self.expected.iter()
    }

    /// Stores the expected keys that have not been read yet.
    #[inline(always)]
    pub(super) fn otherwise(&mut self, expected: &std::slice::Iter<'h, Expected>) {
        self.expected = expected.as_slice();
    }

    /// Ends the comparison because the object has a different key, and records its keys so far.
    #[inline(never)]
    fn leave(&mut self, work: &mut Work, habit: &Habit) {
        let had = habit.keys.len() - self.expected.len();
        self.expected = &[];
        for key in habit.keys.iter().take(had) {
            // The result is not needed, because expected keys all differ.
            self.note_named(work, key.name, key.hash);
        }
        if let Some(missed) = work.lessons.missed.get_mut(self.kind) {
            *missed = missed.saturating_add(1);
        }
    }

    #[inline(always)]
    fn note_named(&mut self, work: &mut Work, name: Name, hash: u32) -> Novelty {
        if name == Name::OTHER {
            return work.hashes.note(&mut self.others, hash);
        }
        self.names.note(name)
    }

    #[inline(never)]
    fn learn(&mut self, work: &mut Work, (key, name, hash): (&[u8], Name, u32), novelty: Novelty) {
        let learned = &mut work.lessons.learned;
        if std::mem::replace(&mut self.learning, Learning::Yes) == Learning::First {
            learned.push(Lesson::Begin(self.kind));
        }
        match Expected::of(key, name, hash) {
            Some(key) if novelty == Novelty::New => learned.push(Lesson::Key(self.kind, key)),
            // The keys before this one stay remembered.
            None if novelty == Novelty::New => self.learning = Learning::No,
            _ => {
                learned.push(Lesson::Forget(self.kind));
                self.learning = Learning::No;
            }
        }
    }

    /// Records the form of the array or object under the last key, which is well-formed and clean but
    /// does not have the expected form. `left` is the number of expected keys after this one.
    #[inline(never)]
    pub(super) fn note_form(
        &self,
        work: &mut Work,
        (text, value): (&[u8], Range<usize>),
        left: usize,
    ) {
        let Lessons {
            learned,
            other_forms,
            ..
        } = &mut work.lessons;
        if self.learning == Learning::Yes {
            if let Some(Lesson::Key(kind, key)) = learned.last_mut() {
                if *kind == self.kind {
                    key.form = key.form_of(text, value);
                }
            }
            return;
        }
        let (Some(habit), Some(others)) = (self.habit, other_forms.get_mut(self.kind)) else {
            return;
        };
        *others = others.saturating_add(1);
        if *others >= PATIENCE {
            *others = 0;
            let number = habit.keys.len().wrapping_sub(left + 1);
            let key = habit.keys.get(number);
            if let Some(form) = key.and_then(|key| key.form_of(text, value)) {
                learned.push(Lesson::Form(self.kind, number, form));
            }
        }
    }

    /// Ends the object. Returns its known names, and the record of its other keys.
    #[inline(always)]
    pub(super) fn end(&mut self, work: &mut Work) -> (Names, Seen) {
        if let Some(habit) = self.habit.take() {
            if self.expected.is_empty() {
                self.names = habit.names;
                if let Some(missed) = work.lessons.missed.get_mut(self.kind) {
                    *missed = 0;
                }
            } else {
                self.leave(work, habit);
            }
        }
        if self.learning != Learning::No {
            if let Some(missed) = work.lessons.missed.get_mut(self.kind) {
                *missed = 0;
            }
        }
        (self.names, self.others)
    }
}

impl Asked for Named<'_> {
    #[inline(always)]
    fn note(
        &mut self,
        work: &mut Work,
        (word, length): (Word, usize),
        hash: u32,
    ) -> (Name, Novelty) {
        if let Some(habit) = self.habit.take() {
            self.leave(work, habit);
        }
        let name = Name::of_word(word, hash);
        let novelty = self.note_named(work, name, hash);
        if self.learning != Learning::No {
            let bytes = word.to_le_bytes();
            let key = bytes.get(..length).unwrap_or_default();
            self.learn(work, (key, name, hash), novelty);
        }
        (name, novelty)
    }

    fn note_any(&mut self, work: &mut Work, key: &[u8]) -> (Name, Novelty) {
        if let Some(habit) = self.habit.take() {
            self.leave(work, habit);
        }
        let hash = hash(key);
        let name = Name::of(key, hash);
        let novelty = self.note_named(work, name, hash);
        if self.learning != Learning::No {
            self.learn(work, (key, name, hash), novelty);
        }
        (name, novelty)
    }
}
