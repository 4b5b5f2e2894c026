//! Repairs text that is almost JSON by writing a clean copy of it.
//!
//! It follows JavaScript, from which this traffic comes, or PostHog's advice: lone surrogates and bad
//! UTF-8 become U+FFFD; `NaN`, `Infinity` and numbers beyond a double become null; a repeated key keeps
//! its last value; control characters are escaped; and strings lose needless escapes.
//!
//! Clients can send any number of messages that need a repair, in any form. So the repair reuses its
//! memory for keys and objects, and its time is linear in the number of bytes.

use ahash::RandomState;

use super::block::plain_run;
use super::scan::{fits_a_double, hex4};
use super::text::{write_control, write_escaped};
use super::value::Malformed;
use crate::posthog::NESTING_LIMIT;

/// Memory that is reused for each text.
#[derive(Debug, Default)]
pub(in crate::rewrite) struct RepairBuffers {
    frames: Vec<OpenContainer>,
    /// The entries of all open objects; those of the innermost object are last.
    entries: Vec<RepairEntry>,
    /// The hashes of an object's keys, each with the index of its entry.
    order: Vec<(u32, u32)>,
    /// For each place in an object, the index of the entry that is written there, if any.
    written_entries: Vec<Option<u32>>,
    /// The index of the first entry of each key, among entries with the same hash.
    firsts: Vec<u32>,
    /// The new text of an object from which overridden entries are removed.
    kept: Vec<u8>,
    state: RandomState,
}

impl RepairBuffers {
    /// Returns the memory that it holds, in bytes.
    pub(in crate::rewrite) fn held(&self) -> usize {
        self.frames.capacity() * size_of::<OpenContainer>()
            + self.entries.capacity() * size_of::<RepairEntry>()
            + self.order.capacity() * size_of::<(u32, u32)>()
            + self.written_entries.capacity() * size_of::<Option<u32>>()
            + self.firsts.capacity() * size_of::<u32>()
            + self.kept.capacity()
    }
}

/// Writes a clean copy of the value in `text` (valid UTF-8) to `out`.
pub(in crate::rewrite) fn repair(
    text: &str,
    out: &mut Vec<u8>,
    buffers: &mut RepairBuffers,
) -> Result<(), Malformed> {
    buffers.frames.clear();
    buffers.entries.clear();
    // Escaped characters grow, but most texts have few.
    out.reserve(text.len() + text.len() / 8);
    Repair {
        text: text.as_bytes(),
        at: 0,
        out,
        buffers,
    }
    .run()
}

struct Repair<'t, 'o> {
    text: &'t [u8],
    at: usize,
    out: &'o mut Vec<u8>,
    buffers: &'o mut RepairBuffers,
}

/// An array or object that has not ended.
#[derive(Debug, Clone, Copy)]
enum OpenContainer {
    Array,
    Object {
        /// The offset of its text in the output.
        start: usize,
        /// The index of its first entry.
        entries: usize,
    },
}

/// An entry of an object, as offsets into the output.
#[derive(Debug, Clone, Copy)]
struct RepairEntry {
    /// A hash of its key as written; clients cannot predict it.
    hash: u32,
    start: u32,
    /// The end of its key.
    key: u32,
    end: u32,
}

impl RepairEntry {
    fn key(self, out: &[u8]) -> &[u8] {
        out.get(self.start as usize..self.key as usize)
            .unwrap_or_default()
    }

