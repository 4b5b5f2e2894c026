//! The moments that values of a message state.

use super::json::{inner, is_blank, Shape, Value};
use super::time::{read, read_number, read_plain, Reading};

/// Whether something stands there; a blank text says no more than null.
pub(super) fn has_content(value: Value, text: &[u8]) -> bool {
    value.shape != Shape::Null && !is_blank(value, text)
}

/// The moment that a text or a number says.
pub(super) fn moment(value: Value, text: &[u8]) -> Option<Reading> {
    match value.shape {
        Shape::Number => read_number(value.of(text)),
        Shape::Plain => read_plain(inner(value.of(text))),
        _ if value.is_string() => read(&value.decode(text)),
        _ => None,
    }
}
