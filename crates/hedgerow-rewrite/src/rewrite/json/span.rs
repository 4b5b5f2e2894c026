//! The position of something in a text.

/// The position of something in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::rewrite) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        // Texts are bounded by the body limit, which the configuration keeps below 4 GiB.
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    /// The bytes of `text` that it covers.
    pub(in crate::rewrite) fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// The same of a text that is known to be UTF-8.
    pub(in crate::rewrite) fn part_of(self, text: &str) -> &str {
        let part = text.get(self.start as usize..self.end as usize);
        part.unwrap_or_default()
    }

    /// From its beginning to the end of another.
    pub(in crate::rewrite) fn to(self, other: Self) -> Self {
        Self {
            start: self.start,
            end: other.end,
        }
    }

    /// The same, of a text that began at one place and begins at another now.
    #[inline(always)]
    pub(in crate::rewrite) fn moved(self, from: usize, to: usize) -> Self {
        let by = (to as u32).wrapping_sub(from as u32);
        Self {
            start: self.start.wrapping_add(by),
            end: self.end.wrapping_add(by),
        }
    }

    /// Where it begins.
    pub(in crate::rewrite) fn start(self) -> usize {
        self.start as usize
    }

    /// Where it ends.
    pub(in crate::rewrite) fn end(self) -> usize {
        self.end as usize
    }
}
