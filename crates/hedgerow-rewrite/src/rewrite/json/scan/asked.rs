//! Keys as they are scanned, and what their reader asks of them.

use super::super::block::{special, BLOCK};
use super::super::keys::{hash, word, Novelty, Seen, Word};
use super::super::names::Name;
use super::scalars::behind_plain_string;
use super::Work;

/// What is asked of the keys of an object.
pub(super) trait Asked {
    /// The key that stands here, if it is the one that is expected: how long it is with its quotes and
    /// its colon, and its name. It has been noted then.
    #[inline(always)]
    fn follow(&mut self, _rest: &[u8]) -> Option<(usize, Name)> {
        None
    }
    /// Notes a key that fits a word, of this length.
    fn note(&mut self, work: &mut Work, word: (Word, usize), hash: u32) -> (Name, Novelty);
    /// Notes any key.
    fn note_any(&mut self, work: &mut Work, key: &[u8]) -> (Name, Novelty);
}

/// Only whether one is given twice.
impl Asked for Seen {
    #[inline(always)]
    fn note(&mut self, work: &mut Work, _: (Word, usize), hash: u32) -> (Name, Novelty) {
        (Name::OTHER, work.hashes.note(self, hash))
    }

    fn note_any(&mut self, work: &mut Work, key: &[u8]) -> (Name, Novelty) {
        (Name::OTHER, work.hashes.note(self, hash(key)))
    }
}

/// A short key without escapes that stands here, with its colon right behind it, as nearly every
/// key is: its bytes, how many they are, and what is behind the colon.
#[inline(always)]
pub(super) fn plain_key(rest: &[u8]) -> Option<(Word, usize, &[u8])> {
    let Some([b'"', after @ ..]) = rest.first_chunk::<WINDOW>() else {
        return None;
    };
    let block = after.first_chunk::<BLOCK>()?;
    // The bit behind the block stands for a key that fills it.
    let length = (special(block) | 1 << BLOCK).trailing_zeros() as usize;
    match after.get(length..length + 2) {
        Some(b"\":") => Some((word(block, length), length, rest.get(length + 3..)?)),
        _ => None,
    }
}

/// What is behind the string that stands here, if it is plain and does not end too close to the
/// end of the text.
#[inline(always)]
pub(super) fn behind_quoted(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [b'"', after @ ..] => behind_plain_string(after),
        _ => None,
    }
}

/// A key, its quotes and its colon are read together, if the text has this many bytes left.
const WINDOW: usize = BLOCK + 3;
