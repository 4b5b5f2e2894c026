//! Hashes the keys of an object, to find repeated keys.

use super::block::BLOCK;

/// If an object has more keys than this, they are compared at its end, sorted by their hashes.
const KEYS_COMPARED: usize = 128;

/// The bytes of a key that is not longer than a block, padded with zeros.
pub(super) type Word = u128;

/// For each length, a mask that keeps this many bytes.
#[allow(clippy::indexing_slicing)]
static MASKS: [Word; 2 * BLOCK] = {
    let mut masks = [Word::MAX; 2 * BLOCK];
    let mut length = 0;
    while length < BLOCK {
        masks[length] = !(Word::MAX << (8 * length));
        length += 1;
    }
    masks
};

/// Returns the word with the first `length` bytes of a block.
#[inline(always)]
pub(super) fn word(block: &[u8; BLOCK], length: usize) -> Word {
    let mask = MASKS.get(length % (2 * BLOCK)).copied();
    Word::from_le_bytes(*block) & mask.unwrap_or(Word::MAX)
}

/// Returns the word of a key, if the key is not longer than a block.
#[inline(always)]
pub(super) fn known_word(key: &[u8]) -> Option<Word> {
    // Where the first and the last bytes overlap, they are equal.
    let behind = |last: Word, size: usize| last << (8 * (key.len() - size));
    Some(match (key.len(), key) {
        (17.., _) => return None,
        (8.., _) => {
            let first = u64::from_le_bytes(*key.first_chunk()?);
            let last = u64::from_le_bytes(*key.last_chunk()?);
            Word::from(first) | behind(Word::from(last), 8)
        }
        (4.., _) => {
            let first = u32::from_le_bytes(*key.first_chunk()?);
            let last = u32::from_le_bytes(*key.last_chunk()?);
            Word::from(first) | behind(Word::from(last), 4)
        }
        (_, [first, .., last]) => {
            let middle = key.get(key.len() / 2).copied()?;
            Word::from(*first)
                | Word::from(middle) << (8 * (key.len() / 2))
                | behind(Word::from(*last), 1)
        }
        (_, [only]) => Word::from(*only),
        _ => 0,
    })
}

/// Returns a quick hash of a short key. Two keys with the same hash only cost a pass through `repair`.
#[inline(always)]
pub(super) const fn hash_of_word(word: Word) -> u32 {
    let folded = word as u64 ^ ((word >> 64) as u64).rotate_left(29);
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

/// Returns the hash of any key. For a short key it is the hash of its word.
#[inline(never)]
pub(super) fn hash(key: &[u8]) -> u32 {
    let mut state = 0;
    let mut rest = key;
    while let Some((block, after)) = rest.split_first_chunk::<BLOCK>() {
        if after.is_empty() {
            break;
        }
        state = mixed(state, Word::from_le_bytes(*block));
        rest = after;
    }
    mixed(state, known_word(rest).unwrap_or_default())
}

/// Does the same as [`hash`] at compile time.
pub(super) const fn hash_of_constant(key: &[u8]) -> u32 {
    let mut state = 0;
    let mut rest = key;
    while let Some((block, after)) = rest.split_first_chunk::<BLOCK>() {
        if after.is_empty() {
            break;
        }
        state = mixed(state, Word::from_le_bytes(*block));
        rest = after;
    }
    let mut word = 0;
    while let [before @ .., last] = rest {
        word = word << 8 | *last as Word;
        rest = before;
    }
    mixed(state, word)
}

const fn mixed(state: u32, word: Word) -> u32 {
    state.rotate_left(5).wrapping_mul(0x9e37_79b1) ^ hash_of_word(word)
}

/// The hashes of the keys of all open objects; those of the innermost object are last.
#[derive(Debug, Default)]
pub(super) struct Hashes(Vec<u32>);

/// The keys of one object so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// A bit for the lowest six bits of each hash. Most keys are new because their bit is not set.
    bits: u64,
    /// The index of the object's first hash.
    from: u32,
}

/// Whether a key may be a repetition within its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Novelty {
    New,
    /// The object may already have the key.
    Doubtful,
}

