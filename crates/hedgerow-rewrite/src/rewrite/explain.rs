//! Records the origin of each property of an event, for `convert --explain`.

use super::json::{write_string, Scratch};
use super::message::MessagePart;

/// The origin of a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum ValueOrigin<'a> {
    /// A place or a reason, in words.
    Fixed(&'static str),
    /// A key in a part of the message.
    Under(&'static str, &'a [u8]),
}

/// The properties that have been written so far, each with its origin.
#[derive(Debug, Default)]
pub(super) struct Trace(Vec<(Vec<u8>, String)>);

impl Trace {
    pub(super) fn note(&mut self, prefix: &[u8], key: &[u8], origin: ValueOrigin<'_>) {
        let origin = match origin {
            ValueOrigin::Fixed(words) => words.to_owned(),
            ValueOrigin::Under(part, key) => format!("{part}.{}", String::from_utf8_lossy(key)),
        };
        self.0.push(([prefix, key].concat(), origin));
    }

    /// Records the same origin for each entry in `written`, which may begin with a comma.
    pub(super) fn note_all(&mut self, written: &[u8], origin: ValueOrigin<'_>) {
        let entries = written.strip_prefix(b",").unwrap_or(written);
        let object = [b"{", entries, b"}"].concat();
        let mut part = MessagePart::default();
        if part.scan_text(&object, &mut Scratch::default()).is_ok() {
            for entry in &part.entries {
                self.note(b"", entry.key.of(&object), origin);
            }
        }
    }

    /// Removes the record of a property that is not sent after all.
    pub(super) fn forget(&mut self, key: &[u8]) {
        self.0.retain(|(noted, _)| noted != key);
    }

    /// Adds words to the origin of a property.
    pub(super) fn amend(&mut self, key: &[u8], words: &str) {
        for (_, origin) in self.0.iter_mut().filter(|(noted, _)| noted == key) {
            origin.push_str(words);
        }
    }

    /// Writes an object from property to origin. The recorded keys are JSON text already.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (index, (key, origin)) in self.0.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.push(b'"');
            out.extend_from_slice(key);
            out.extend_from_slice(b"\":");
            write_string(out, origin);
        }
        out.push(b'}');
    }
}
