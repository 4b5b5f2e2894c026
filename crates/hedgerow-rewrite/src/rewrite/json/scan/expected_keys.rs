//! Remembers which keys to expect: libraries write the same keys in the same order in every message.
//!
//! For each kind of object, the keys of an earlier one are remembered. As long as the next object has the
//! same keys, one comparison recognises each key, and none can be repeated: the scanner need not search
//! for the key's end, hash it or record it. From the first different key on, it scans the object as usual.

use std::ops::Range;

use super::super::block::plain_run;
use super::super::name_sets::Names;
use super::super::names::Name;
use super::super::span::Span;
use super::super::value::{Entry, Value};
use super::forms::{window, with_scalar, Form, Literal, LONGEST as LONGEST_LITERAL, MOST_PARTS};
use super::object_kind::KINDS;

/// The most keys of one object that are remembered.
pub(super) const MOST_KEYS: usize = 32;

/// The longest key that is remembered, in bytes.
const LONGEST: usize = LONGEST_LITERAL - AROUND;

/// The bytes around a key: two quotes and a colon.
const AROUND: usize = 3;

/// A key that is expected.
#[derive(Debug)]
pub(in crate::rewrite) struct ExpectedKey {
    /// The key with its quotes and its colon.
    literal: Literal,
    pub(super) name: Name,
    pub(super) hash: u32,
    /// The form of the array or object under the key, if it had one.
    pub(super) form: Option<Form>,
}

impl ExpectedKey {
    /// Returns none for a key that is too long, or that has escapes and so cannot be compared as bytes.
    pub(super) fn of(key: &[u8], name: Name, hash: u32) -> Option<Self> {
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
    pub(super) fn form_of(&self, text: &[u8], value: Range<usize>) -> Option<Form> {
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

/// The keys that are expected in an object of one kind, in their order and none of them twice.
#[derive(Debug, Default)]
pub(super) struct KeyOrder {
    pub(super) keys: Vec<ExpectedKey>,
    pub(super) names: Names,
}

impl KeyOrder {
    fn held(&self) -> usize {
        let forms = self.keys.iter().filter_map(|key| key.form.as_ref());
        self.keys.capacity() * size_of::<ExpectedKey>() + forms.map(Form::held).sum::<usize>()
    }

    fn apply(&mut self, update: OrderUpdate) {
        match update {
            OrderUpdate::Key(_, mut key) => {
                // The scanner has checked that the keys differ. This check is repeated here because
                // expected keys are not checked for repetition later.
                let is_known = self.keys.iter().any(|known| known.hash == key.hash);
                if self.keys.len() < MOST_KEYS && !is_known {
                    key.form = key.form.filter(|form| self.has_room_for(form));
                    // A name with a known prefix is added as well.
                    if key.name != Name::OTHER {
                        self.names.add(key.name);
                    }
                    self.keys.push(key);
                }
            }
            OrderUpdate::Form(_, number, form) => {
                if let Some(key) = self.keys.get_mut(number) {
                    key.form = None;
                }
                let form = Some(form).filter(|form| self.has_room_for(form));
                if let Some(key) = self.keys.get_mut(number) {
                    key.form = form;
                }
            }
            OrderUpdate::Begin(_) | OrderUpdate::Forget(_) => {
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
pub(super) struct KeyOrders {
    pub(super) of: [KeyOrder; KINDS],
    /// The memory that they hold in total, in bytes.
    held: usize,
}

/// A change to the expected keys, which is applied before the next text is scanned.
#[derive(Debug)]
pub(super) enum OrderUpdate {
    /// Deletes the keys of this kind, because a new object is to be remembered.
    Begin(usize),
    /// Adds a key to this kind.
    Key(usize, ExpectedKey),
    /// Deletes the keys of this kind, because the object may repeat a key.
    Forget(usize),
    /// Replaces the form under a key, given the kind and the index of the key.
    Form(usize, usize, Form),
}

/// The changes to make, and how often expectations were not met.
#[derive(Debug, Default)]
pub(super) struct OrderUpdates {
    pub(super) pending: Vec<OrderUpdate>,
    /// For each kind, the number of objects in a row that had other keys.
    pub(super) missed: [u8; KINDS],
    /// For each kind, the number of values that had other forms. Reset after
    /// `MISSES_BEFORE_UPDATE` of them.
    pub(super) other_forms: [u8; KINDS],
}

impl OrderUpdates {
    /// Returns the memory that it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        self.pending.capacity() * size_of::<OrderUpdate>()
    }
}

impl KeyOrders {
    /// Returns the memory that it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Applies the changes from the last text.
    #[inline(always)]
    pub(super) fn apply(&mut self, updates: &mut OrderUpdates) {
        if !updates.pending.is_empty() {
            self.apply_now(updates);
        }
    }

    #[inline(never)]
    fn apply_now(&mut self, updates: &mut OrderUpdates) {
        for update in updates.pending.drain(..) {
            let (OrderUpdate::Begin(kind)
            | OrderUpdate::Key(kind, _)
            | OrderUpdate::Forget(kind)
            | OrderUpdate::Form(kind, ..)) = &update;
            if let Some(order) = self.of.get_mut(*kind) {
                order.apply(update);
            }
        }
        self.held = self.of.iter().map(KeyOrder::held).sum();
    }
}
