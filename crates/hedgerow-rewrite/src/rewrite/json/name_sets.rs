//! Sets of the names of known keys.

use super::keys::Novelty;
use super::names::{Name, NAMES, PREFIXES};

/// A constant set of names. It takes one byte per name, so that a lookup is a single load.
#[derive(Debug)]
pub(in crate::rewrite) struct Marks([bool; Name::COUNT]);

impl Marks {
    /// Creates the set of these names.
    #[allow(clippy::indexing_slicing)]
    pub(in crate::rewrite) const fn of(names: &[&str]) -> Self {
        let mut marks = Self([false; Name::COUNT]);
        let mut index = 0;
        while index < names.len() {
            marks.0[Name::known(names[index]).index()] = true;
            index += 1;
        }
        marks
    }

    /// Whether the set contains a name.
    #[inline(always)]
    pub(in crate::rewrite) fn has(&self, name: Name) -> bool {
        self.0.get(name.index()).is_some_and(|mark| *mark)
    }
}

/// A set of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::rewrite) struct Names([u64; 4]);

impl Names {
    /// Whether the set contains a name.
    #[inline(always)]
    pub(in crate::rewrite) fn has(&self, name: Name) -> bool {
        let word = self.0.get(usize::from(name.0 >> 6)).copied();
        word.unwrap_or(0) >> (name.0 & 63) & 1 == 1
    }

    /// Whether the two sets have a name in common.
    #[inline(always)]
    pub(in crate::rewrite) fn intersects(&self, other: &Self) -> bool {
        let both = self.0.iter().zip(other.0);
        both.fold(0, |common, (one, other)| common | one & other) != 0
    }

    /// Returns the names that the two sets have in common.
    #[inline(always)]
    pub(in crate::rewrite) fn common(&self, other: &Self) -> Self {
        let mut common = *self;
        for (word, other) in common.0.iter_mut().zip(other.0) {
            *word &= other;
        }
        common
    }

    /// Creates the set of these names, at compile time.
    #[allow(clippy::indexing_slicing)]
    pub(in crate::rewrite) const fn of(names: &[&str]) -> Self {
        let mut set = Self([0; 4]);
        let mut index = 0;
        while index < names.len() {
            set = set.with(Name::known(names[index]));
            index += 1;
        }
        set
    }

    /// Returns the set with one more name, at compile time.
    #[allow(clippy::indexing_slicing)]
    pub(in crate::rewrite) const fn with(mut self, Name(name): Name) -> Self {
        self.0[(name >> 6) as usize] |= 1 << (name & 63);
        self
    }

    /// Returns the union of both sets, at compile time.
    #[allow(clippy::indexing_slicing)]
    pub(in crate::rewrite) const fn or(mut self, other: &Self) -> Self {
        let mut index = 0;
        while index < self.0.len() {
            self.0[index] |= other.0[index];
            index += 1;
        }
        self
    }

    /// All names that begin with one of [`PREFIXES`], also those of unknown keys.
    #[allow(clippy::indexing_slicing)]
    pub(in crate::rewrite) const PREFIXED: Self = {
        let mut set = Self([0; 4]).with(Name::PREFIXED);
        let mut index = 1;
        while index < NAMES.len() {
            let mut prefix = 0;
            while prefix < PREFIXES.len() {
                let name = NAMES[index].as_bytes().first_chunk::<4>();
                if let Some(first) = name {
                    if u32::from_le_bytes(*first) == u32::from_le_bytes(*PREFIXES[prefix]) {
                        set = set.with(Name(index as u8));
                    }
                }
                prefix += 1;
            }
            index += 1;
        }
        set
    };

    /// Adds a name.
    #[inline(always)]
    pub(in crate::rewrite) fn add(&mut self, name: Name) {
        self.note(name);
    }

    /// Adds a name, and returns whether it is new.
    #[inline(always)]
    pub(super) fn note(&mut self, name: Name) -> Novelty {
        let Some(word) = self.0.get_mut(usize::from(name.0 >> 6)) else {
            return Novelty::Doubtful;
        };
        let before = *word;
        *word |= 1 << (name.0 & 63);
        if *word == before {
            return Novelty::Doubtful;
        }
        Novelty::New
    }
}
