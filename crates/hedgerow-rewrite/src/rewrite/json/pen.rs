//! Writing in place: memory is reserved first, and short texts are copied in one step.
//!
//! An event is some two hundred short texts. To append each of them to a vector is a call to copy a
//! few bytes, and those calls cost more than the bytes.

use super::names::Chunk;
use super::value::Span;

/// Where text is written to.
pub(in crate::rewrite) trait Sink {
    /// Appends a byte.
    fn push(&mut self, byte: u8);
    /// Appends bytes.
    fn extend_from_slice(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn push(&mut self, byte: u8) {
        self.push(byte);
    }

    fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// The bytes that are copied in one step.
const BLOCK: usize = 32;

/// Memory that is overwritten from text to text.
#[derive(Debug, Default)]
pub(in crate::rewrite) struct Sheet(Vec<u8>);

impl Sheet {
    /// The memory it holds, in bytes.
    pub(in crate::rewrite) fn held(&self) -> usize {
        self.0.capacity()
    }

    /// The text that was written last, with the length that the pen has reported.
    pub(in crate::rewrite) fn written(&self, length: usize) -> &[u8] {
        self.0.get(..length).unwrap_or_default()
    }
}

/// A position on a sheet. The bytes behind it are free.
#[derive(Debug)]
pub(in crate::rewrite) struct Pen<'o> {
    bytes: &'o mut Vec<u8>,
    at: usize,
}

impl<'o> Pen<'o> {
    /// A pen at the beginning of a sheet, for a text of about this many bytes.
    pub(in crate::rewrite) fn new(sheet: &'o mut Sheet, bytes: usize) -> Self {
        let mut pen = Self {
            bytes: &mut sheet.0,
            at: 0,
        };
        if pen.bytes.len() < bytes {
            pen.make_room(bytes);
        }
        pen
    }

    /// Its position.
    pub(in crate::rewrite) fn at(&self) -> usize {
        self.at
    }

    /// The bytes written since this position.
    pub(in crate::rewrite) fn since(&self, start: usize) -> &[u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    /// Overwrites a written byte.
    pub(in crate::rewrite) fn put_over(&mut self, at: usize, byte: u8) {
        if let Some(place) = self.bytes.get_mut(at) {
            *place = byte;
        }
    }

    /// Writes the bytes of this range again.
    pub(in crate::rewrite) fn again(&mut self, written: std::ops::Range<usize>) {
        let end = self.at + written.len();
        if self.bytes.len() < end {
            self.make_room(written.len());
        }
        if written.end <= self.at {
            self.bytes.copy_within(written, self.at);
            self.at = end;
        }
    }

    /// Inserts bytes between written ones.
    pub(in crate::rewrite) fn insert(&mut self, at: usize, between: &[u8]) {
        self.at += between.len();
        self.bytes.splice(at..at, between.iter().copied());
    }

    #[cold]
    #[inline(never)]
    fn make_room(&mut self, bytes: usize) {
        const LEAST: usize = 4096;
        let room = self.at + bytes.max(self.at).max(LEAST);
        self.bytes.resize(room, 0);
    }

    /// Writes a text that is known at compile time.
    #[inline(always)]
    pub(in crate::rewrite) fn chunk(&mut self, chunk: &Chunk) {
        loop {
            let rest = self.bytes.get_mut(self.at..);
            if let Some(place) = rest.and_then(|rest| rest.first_chunk_mut()) {
                *place = chunk.bytes;
                self.at += usize::from(chunk.length);
                return;
            }
            self.make_room(Chunk::ROOM);
        }
    }

    /// Writes the first bytes of these.
    #[inline(always)]
    pub(in crate::rewrite) fn short(&mut self, bytes: &[u8; 16], length: usize) {
        loop {
            let rest = self.bytes.get_mut(self.at..);
            if let Some(place) = rest.and_then(|rest| rest.first_chunk_mut()) {
                *place = *bytes;
                self.at += length;
                return;
            }
            self.make_room(16);
        }
    }

    /// Writes a text in quotes, which needs no escape.
    pub(in crate::rewrite) fn quoted(&mut self, text: &[u8]) {
        loop {
            let end = self.at + text.len() + 2;
            if let Some([before, place @ .., behind]) = self.bytes.get_mut(self.at..end) {
                (*before, *behind) = (b'"', b'"');
                copy(place, text);
                self.at = end;
                return;
            }
            self.make_room(text.len() + 2);
        }
    }

    /// Copies a part of a text, which is usually short.
    #[inline(always)]
    pub(in crate::rewrite) fn span(&mut self, text: &[u8], span: Span) {
        let length = span.end().wrapping_sub(span.start());
        if length <= BLOCK {
            let block = text.get(span.start()..);
            let block = block.and_then(|block| block.first_chunk::<BLOCK>());
            let rest = self.bytes.get_mut(self.at..);
            let place = rest.and_then(|rest| rest.first_chunk_mut::<BLOCK>());
            if let (Some(block), Some(place)) = (block, place) {
                *place = *block;
                self.at += length;
                return;
            }
        }
        self.extend_from_slice(span.of(text));
    }
}

impl Sink for Pen<'_> {
    #[inline(always)]
    fn push(&mut self, byte: u8) {
        loop {
            if let Some(place) = self.bytes.get_mut(self.at) {
                *place = byte;
                self.at += 1;
                return;
            }
            self.make_room(1);
        }
    }

