//! Reads keys in one step, as nearly all can be read.

use super::super::block::{special, BLOCK};
use super::super::keys::{word, Word};

/// The bytes that must be left so that a key can be read in one step: a block, two quotes and a colon.
const WINDOW: usize = BLOCK + 3;

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
