//! Writes events into memory that is reserved first, and copies each short text in one step.
//!
//! An event is built from about two hundred short texts. Appending one to a vector calls a function to
//! copy a few bytes, and these calls cost more than the copying itself.

use super::names::Chunk;
use super::output::Output;
use super::span::Span;

/// The number of bytes that are copied in one step.
const BLOCK: usize = 32;

/// Memory that is reused: each text overwrites the one before.
#[derive(Debug, Default)]
pub(in crate::rewrite) struct EventBuffer(Vec<u8>);

impl EventBuffer {
    /// Returns the memory that it holds, in bytes.
    pub(in crate::rewrite) fn held(&self) -> usize {
        self.0.capacity()
    }

    /// Returns the text that was written last; `length` is the writer's last position.
    pub(in crate::rewrite) fn written(&self, length: usize) -> &[u8] {
        self.0.get(..length).unwrap_or_default()
    }
}

/// Writes to a buffer, from its beginning. The bytes after the position are free.
#[derive(Debug)]
pub(in crate::rewrite) struct EventWriter<'o> {
    buffer: &'o mut EventBuffer,
    /// The buffer's memory, moved here during writing: this saves an indirection for each write.
    bytes: Vec<u8>,
    at: usize,
}

impl Drop for EventWriter<'_> {
    fn drop(&mut self) {
        self.buffer.0 = std::mem::take(&mut self.bytes);
    }
}

impl<'o> EventWriter<'o> {
    /// Creates a writer at the beginning of a buffer, for a text of about this many bytes.
    pub(in crate::rewrite) fn new(buffer: &'o mut EventBuffer, bytes: usize) -> Self {
        let mut writer = Self {
            bytes: std::mem::take(&mut buffer.0),
            buffer,
            at: 0,
        };
        if writer.bytes.len() < bytes {
            writer.make_room(bytes);
        }
        writer
    }

    /// Returns the position, in bytes.
    pub(in crate::rewrite) fn at(&self) -> usize {
        self.at
    }

    /// Returns the bytes that were written since this position.
    pub(in crate::rewrite) fn since(&self, start: usize) -> &[u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    /// Overwrites a written byte.
    pub(in crate::rewrite) fn put_over(&mut self, at: usize, byte: u8) {
        if let Some(place) = self.bytes.get_mut(at) {
            *place = byte;
        }
    }

    /// Writes a copy of the bytes in this range, which have been written before.
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

    /// Inserts bytes at a position before the current one.
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

    /// Returns the next `SIZE` bytes of the buffer, if it has as many.
    #[inline(always)]
    fn room<const SIZE: usize>(&mut self) -> Option<&mut [u8; SIZE]> {
        self.bytes.get_mut(self.at..)?.first_chunk_mut()
    }

    /// Writes a text that is known at compile time.
    #[inline(always)]
    pub(in crate::rewrite) fn chunk(&mut self, chunk: &Chunk) {
        let length = usize::from(chunk.length);
        match self.room() {
            Some(place) => {
                *place = chunk.bytes;
                self.at += length;
            }
            None => self.extend_from_slice(chunk.bytes.get(..length).unwrap_or_default()),
        }
    }

    /// Writes bytes whose number is known at compile time.
    #[inline(always)]
    pub(in crate::rewrite) fn array<const SIZE: usize>(&mut self, bytes: &[u8; SIZE]) {
        match self.room() {
            Some(place) => {
                *place = *bytes;
                self.at += SIZE;
            }
            None => self.extend_from_slice(bytes),
        }
    }

    /// Writes the first `length` of these bytes, and then a part of a text.
    #[inline(always)]
    pub(in crate::rewrite) fn short_and_span(
        &mut self,
        (bytes, length): (&[u8; 16], usize),
        (text, span): (&[u8], Span),
    ) {
        let size = span.end().wrapping_sub(span.start());
        if size <= BLOCK {
            let block = text.get(span.start()..);
            let block = block.and_then(|block| block.first_chunk::<BLOCK>());
            if let (Some(block), Some(place)) = (block, self.room::<{ BLOCK + 16 }>()) {
                if let Some(place) = place.first_chunk_mut() {
                    *place = *bytes;
                }
                let place = place.get_mut(length..);
                if let Some(place) = place.and_then(|place| place.first_chunk_mut()) {
                    *place = *block;
                    self.at += length + size;
                    return;
                }
            }
        }
        self.short(bytes, length);
        self.extend_from_slice(span.of(text));
    }

    /// Writes the first `length` of these bytes.
    #[inline(always)]
    pub(in crate::rewrite) fn short(&mut self, bytes: &[u8; 16], length: usize) {
        match self.room() {
            Some(place) => {
                *place = *bytes;
                self.at += length;
            }
            None => self.extend_from_slice(bytes.get(..length).unwrap_or_default()),
        }
    }

    /// Writes a text in quotes. The text must need no escape.
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

    /// Writes a part of a text, which is usually short.
    #[inline(always)]
    pub(in crate::rewrite) fn span(&mut self, text: &[u8], span: Span) {
        let length = span.end().wrapping_sub(span.start());
        if length <= BLOCK {
            let block = text.get(span.start()..);
            let block = block.and_then(|block| block.first_chunk::<BLOCK>());
            if let (Some(block), Some(place)) = (block, self.room::<BLOCK>()) {
                *place = *block;
                self.at += length;
                return;
            }
        }
        self.extend_from_slice(span.of(text));
    }
}

impl Output for EventWriter<'_> {
    #[inline(always)]
    fn push(&mut self, byte: u8) {
        match self.bytes.get_mut(self.at) {
            Some(place) => {
                *place = byte;
                self.at += 1;
            }
            None => self.extend_from_slice(&[byte]),
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

/// Copies a text into a slice of the same length. Most texts are short: of these, the first and the
/// last bytes are each copied in one step. Where the two parts overlap, they are equal.
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
    fn writing_in_place_matches_appending_for_every_buffer_size() {
        let text: Vec<u8> = (0..200).map(|byte| b'a' + byte % 26).collect();
        for room in [0, 1, 31, 32, 47, 48, 100, 5000, 100_000] {
            let mut expected = b"before".to_vec();
            let mut buffer = EventBuffer(vec![b'?'; room]);
            let mut writer = EventWriter::new(&mut buffer, 0);
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
            assert_eq!(buffer.written(length), expected, "{room}");
        }
    }
}
