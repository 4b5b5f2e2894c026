//! The position of a part of a text.

/// The position of a part of a text, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::rewrite) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        // No text is longer than the body limit, which the configuration keeps below 4 GiB.
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    /// Returns the bytes of `text` that the span covers.
    pub(in crate::rewrite) fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// Returns the part of `text` that the span covers.
    pub(in crate::rewrite) fn part_of(self, text: &str) -> &str {
        let part = text.get(self.start as usize..self.end as usize);
        part.unwrap_or_default()
    }

    /// Returns the span from the start of `self` to the end of `other`.
    pub(in crate::rewrite) fn to(self, other: Self) -> Self {
        Self {
            start: self.start,
            end: other.end,
        }
    }

    /// Returns the span of the same bytes after their text has moved from offset `from` to offset `to`.
    #[inline(always)]
    pub(in crate::rewrite) fn moved(self, from: usize, to: usize) -> Self {
        let by = (to as u32).wrapping_sub(from as u32);
        Self {
            start: self.start.wrapping_add(by),
            end: self.end.wrapping_add(by),
        }
    }

    /// The offset of the first byte.
    pub(in crate::rewrite) fn start(self) -> usize {
        self.start as usize
    }

    /// The offset after the last byte.
    pub(in crate::rewrite) fn end(self) -> usize {
        self.end as usize
    }
}
