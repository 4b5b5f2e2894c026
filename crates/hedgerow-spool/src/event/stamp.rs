//! Stamps: texts that are inserted into an event without changing its other bytes.

use std::ops::Range;
use std::time::SystemTime;

use serde_json::value::RawValue;

/// A range of an event's text, and the text that replaces it.
pub(super) struct TextEdit {
    pub(super) range: Range<usize>,
    pub(super) written: String,
}

impl TextEdit {
    /// Creates a stamp that inserts a field before all others of the object that begins at `start`.
    pub(super) fn first_in(text: &str, start: usize, mut field: String) -> Self {
        let after = start + 1;
        let rest = text.get(after..).unwrap_or_default();
        if !rest.trim_start().starts_with('}') {
            field.push(',');
        }
        Self {
            range: after..after,
            written: field,
        }
    }
}

/// Returns the position of a parsed value in the text that it borrows from.
pub(super) fn range_of(value: &RawValue, text: &str) -> Range<usize> {
    let start = (value.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    start..start + value.get().len()
}

/// Returns the text with the stamps inserted, or `None` if there are no stamps.
pub(super) fn stamped(text: &str, mut stamps: [Option<TextEdit>; 2]) -> Option<String> {
    stamps.sort_by_key(|stamp| stamp.as_ref().map(|stamp| stamp.range.start));
    let mut out = String::new();
    let mut from = 0;
    for stamp in stamps.into_iter().flatten() {
        out.reserve(text.len() + 64);
        out.push_str(text.get(from..stamp.range.start)?);
        out.push_str(&stamp.written);
        from = stamp.range.end;
    }
    if from == 0 {
        return None;
    }
    out.push_str(text.get(from..)?);
    Some(out)
}

pub(super) fn rfc3339(time: SystemTime) -> String {
    chrono::DateTime::<chrono::Utc>::from(time).to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
