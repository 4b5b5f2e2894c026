//! Compares the keys of an object with those expected, and records them from the first different one on.

use std::ops::Range;

use super::super::keys::{hash, Novelty, Seen, Word};
use super::super::name_sets::Names;
use super::super::names::Name;
use super::expected_keys::{
    ExpectedKey, KeyOrder, KeyOrders, OrderUpdate, OrderUpdates, MOST_KEYS,
};
use super::key_recorder::KeyRecorder;
use super::memory::ScanState;
use super::object_kind::ObjectKind;

/// After this many objects in a row that were not as expected, the next one is remembered. Messages of
/// several libraries alternate, and remembering costs more than a miss, so the most common keys should
/// stay.
const MISSES_BEFORE_UPDATE: u8 = 32;

/// Compares the keys of one object with those expected of its kind, and records which known names it has.
pub(super) struct KeyTracker<'h> {
    names: Names,
    others: Seen,
    kind: usize,
    /// The expected keys of the kind, as long as the object has them.
    order: Option<&'h KeyOrder>,
    /// The keys that are expected next; none after a different key.
    expected: &'h [ExpectedKey],
    /// Whether the keys of the object are to be remembered.
    remembering: Remembering,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remembering {
    No,
    /// They are to be remembered, and this many have been.
    Keys(usize),
    /// As many as possible are remembered.
    Enough,
}

/// Returns the keys that are expected in an object of this kind, if there are any.
#[inline(always)]
pub(super) fn expected_order<'h>(
    kind: ObjectKind,
    orders: &'h KeyOrders,
    state: &ScanState,
) -> Option<&'h KeyOrder> {
    let order = orders.of.get(kind.index())?;
    let missed = state.updates.missed.get(kind.index())?;
    (!order.keys.is_empty() && *missed < MISSES_BEFORE_UPDATE).then_some(order)
}

/// Records that an object of this kind has exactly the expected keys.
#[inline(always)]
pub(super) fn met_expectation(kind: ObjectKind, state: &mut ScanState) {
    if let Some(missed) = state.updates.missed.get_mut(kind.index()) {
        *missed = 0;
    }
}

impl<'h> KeyTracker<'h> {
    #[inline(always)]
    pub(super) fn of(kind: ObjectKind, orders: &'h KeyOrders, state: &mut ScanState) -> Self {
        let mut tracker = Self {
            names: Names::default(),
            others: state.hashes.open(),
            kind: kind.index(),
            order: None,
            expected: &[],
            remembering: Remembering::No,
        };
        match expected_order(kind, orders, state) {
            Some(order) => {
                tracker.order = Some(order);
                tracker.expected = &order.keys;
            }
            None if kind.is_remembered() => tracker.remembering = Remembering::Keys(0),
            None => {}
        }
        tracker
    }

