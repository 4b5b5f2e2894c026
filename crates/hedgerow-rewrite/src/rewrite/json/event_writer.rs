//! Appends events to a batch, and copies each short text in one step.
//!
//! An event is built from about two hundred short texts. Appending one to a vector as it is calls a
//! function to copy a few bytes, and these calls cost more than the copying itself. So a block of
//! constant size is appended, which begins with the text, and the vector is shortened to the text's end.

use super::names::Chunk;
use super::output::Output;
use super::span::Span;

/// The number of bytes that are copied in one step.
const BLOCK: usize = 32;

/// Appends one event to a text.
#[derive(Debug)]
pub(in crate::rewrite) struct EventWriter<'o> {
    out: &'o mut Vec<u8>,
    /// The text's memory, moved here during writing: this saves an indirection for each write.
    bytes: Vec<u8>,
    /// Where the event begins.
    start: usize,
}

impl Drop for EventWriter<'_> {
    fn drop(&mut self) {
        *self.out = std::mem::take(&mut self.bytes);
    }
}

impl<'o> EventWriter<'o> {
    /// Creates a writer at the end of a text.
    pub(in crate::rewrite) fn new(out: &'o mut Vec<u8>) -> Self {
        Self {
            start: out.len(),
            bytes: std::mem::take(out),
            out,
        }
    }

    /// Returns the number of bytes that have been written.
    pub(in crate::rewrite) fn at(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Returns the bytes that were written since this position.
    pub(in crate::rewrite) fn since(&self, at: usize) -> &[u8] {
        self.bytes.get(self.start + at..).unwrap_or_default()
    }

    /// Overwrites a written byte.
    pub(in crate::rewrite) fn put_over(&mut self, at: usize, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.start + at) {
            *place = byte;
        }
    }

    /// Writes a copy of the bytes in this range, which have been written before.
    pub(in crate::rewrite) fn again(&mut self, written: std::ops::Range<usize>) {
        if written.start <= written.end && written.end <= self.at() {
            let (start, end) = (self.start + written.start, self.start + written.end);
            self.bytes.extend_from_within(start..end);
        }
    }

    /// Inserts bytes at a position before the current one.
    pub(in crate::rewrite) fn insert(&mut self, at: usize, between: &[u8]) {
        let at = self.start + at;
        self.bytes.splice(at..at, between.iter().copied());
    }

    #[cold]
    #[inline(never)]
    fn make_room(&mut self, bytes: usize) {
        const LEAST: usize = 4096;
        self.bytes.reserve(bytes.max(LEAST));
    }

    /// Appends the first `length` bytes of a block.
    #[inline(always)]
    fn block<const SIZE: usize>(&mut self, block: &[u8; SIZE], length: usize) {
        if self.bytes.capacity() - self.bytes.len() < SIZE {
            self.make_room(SIZE);
        }
        let end = self.bytes.len() + length;
        self.bytes.extend_from_slice(block);
        // A whole block needs no truncation; the compiler knows this for most blocks.
        if length < SIZE {
            self.bytes.truncate(end);
        }
    }

    /// Writes a text that is known at compile time.
    #[inline(always)]
    pub(in crate::rewrite) fn chunk(&mut self, chunk: &Chunk) {
        self.block(&chunk.bytes, usize::from(chunk.length));
    }

    /// Writes bytes whose number is known at compile time.
    #[inline(always)]
    pub(in crate::rewrite) fn array<const SIZE: usize>(&mut self, bytes: &[u8; SIZE]) {
        self.block(bytes, SIZE);
    }

    /// Writes the first `length` of these bytes, and then a part of a text.
    #[inline(always)]
    pub(in crate::rewrite) fn short_and_span(
        &mut self,
        (bytes, length): (&[u8; 16], usize),
        (text, span): (&[u8], Span),
    ) {
        self.block(bytes, length);
        self.span(text, span);
    }

    /// Writes the first `length` of these bytes.
    #[inline(always)]
    pub(in crate::rewrite) fn short(&mut self, bytes: &[u8; 16], length: usize) {
        self.block(bytes, length);
    }

    /// Writes a text in quotes. The text must need no escape.
    pub(in crate::rewrite) fn quoted(&mut self, text: &[u8]) {
        self.push(b'"');
        self.extend_from_slice(text);
        self.push(b'"');
    }

    /// Writes a part of a text, which is usually short.
    #[inline(always)]
    pub(in crate::rewrite) fn span(&mut self, text: &[u8], span: Span) {
        let length = span.end().wrapping_sub(span.start());
        if length <= BLOCK {
            let block = text.get(span.start()..);
            if let Some(block) = block.and_then(|block| block.first_chunk::<BLOCK>()) {
                return self.block(block, length);
            }
        }
        self.extend_from_slice(span.of(text));
    }
}

impl Output for EventWriter<'_> {
    #[inline(always)]
    fn push(&mut self, byte: u8) {
        self.block(&[byte], 1);
    }

    #[inline(never)]
    fn extend_from_slice(&mut self, bytes: &[u8]) {
        if bytes.len() > BLOCK {
            return self.bytes.extend_from_slice(bytes);
        }
        let mut block = [0; BLOCK];
        if let Some(place) = block.get_mut(..bytes.len()) {
            copy(place, bytes);
        }
        self.block(&block, bytes.len());
    }
}

/// Copies a short text into a slice of the same length. The first and the last bytes are each copied in
/// one step. Where the two parts overlap, they are equal.
#[inline(always)]
fn copy(place: &mut [u8], text: &[u8]) {
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
    fn writing_in_place_matches_appending_for_every_buffer_size() {
        let text: Vec<u8> = (0..200).map(|byte| b'a' + byte % 26).collect();
        for room in [0, 1, 31, 32, 47, 48, 100, 5000, 100_000] {
            let mut expected = b"before".to_vec();
            let mut out = Vec::with_capacity(room);
            out.extend_from_slice(b"text,");
            let mut writer = EventWriter::new(&mut out);
            writer.extend_from_slice(b"before");
            for length in 0..60 {
                for start in [0, 100, 200 - length] {
                    let span = Span::new(start, start + length);
                    writer.span(&text, span);
                    expected.extend_from_slice(span.of(&text));
                    writer.push(b'-');
                    expected.push(b'-');
                    writer.extend_from_slice(span.of(&text));
                    expected.extend_from_slice(span.of(&text));
                    let chunk = Chunk::of([b",\"", b"name", b"\":"]);
                    writer.chunk(&chunk);
                    expected.extend_from_slice(b",\"name\":");
                    writer.quoted(span.of(&text));
                    expected.extend([b"\"", span.of(&text), b"\""].concat());
                    writer.short(b"0123456789abcdef", 7);
                    expected.extend_from_slice(b"0123456");
                    writer.short_and_span((b"0123456789abcdef", 9), (&text, span));
                    expected.extend_from_slice(b"012345678");
                    expected.extend_from_slice(span.of(&text));
                    writer.array(b"an array");
                    expected.extend_from_slice(b"an array");
                }
            }
            writer.put_over(0, b'B');
            let first = expected.first_mut().unwrap();
            *first = b'B';
            assert_eq!(writer.since(6), &expected[6..]);
            writer.insert(3, b"between");
            expected.splice(3..3, *b"between");
            writer.again(3..10);
            expected.extend_from_within(3..10);
            let length = writer.at();
            drop(writer);
            assert_eq!(length, expected.len());
            assert_eq!(out, [b"text,", &*expected].concat(), "{room}");
        }
    }
}
