//! Keys that are expected: libraries write the same keys in the same order, message after message.
//!
//! The keys of the last object of each kind are remembered. While the next one has the same keys, each
//! is recognised by one comparison, and none of them can be there twice: no end has to be found, and
//! nothing is hashed or noted. From the first different key on, it is scanned as usual.

use super::super::block::{plain_run, Pattern, BLOCK};
use super::super::keys::{hash, Novelty, Seen, Word};
use super::super::names::{Name, Names};
use super::asked::Asked;
use super::Work;

/// Which of a message's objects it is; their keys differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) struct Whose(u8);

/// The number of kinds that are remembered.
const KINDS: usize = 4 + Whose::INNERS;

impl Whose {
    pub(in crate::rewrite) const MESSAGE: Self = Self(0);
    pub(in crate::rewrite) const CONTEXT: Self = Self(1);
    pub(in crate::rewrite) const PROPERTIES: Self = Self(2);
    pub(in crate::rewrite) const INTEGRATIONS: Self = Self(3);
    /// Any other, which is not remembered.
    pub(in crate::rewrite) const OTHER: Self = Self(u8::MAX);

    /// How many of the context's objects there are.
    pub(in crate::rewrite) const INNERS: usize = 9;

    /// One of the context's, of this number.
    pub(in crate::rewrite) const fn inner(number: u8) -> Self {
        Self(4 + number)
    }
}

/// The most keys of one object that are remembered.
const MOST: usize = 32;

/// The longest key that is remembered; with its quotes and its colon it takes two blocks.
const LONGEST: usize = 2 * BLOCK - AROUND;

/// Two quotes and a colon.
const AROUND: usize = 3;

/// After this many different objects in a row, the next one is remembered. Libraries of several kinds
/// alternate, and remembering costs more than a miss: the most common form should stay.
const PATIENCE: u8 = 32;

/// A key that is expected, with its quotes and its colon.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// Its first bytes, and which of a block they are: a bit for each.
    first: Pattern,
    mask: u32,
    /// Its last bytes, if it is longer than a block.
    last: Pattern,
    length: u8,
    name: Name,
    hash: u32,
}

impl Expected {
    /// None for a key that is too long, or that cannot be compared as it stands.
    fn of(key: &[u8], name: Name, hash: u32) -> Option<Self> {
        if key.len() > LONGEST || plain_run(key) != key.len() {
            return None;
        }
        let mut text = [0; 2 * BLOCK];
        let length = key.len() + AROUND;
        let written = b"\"".iter().chain(key).chain(b"\":");
        for (place, byte) in text.iter_mut().zip(written) {
            *place = *byte;
        }
        let last = text.get(length.saturating_sub(BLOCK)..)?.first_chunk()?;
        Some(Self {
            first: Pattern::of(*text.first_chunk()?),
            mask: (1 << length.min(BLOCK)) - 1,
            last: Pattern::of(*last),
            length: u8::try_from(length).ok()?,
            name,
            hash,
        })
    }

    /// If it is what stands here: what stands behind it, how long it is without its quotes and its
    /// colon, and its name.
    #[inline(always)]
    pub(super) fn behind<'t>(&self, rest: &'t [u8]) -> Option<(&'t [u8], usize, Name)> {
        let first = rest.first_chunk::<BLOCK>()?;
        if !self.first.same(first) & self.mask != 0 {
            return None;
        }
        let length = usize::from(self.length);
        let behind = if length <= BLOCK {
            rest.get(length..)?
        } else {
            let (last, behind) = rest.get(length - BLOCK..)?.split_first_chunk()?;
            const ALL: u32 = (1 << BLOCK) - 1;
            if self.last.same(last) != ALL {
                return None;
            }
            behind
        };
        Some((behind, length - AROUND, self.name))
    }
}

/// The keys that an object of one kind had last, none of them twice.
#[derive(Debug, Default)]
struct Habit {
    keys: Vec<Expected>,
    names: Names,
}

