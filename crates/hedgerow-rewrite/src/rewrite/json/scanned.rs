//! Scans the values of unit tests.

use super::scan::{Scanner, Scratch};
use super::value::Value;

/// Returns the value that is the whole text.
pub(in crate::rewrite) fn scanned(text: &str) -> Value {
    let mut scratch = Scratch::default();
    Scanner::new(text.as_bytes(), &mut scratch).value().unwrap()
}
