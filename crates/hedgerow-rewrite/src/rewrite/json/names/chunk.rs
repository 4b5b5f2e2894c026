//! Short texts that are written in one step.

/// A short text, padded so that it is copied in one step whatever its length.
#[derive(Debug, Clone, Copy)]
pub(in crate::rewrite) struct Chunk {
    pub(in crate::rewrite) bytes: [u8; Chunk::ROOM],
    pub(in crate::rewrite) length: u8,
}

impl Chunk {
    /// The length of the longest text, in bytes.
    pub(in crate::rewrite) const ROOM: usize = 48;

    /// Joins three texts.
    #[allow(clippy::indexing_slicing)]
    pub(in crate::rewrite) const fn of(texts: [&[u8]; 3]) -> Self {
        let mut piece = Self {
            bytes: [0; Self::ROOM],
            length: 0,
        };
        let mut text = 0;
        while text < texts.len() {
            let mut at = 0;
            while at < texts[text].len() {
                piece.bytes[piece.length as usize] = texts[text][at];
                piece.length += 1;
                at += 1;
            }
            text += 1;
        }
        piece
    }
}