impl Hashes {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Returns the memory that it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        self.0.capacity() * size_of::<u32>()
    }

    /// Begins an object.
    #[inline(always)]
    pub(super) fn open(&self) -> Seen {
        Seen {
            bits: 0,
            from: self.0.len() as u32,
        }
    }

    /// Records a key of the innermost object.
    #[inline(always)]
    pub(super) fn note(&mut self, seen: &mut Seen, hash: u32) -> Novelty {
        let bit = 1 << (hash & 63);
        let novelty = if seen.bits & bit == 0 {
            Novelty::New
        } else {
            self.look(*seen, hash)
        };
        seen.bits |= bit;
        self.0.push(hash);
        novelty
    }

    #[inline(never)]
    fn look(&self, seen: Seen, hash: u32) -> Novelty {
        let known = self.0.get(seen.from as usize..).unwrap_or_default();
        if known.len() <= KEYS_COMPARED && known.contains(&hash) {
            return Novelty::Doubtful;
        }
        Novelty::New
    }

    /// Ends the innermost object. Compares its keys if there are more than [`KEYS_COMPARED`].
    #[inline(always)]
    pub(super) fn close(&mut self, seen: Seen) -> Novelty {
        let from = seen.from as usize;
        let novelty = if self.0.len() - from > KEYS_COMPARED {
            self.compare(from)
        } else {
            Novelty::New
        };
        self.0.truncate(from);
        novelty
    }

    #[inline(never)]
    fn compare(&mut self, from: usize) -> Novelty {
        let hashes = self.0.get_mut(from..).unwrap_or_default();
        hashes.sort_unstable();
        let mut neighbours = hashes.iter().zip(hashes.iter().skip(1));
        let twice = neighbours.any(|(one, other)| one == other);
        match twice {
            true => Novelty::Doubtful,
            false => Novelty::New,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_key_has_one_hash_however_it_is_read() {
        let text = b"abcdefghijklmnopqrstuvwxyz";
        assert_eq!(known_word(text), None);
        for length in 0..=BLOCK {
            let word = word(text.first_chunk().unwrap(), length);
            assert_eq!(hash_of_word(word), hash(&text[..length]), "{length}");
            assert_eq!(known_word(&text[..length]), Some(word), "{length}");
        }
        let long = text.repeat(4);
        for length in 0..long.len() {
            let key = &long[..length];
            assert_eq!(hash(key), hash_of_constant(key), "{length}");
        }
    }

    #[test]
    fn a_key_is_doubtful_exactly_when_it_was_there_in_its_own_object() {
        let mut hashes = Hashes::default();
        let mut outer = hashes.open();
        for key in 0..64 {
            assert_eq!(hashes.note(&mut outer, key << 6), Novelty::New);
        }
        let mut inner = hashes.open();
        assert_eq!(hashes.note(&mut inner, 0), Novelty::New);
        assert_eq!(hashes.note(&mut inner, 0), Novelty::Doubtful);
        assert_eq!(hashes.close(inner), Novelty::New);
        assert_eq!(hashes.note(&mut outer, 0), Novelty::Doubtful);
        for key in 64..1000 {
            hashes.note(&mut outer, key << 6);
        }
        let twice = hashes.close(outer);
        assert_eq!(twice, Novelty::Doubtful, "0 was noted again above");
    }

    #[test]
    fn one_of_very_many_keys_that_is_given_twice_is_found_at_the_end() {
        for (count, again, expected) in [
            (128, None, Novelty::New),
            (129, None, Novelty::New),
            (5000, None, Novelty::New),
            (5000, Some(0), Novelty::Doubtful),
            (5000, Some(4999), Novelty::Doubtful),
        ] {
            let mut hashes = Hashes::default();
            let mut outer = hashes.open();
            hashes.note(&mut outer, 7);
            let mut seen = hashes.open();
            let mut novelty = Novelty::New;
            for key in (0..count).chain(again) {
                if hashes.note(&mut seen, key) == Novelty::Doubtful {
                    novelty = Novelty::Doubtful;
                }
            }
            if hashes.close(seen) == Novelty::Doubtful {
                novelty = Novelty::Doubtful;
            }
            assert_eq!(novelty, expected, "{count} {again:?}");
            assert_eq!(hashes.note(&mut outer, 8), Novelty::New);
            assert_eq!(hashes.note(&mut outer, 7), Novelty::Doubtful);
        }
    }
}
