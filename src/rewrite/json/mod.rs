//! JSON as slices: values are found, judged and copied, never built into a tree.

mod block;
mod keys;
mod repair;
mod scan;
mod skim;
mod text;
mod value;

pub(super) use repair::repair;
pub(super) use scan::{Scanner, Scratch};
pub(super) use skim::{Ended, Skim, Skimmed};
pub(super) use text::{inner, is_blank, is_truthy, unescape, write_string};
pub(super) use value::{Entry, Malformed, Shape, Span, Value};
