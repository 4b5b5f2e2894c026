//! Where each property of an event came from, for `convert --explain`.

use super::json::write_string;

/// Where a value came from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin<'a> {
    /// A place or a reason, in words.
    Fixed(&'static str),
    /// A key below a part of the message.
    Under(&'static str, &'a [u8]),
}

/// What has been written so far, and where it came from.
#[derive(Debug, Default)]
pub(super) struct Trace(Vec<(Vec<u8>, String)>);

impl Trace {
    pub(super) fn note(&mut self, prefix: &[u8], key: &[u8], origin: Origin<'_>) {
        let origin = match origin {
            Origin::Fixed(words) => words.to_owned(),
            Origin::Under(part, key) => format!("{part}.{}", String::from_utf8_lossy(key)),
        };
        self.0.push(([prefix, key].concat(), origin));
    }

    /// An object from property to origin. Keys are JSON text already.
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
