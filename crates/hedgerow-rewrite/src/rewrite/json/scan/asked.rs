//! Scans keys, and records them for the reader of an object.

use super::super::block::{special, BLOCK};
use super::super::keys::{hash, word, Novelty, Seen, Word};
use super::super::names::Name;
use super::scalars::behind_plain_string;
use super::Work;

/// Records the keys of an object and finds out what its reader needs to know about them.
pub(super) trait Asked {
    /// Records a key of this length that fits into a word.
    fn note(&mut self, work: &mut Work, word: (Word, usize), hash: u32) -> (Name, Novelty);
    /// Records any key.
    fn note_any(&mut self, work: &mut Work, key: &[u8]) -> (Name, Novelty);
}

/// Only finds repeated keys.
impl Asked for Seen {
    #[inline(always)]
    fn note(&mut self, work: &mut Work, _: (Word, usize), hash: u32) -> (Name, Novelty) {
        (Name::OTHER, work.hashes.note(self, hash))
    }

    fn note_any(&mut self, work: &mut Work, key: &[u8]) -> (Name, Novelty) {
        (Name::OTHER, work.hashes.note(self, hash(key)))
    }
}

/// Reads a short key that has no escapes and is directly followed by its colon, as nearly every key is.
/// Returns its bytes, their number, and the text after the colon.
#[inline(always)]
pub(super) fn plain_key(rest: &[u8]) -> Option<(Word, usize, &[u8])> {
    let Some([b'"', after @ ..]) = rest.first_chunk::<WINDOW>() else {
        return None;
    };
    let block = after.first_chunk::<BLOCK>()?;
    // The bit after those of the block marks the end of a key that fills the block.
    let length = (special(block) | 1 << BLOCK).trailing_zeros() as usize;
    match after.get(length..length + 2) {
        Some(b"\":") => Some((word(block, length), length, rest.get(length + 3..)?)),
        _ => None,
    }
}

/// Returns the text after the string at the start of `rest`, if the string is plain and does not end too
/// close to the end of the text.
#[inline(always)]
pub(super) fn behind_quoted(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [b'"', after @ ..] => behind_plain_string(after),
        _ => None,
    }
}

/// The bytes that must be left so that a key can be read in one step: a block, two quotes and a colon.
const WINDOW: usize = BLOCK + 3;
