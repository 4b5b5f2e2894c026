//! Records the keys of an object for its reader.

use super::super::keys::{hash, Novelty, Seen, Word};
use super::super::names::Name;
use super::memory::ScanState;

/// Records the keys of an object and finds out what its reader needs to know about them.
pub(super) trait KeyRecorder {
    /// Records a key of this length that fits into a word.
    fn note(&mut self, state: &mut ScanState, word: (Word, usize), hash: u32) -> (Name, Novelty);
    /// Records any key.
    fn note_any(&mut self, state: &mut ScanState, key: &[u8]) -> (Name, Novelty);
}

/// Only finds repeated keys.
impl KeyRecorder for Seen {
    #[inline(always)]
    fn note(&mut self, state: &mut ScanState, _: (Word, usize), hash: u32) -> (Name, Novelty) {
        (Name::OTHER, state.hashes.note(self, hash))
    }

    fn note_any(&mut self, state: &mut ScanState, key: &[u8]) -> (Name, Novelty) {
        (Name::OTHER, state.hashes.note(self, hash(key)))
    }
}