    fn of(self, out: &[u8]) -> &[u8] {
        out.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

enum RepairStep {
    Element,
    After,
}

impl Repair<'_, '_> {
    fn run(&mut self) -> Result<(), Malformed> {
        let mut step = RepairStep::Element;
        loop {
            match step {
                RepairStep::Element => {
                    let byte = self.peek().ok_or(Malformed::Syntax)?;
                    match byte {
                        b'{' => {
                            self.open(OpenContainer::Object {
                                start: self.out.len(),
                                entries: self.buffers.entries.len(),
                            })?;
                            self.out.push(b'{');
                            if self.peek() != Some(b'}') {
                                self.key()?;
                                continue;
                            }
                        }
                        b'[' => {
                            self.open(OpenContainer::Array)?;
                            self.out.push(b'[');
                            if self.peek() != Some(b']') {
                                continue;
                            }
                        }
                        _ => self.scalar(byte)?,
                    }
                    step = RepairStep::After;
                }
                RepairStep::After => {
                    let Some(frame) = self.buffers.frames.last().copied() else {
                        return match self.peek() {
                            None => Ok(()),
                            Some(_) => Err(Malformed::Syntax),
                        };
                    };
                    match (self.peek(), frame) {
                        (Some(b','), OpenContainer::Object { .. }) => {
                            self.at += 1;
                            self.end_entry();
                            self.out.push(b',');
                            self.key()?;
                            step = RepairStep::Element;
                        }
                        (Some(b','), OpenContainer::Array) => {
                            self.at += 1;
                            self.out.push(b',');
                            step = RepairStep::Element;
                        }
                        (Some(b'}'), OpenContainer::Object { start, entries }) => {
                            self.at += 1;
                            if self.buffers.entries.len() > entries {
                                self.end_entry();
                            }
                            self.close_object(start, entries);
                        }
                        (Some(b']'), OpenContainer::Array) => {
                            self.at += 1;
                            self.buffers.frames.pop();
                            self.out.push(b']');
                        }
                        _ => return Err(Malformed::Syntax),
                    }
                }
            }
        }
    }

    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at).copied() {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn open(&mut self, frame: OpenContainer) -> Result<(), Malformed> {
        if self.buffers.frames.len() >= NESTING_LIMIT {
            return Err(Malformed::TooDeep);
        }
        self.at += 1;
        self.buffers.frames.push(frame);
        Ok(())
    }

    fn key(&mut self) -> Result<(), Malformed> {
        if self.peek() != Some(b'"') {
            return Err(Malformed::Syntax);
        }
        let start = self.out.len();
        self.string()?;
        if self.peek() != Some(b':') {
            return Err(Malformed::Syntax);
        }
        self.at += 1;
        let key = self.out.get(start..).unwrap_or_default();
        // The size of the output is limited like that of the input, far below 4 GiB.
        self.buffers.entries.push(RepairEntry {
            hash: self.buffers.state.hash_one(key) as u32,
            start: start as u32,
            key: self.out.len() as u32,
            end: start as u32,
        });
        self.out.push(b':');
        Ok(())
    }

    fn end_entry(&mut self) {
        if let Some(entry) = self.buffers.entries.last_mut() {
            entry.end = self.out.len() as u32;
        }
    }

    /// Ends an object. If a key is repeated, its last entry takes the place of its first, as in
    /// JavaScript, and the others are removed. This copies a byte at most once per level of nesting,
    /// which is limited, so the work stays linear in the length of the text.
    fn close_object(&mut self, start: usize, from: usize) {
        self.buffers.frames.pop();
        if self.buffers.overrides(from, self.out) {
            let RepairBuffers {
                entries,
                written_entries,
                kept,
                ..
            } = &mut *self.buffers;
            kept.clear();
            kept.push(b'{');
            let entries = entries.get(from..).unwrap_or_default();
            for index in written_entries.iter().flatten() {
                let Some(entry) = entries.get(*index as usize) else {
                    continue;
                };
                if kept.len() > 1 {
                    kept.push(b',');
                }
                kept.extend_from_slice(entry.of(self.out));
            }
            self.out.truncate(start);
            self.out.extend_from_slice(kept);
        }
        self.buffers.entries.truncate(from);
        self.out.push(b'}');
    }

    fn scalar(&mut self, first: u8) -> Result<(), Malformed> {
        let words: &[(&[u8], &[u8])] = match first {
            b'"' => return self.string(),
            b't' => &[(b"true", b"true")],
            b'f' => &[(b"false", b"false")],
            b'n' => &[(b"null", b"null")],
            b'N' => &[(b"NaN", b"null")],
            b'I' => &[(b"Infinity", b"null")],
            b'-' => &[(b"-Infinity", b"null")],
            _ => &[],
        };
        for (word, written) in words {
            if self.rest().starts_with(word) {
                self.at += word.len();
                self.out.extend_from_slice(written);
                return Ok(());
            }
        }
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest
            .iter()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
            .unwrap_or(rest.len());
        let number = rest.get(..length).unwrap_or_default();
        self.at += length;
        // The scanner reads this copy again and refuses it if it is not a number.
        if number.is_empty() {
            return Err(Malformed::Syntax);
        }
        let is_small = length < 300 && !number.iter().any(|byte| matches!(byte, b'e' | b'E'));
        if !is_small && number.iter().any(u8::is_ascii_digit) && !fits_a_double(number) {
            self.out.extend_from_slice(b"null");
        } else {
            self.out.extend_from_slice(number);
        }
        Ok(())
    }

    /// Copies a string without its needless escapes, so that equal strings have equal bytes.
    fn string(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        self.out.push(b'"');
        loop {
            let run = plain_run(self.rest());
            let plain = self.text.get(self.at..self.at + run).unwrap_or_default();
            self.out.extend_from_slice(plain);
            self.at += run;
            match self.rest() {
                [b'"', ..] => {
                    self.at += 1;
                    self.out.push(b'"');
                    return Ok(());
                }
                [b'\\', ..] => self.escapes()?,
                [_, ..] => self.controls(),
                [] => return Err(Malformed::Syntax),
            }
        }
    }

    /// Escapes the run of control characters at the position.
    fn controls(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let ends = rest.iter().position(|byte| !matches!(byte, 0..=0x1f));
        let run = rest.get(..ends.unwrap_or(rest.len())).unwrap_or_default();
        for control in run {
            write_control(self.out, *control);
        }
        self.at += run.len();
    }

    /// Rewrites the run of escapes at the position.
    fn escapes(&mut self) -> Result<(), Malformed> {
        while let [b'\\', ..] = self.rest() {
            self.at += 1;
            let character = self.escape()?;
            write_escaped(self.out, character.encode_utf8(&mut [0; 4]));
        }
        Ok(())
    }

    /// Reads an escape and returns its character; `at` is after the backslash.
    fn escape(&mut self) -> Result<char, Malformed> {
        let byte = self.text.get(self.at).copied().ok_or(Malformed::Syntax)?;
        self.at += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let text = self.text;
                let unit = hex4(text, self.at).ok_or(Malformed::Syntax)?;
                self.at += 4;
                let pair = text.get(self.at..self.at + 2) == Some(b"\\u");
                match unit {
                    0xd800..=0xdbff if pair => match hex4(text, self.at + 2) {
                        Some(low @ 0xdc00..=0xdfff) => {
                            self.at += 6;
                            char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
                        }
                        _ => None,
                    },
                    unit => char::from_u32(unit),
                }
                .unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return Err(Malformed::Syntax),
        })
    }
}

