//! What is written before the keys of a part of the context.

/// What stands before the keys of a part of the context.
#[derive(Debug)]
pub(super) struct Prefix {
    pub(super) text: &'static [u8],
    /// The prefix with the text before it: this many bytes of these.
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

/// Of the campaign's.
pub(super) static UTM: Prefix = Prefix::of(b"utm_");

/// Of the context's own.
pub(super) static SEGMENT: Prefix = Prefix::of(b"segment_");