    /// Returns the keys that are expected next.
    #[inline(always)]
    pub(super) fn expected(&self) -> std::slice::Iter<'h, ExpectedKey> {
        self.expected.iter()
    }

    /// Stores the expected keys that have not been read yet.
    #[inline(always)]
    pub(super) fn set_expected(&mut self, expected: &std::slice::Iter<'h, ExpectedKey>) {
        self.expected = expected.as_slice();
    }

    /// Ends the comparison because the object has a different key, and records its keys so far.
    #[inline(never)]
    fn leave(&mut self, state: &mut ScanState, order: &KeyOrder) {
        let matched = order.keys.len() - self.expected.len();
        self.expected = &[];
        for key in order.keys.iter().take(matched) {
            // The result is not needed, because expected keys all differ.
            self.note_named(state, key.name, key.hash);
        }
        if let Some(missed) = state.updates.missed.get_mut(self.kind) {
            *missed = missed.saturating_add(1);
        }
    }

    #[inline(always)]
    fn note_named(&mut self, state: &mut ScanState, name: Name, hash: u32) -> Novelty {
        if name.is_unknown() {
            if name != Name::OTHER {
                self.names.add(name);
            }
            return state.hashes.note(&mut self.others, hash);
        }
        self.names.note(name)
    }

    #[inline(never)]
    fn remember(
        &mut self,
        state: &mut ScanState,
        (key, name, hash): (&[u8], Name, u32),
        novelty: Novelty,
    ) {
        let Remembering::Keys(number) = self.remembering else {
            return;
        };
        if number == MOST_KEYS {
            self.remembering = Remembering::Enough;
            return;
        }
        self.remembering = Remembering::Keys(number + 1);
        let pending = &mut state.updates.pending;
        if number == 0 {
            pending.push(OrderUpdate::Begin(self.kind));
        }
        match ExpectedKey::of(key, name, hash) {
            Some(key) if novelty == Novelty::New => pending.push(OrderUpdate::Key(self.kind, key)),
            // The keys before this one stay remembered.
            None if novelty == Novelty::New => self.remembering = Remembering::No,
            _ => {
                pending.push(OrderUpdate::Forget(self.kind));
                self.remembering = Remembering::No;
            }
        }
    }

    /// Records the form of the array or object under the last key, which is well-formed and clean but
    /// does not have the expected form. `left` is the number of expected keys after this one.
    #[inline(never)]
    pub(super) fn note_form(
        &self,
        state: &mut ScanState,
        (text, value): (&[u8], Range<usize>),
        left: usize,
    ) {
        let OrderUpdates {
            pending,
            other_forms,
            ..
        } = &mut state.updates;
        if matches!(self.remembering, Remembering::Keys(1..)) {
            if let Some(OrderUpdate::Key(kind, key)) = pending.last_mut() {
                if *kind == self.kind {
                    key.form = key.form_of(text, value);
                }
            }
            return;
        }
        let (Some(order), Some(others)) = (self.order, other_forms.get_mut(self.kind)) else {
            return;
        };
        *others = others.saturating_add(1);
        if *others >= MISSES_BEFORE_UPDATE {
            *others = 0;
            let number = order.keys.len().wrapping_sub(left + 1);
            let key = order.keys.get(number);
            if let Some(form) = key.and_then(|key| key.form_of(text, value)) {
                pending.push(OrderUpdate::Form(self.kind, number, form));
            }
        }
    }

    /// Ends the object. Returns its known names, and the record of its other keys.
    #[inline(always)]
    pub(super) fn end(&mut self, state: &mut ScanState) -> (Names, Seen) {
        if let Some(order) = self.order.take() {
            if self.expected.is_empty() {
                self.names = order.names;
                if let Some(missed) = state.updates.missed.get_mut(self.kind) {
                    *missed = 0;
                }
            } else {
                self.leave(state, order);
            }
        }
        if self.remembering != Remembering::No {
            if let Some(missed) = state.updates.missed.get_mut(self.kind) {
                *missed = 0;
            }
        }
        (self.names, self.others)
    }
}

impl KeyRecorder for KeyTracker<'_> {
    #[inline(always)]
    fn note(
        &mut self,
        state: &mut ScanState,
        (word, length): (Word, usize),
        hash: u32,
    ) -> (Name, Novelty) {
        if let Some(order) = self.order.take() {
            self.leave(state, order);
        }
        let name = Name::of_word(word, hash);
        let novelty = self.note_named(state, name, hash);
        if matches!(self.remembering, Remembering::Keys(_)) {
            let bytes = word.to_le_bytes();
            let key = bytes.get(..length).unwrap_or_default();
            self.remember(state, (key, name, hash), novelty);
        }
        (name, novelty)
    }

    fn note_any(&mut self, state: &mut ScanState, key: &[u8]) -> (Name, Novelty) {
        if let Some(order) = self.order.take() {
            self.leave(state, order);
        }
        let hash = hash(key);
        let name = Name::of(key, hash);
        let novelty = self.note_named(state, name, hash);
        if matches!(self.remembering, Remembering::Keys(_)) {
            self.remember(state, (key, name, hash), novelty);
        }
        (name, novelty)
    }
}
