//! Reads and writes JSON as slices: values are found, checked and copied, never built into a tree.

mod block;
mod event_writer;
mod keys;
mod name_sets;
mod names;
mod output;
mod repair;
mod scan;
#[cfg(test)]
mod scanned;
mod skim;
mod span;
mod text;
mod truth;
mod value;

pub(super) use block::{either, BLOCK};
pub(super) use event_writer::EventWriter;
pub(super) use name_sets::{Marks, Names};
pub(super) use names::{name, Chunk, Name};
pub(super) use output::Output;
pub(super) use repair::{repair, RepairBuffers};
pub(super) use scan::{
    find_flat_key, Cleanliness, EntryReceiver, FlatSearch, Key, ObjectKind, Scanner, Scratch,
};
#[cfg(test)]
pub(super) use scanned::scanned;
pub(super) use skim::{Ended, Skim, Skimmed};
pub(super) use span::Span;
pub(super) use text::{inner, unescape, write_string};
pub(super) use truth::{is_blank, is_truthy};
pub(super) use value::{Entry, Malformed, Shape, Value};
