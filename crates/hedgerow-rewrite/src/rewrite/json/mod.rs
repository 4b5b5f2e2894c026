//! JSON as slices: values are found, judged and copied, never built into a tree.

mod block;
mod keys;
mod names;
mod repair;
mod scan;
mod skim;
mod text;
mod value;

pub(super) use names::{name, Name, Names};
pub(super) use repair::repair;
pub(super) use scan::{Cleanliness, Scanner, Scratch};
pub(super) use skim::{Ended, Skim, Skimmed};
pub(super) use text::{inner, is_blank, is_truthy, unescape, write_string};
pub(super) use value::{Entry, Malformed, Shape, Span, Value};
