//! JSON as slices: values are found, judged and copied, never built into a tree.

mod repair;
mod scan;
mod skim;
mod text;

pub(super) use repair::repair;
pub(super) use scan::{Entry, Malformed, Scanner, Scratch, Shape, Value};
pub(super) use skim::{Ended, Skim, Skimmed};
pub(super) use text::{is_blank, is_truthy, unescape, write_string};
