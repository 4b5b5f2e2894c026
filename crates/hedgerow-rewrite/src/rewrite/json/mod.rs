//! JSON as slices: values are found, judged and copied, never built into a tree.

mod block;
mod event_writer;
mod keys;
mod names;
mod repair;
mod scan;
mod skim;
mod text;
mod value;

pub(super) use block::{either, BLOCK};
pub(super) use event_writer::{EventBuffer, EventWriter, Output};
pub(super) use names::{name, Chunk, Marks, Name, Names};
pub(super) use repair::{repair, Workbench};
pub(super) use scan::{find_flat_key, Cleanliness, Key, Scanner, Scratch, Sought, Takes, Whose};
pub(super) use skim::{Ended, Skim, Skimmed};
pub(super) use text::{inner, is_blank, is_truthy, unescape, write_string};
pub(super) use value::{Entry, Malformed, Shape, Span, Value};