impl RepairBuffers {
    /// Returns whether an entry of the innermost object, whose entries begin at `from`, may override
    /// another. If so, fills `written_entries`.
    fn overrides(&mut self, from: usize, out: &[u8]) -> bool {
        let entries = self.entries.get(from..).unwrap_or_default();
        if entries.len() < 2 {
            return false;
        }
        let numbered = entries.iter().zip(0..);
        self.order.clear();
        self.order
            .extend(numbered.map(|(entry, number)| (entry.hash, number)));
        let key = |(hash, number): &(u32, u32)| u64::from(*hash) << 32 | u64::from(*number);
        self.order.sort_unstable_by_key(key);
        self.written_entries.clear();
        let mut rest = self.order.as_slice();
        while let [(hash, _), ..] = rest {
            let length = rest.iter().take_while(|(other, _)| other == hash).count();
            let (same, others) = rest.split_at(length);
            rest = others;
            if same.len() < 2 {
                continue;
            }
            if self.written_entries.is_empty() {
                self.written_entries
                    .extend((0..entries.len() as u32).map(Some));
            }
            place_last_entries(
                same,
                (entries, out),
                (&mut self.firsts, &mut self.written_entries),
            );
        }
        // Two different keys may have the same hash; then each entry stays in its place.
        !self.written_entries.is_empty()
    }
}

/// Takes the entries whose keys have the same hash, in their order, and moves the last entry of each key
/// to the place of its first. There are rarely two different keys among them.
fn place_last_entries(
    same: &[(u32, u32)],
    (entries, out): (&[RepairEntry], &[u8]),
    (firsts, written_entries): (&mut Vec<u32>, &mut [Option<u32>]),
) {
    let key = |number: u32| {
        let entry = entries.get(number as usize);
        entry.map(|entry| entry.key(out)).unwrap_or_default()
    };
    firsts.clear();
    for (_, number) in same {
        let first = firsts.iter().find(|first| key(**first) == key(*number));
        let Some(first) = first else {
            firsts.push(*number);
            continue;
        };
        if let Some(place) = written_entries.get_mut(*number as usize) {
            *place = None;
        }
        if let Some(place) = written_entries.get_mut(*first as usize) {
            *place = Some(*number);
        }
    }
}

#[cfg(test)]
#[path = "repair_tests.rs"]
mod tests;
