//! The prefixes of the context's keys.

/// The prefix of the keys of a part of the context.
#[derive(Debug)]
pub(super) struct Prefix {
    pub(super) text: &'static [u8],
    /// The comma, the quote and the prefix, in the first `length` bytes.
    pub(super) opening: [u8; 16],
    pub(super) length: usize,
}

impl Prefix {
    #[allow(clippy::indexing_slicing)]
    const fn of(text: &'static [u8]) -> Self {
        let mut opening = [0; 16];
        (opening[0], opening[1]) = (b',', b'"');
        let mut at = 0;
        while at < text.len() {
            opening[2 + at] = text[at];
            at += 1;
        }
        Self {
            text,
            opening,
            length: 2 + at,
        }
    }
}

/// The prefix of the campaign's keys.
pub(super) static UTM: Prefix = Prefix::of(b"utm_");

/// The prefix of the context's own keys.
pub(super) static SEGMENT: Prefix = Prefix::of(b"segment_");
