//! JSON as slices: values are found, judged and copied, never built into a tree.

mod block;
mod keys;
mod names;
mod pen;
mod repair;
mod scan;
mod skim;
mod text;
mod value;

pub(super) use block::{either, BLOCK};
pub(super) use names::{name, Chunk, Name, Names};
pub(super) use pen::{Pen, Sheet, Sink};
pub(super) use repair::{repair, Workbench};
pub(super) use scan::{Cleanliness, Scanner, Scratch, Whose};
pub(super) use skim::{Ended, Skim, Skimmed};
pub(super) use text::{inner, is_blank, is_truthy, unescape, write_string};
pub(super) use value::{Entry, Malformed, Shape, Span, Value};