/// What is remembered of each kind.
#[derive(Debug, Default)]
pub(super) struct Habits([Habit; KINDS]);

/// What will be remembered when the text has ended.
#[derive(Debug, Clone, Copy)]
enum Lesson {
    /// An object of this kind begins again.
    Begin(usize),
    /// Another key of it.
    Key(usize, Expected),
    /// It may hold a key twice.
    Forget(usize),
}

/// Whether the expectation was met.
#[derive(Debug, Default)]
pub(super) struct Lessons {
    learned: Vec<Lesson>,
    /// For each kind, how many objects in a row were different.
    missed: [u8; KINDS],
}

impl Lessons {
    /// The memory it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        self.learned.capacity() * size_of::<Lesson>()
    }
}

impl Habits {
    /// The memory it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        let keys = self.0.iter().map(|habit| habit.keys.capacity());
        keys.sum::<usize>() * size_of::<Expected>()
    }

    /// Remembers the forms of the last text.
    #[inline(always)]
    pub(super) fn learn(&mut self, lessons: &mut Lessons) {
        if !lessons.learned.is_empty() {
            self.learn_now(lessons);
        }
    }

    #[inline(never)]
    fn learn_now(&mut self, lessons: &mut Lessons) {
        for lesson in lessons.learned.drain(..) {
            let (Lesson::Begin(kind) | Lesson::Key(kind, _) | Lesson::Forget(kind)) = lesson;
            let Some(habit) = self.0.get_mut(kind) else {
                continue;
            };
            match lesson {
                Lesson::Key(_, key) => {
                    // It is only looked at for keys that are told apart already; but on this rests
                    // that none stands there twice.
                    let is_known = habit.keys.iter().any(|known| {
                        (known.first, known.last, known.length) == (key.first, key.last, key.length)
                    });
                    if habit.keys.len() < MOST && !is_known {
                        habit.keys.push(key);
                        if key.name != Name::OTHER {
                            habit.names.add(key.name);
                        }
                    }
                }
                Lesson::Begin(_) | Lesson::Forget(_) => {
                    habit.keys.clear();
                    habit.names = Names::default();
                }
            }
        }
    }
}

/// Which keys with a name an object has.
pub(super) struct Named<'h> {
    names: Names,
    others: Seen,
    kind: usize,
    /// The expected keys of the kind, while they are met.
    habit: Option<&'h Habit>,
    /// The keys that are expected next; none after a difference.
    expected: &'h [Expected],
    /// Whether its keys are to be remembered.
    learning: Learning,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Learning {
    No,
    /// Its first key will be the first.
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
        if let (Some(habit), Some(missed)) = (habits.0.get(kind), work.lessons.missed.get(kind)) {
            if habit.keys.is_empty() || *missed >= PATIENCE {
                named.learning = Learning::First;
            } else {
                named.habit = Some(habit);
                named.expected = &habit.keys;
            }
        }
        named
    }

    /// The keys that are expected next.
    #[inline(always)]
    pub(super) fn expected(&self) -> std::slice::Iter<'h, Expected> {
        self.expected.iter()
    }

    /// Takes back those of them that have not come.
    #[inline(always)]
    pub(super) fn otherwise(&mut self, expected: &std::slice::Iter<'h, Expected>) {
        self.expected = expected.as_slice();
    }

    /// It is different: its keys so far are noted after all.
    #[inline(never)]
    fn leave(&mut self, work: &mut Work, habit: &Habit) {
        let had = habit.keys.len() - self.expected.len();
        self.expected = &[];
        for key in habit.keys.iter().take(had) {
            // They are all different.
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
            // The keys before it are expected anyway.
            None if novelty == Novelty::New => self.learning = Learning::No,
            _ => {
                learned.push(Lesson::Forget(self.kind));
                self.learning = Learning::No;
            }
        }
    }

    /// Which it has, at its end.
    #[inline(always)]
    pub(super) fn end(mut self, work: &mut Work) -> (Names, Seen) {
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
