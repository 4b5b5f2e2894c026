//! Reads the times in values of a message.

use super::json::{inner, is_blank, Shape, Value};
use super::time::{read, read_number, read_plain, KnownDate, Reading};

/// Returns whether a value is neither null nor a blank string.
pub(super) fn has_content(value: Value, text: &[u8]) -> bool {
    value.shape != Shape::Null && !is_blank(value, text)
}

/// Returns the time that a string or a number states.
pub(super) fn moment(value: Value, text: &[u8]) -> Option<Reading> {
    moment_near(&value, text, &mut KnownDate::default())
}

/// Does the same as [`moment`], and is faster if the time has the known date; otherwise its date becomes
/// the known one.
#[inline]
pub(super) fn moment_near(value: &Value, text: &[u8], known: &mut KnownDate) -> Option<Reading> {
    match value.shape {
        Shape::Plain => read_plain(inner(value.of(text)), known),
        _ => other_moment(*value, text),
    }
}

#[inline(never)]
fn other_moment(value: Value, text: &[u8]) -> Option<Reading> {
    match value.shape {
        Shape::Number => read_number(value.of(text)),
        _ if value.is_string() => read(&value.decode(text)),
        _ => None,
    }
}