    #[inline(never)]
    fn extend_from_slice(&mut self, bytes: &[u8]) {
        loop {
            let end = self.at + bytes.len();
            if let Some(place) = self.bytes.get_mut(self.at..end) {
                copy(place, bytes);
                self.at = end;
                return;
            }
            self.make_room(bytes.len());
        }
    }
}

/// Copies a text, most of which are short, into a place of its length. The first and the last bytes
/// of a short one are copied in one step each; where the two overlap they are the same.
#[inline(always)]
fn copy(place: &mut [u8], text: &[u8]) {
    if text.len() > 32 {
        return place.copy_from_slice(text);
    }
    let is_copied = ends::<16>(place, text) || ends::<8>(place, text) || ends::<4>(place, text);
    if !is_copied {
        for (place, byte) in place.iter_mut().zip(text) {
            *place = *byte;
        }
    }
}

#[inline(always)]
fn ends<const SIZE: usize>(place: &mut [u8], text: &[u8]) -> bool {
    let (Some(first), Some(last)) = (text.first_chunk::<SIZE>(), text.last_chunk::<SIZE>()) else {
        return false;
    };
    if let Some(place) = place.first_chunk_mut() {
        *place = *first;
    }
    if let Some(place) = place.last_chunk_mut() {
        *place = *last;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_place_is_what_would_be_appended_however_little_room_there_is() {
        let text: Vec<u8> = (0..200).map(|byte| b'a' + byte % 26).collect();
        for room in [0, 1, 31, 32, 47, 48, 100, 5000, 100_000] {
            let mut expected = b"before".to_vec();
            let mut sheet = Sheet(vec![b'?'; room]);
            let mut pen = Pen::new(&mut sheet, 0);
            pen.extend_from_slice(b"before");
            for length in 0..60 {
                for start in [0, 100, 200 - length] {
                    let span = Span::new(start, start + length);
                    pen.span(&text, span);
                    expected.extend_from_slice(span.of(&text));
                    pen.push(b'-');
                    expected.push(b'-');
                    pen.extend_from_slice(span.of(&text));
                    expected.extend_from_slice(span.of(&text));
                    let chunk = Chunk::of([b",\"", b"name", b"\":"]);
                    pen.chunk(&chunk);
                    expected.extend_from_slice(b",\"name\":");
                    pen.quoted(span.of(&text));
                    expected.extend([b"\"", span.of(&text), b"\""].concat());
                    pen.short(b"0123456789abcdef", 7);
                    expected.extend_from_slice(b"0123456");
                }
            }
            pen.put_over(0, b'B');
            let first = expected.first_mut().unwrap();
            *first = b'B';
            assert_eq!(pen.since(6), &expected[6..]);
            pen.insert(3, b"between");
            expected.splice(3..3, *b"between");
            pen.again(3..10);
            expected.extend_from_within(3..10);
            let length = pen.at();
            assert_eq!(length, expected.len());
            assert_eq!(sheet.written(length), expected, "{room}");
        }
    }
}
