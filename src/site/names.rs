//! Neutral names: the parts of the paths that a page requests (adblock 6).
//!
//! A name consists of lower-case consonants and the digits 2 to 9. Without vowels it cannot contain
//! a word such as `ad`, `hit` or `pixel` by accident, and it does not look like the hexadecimal names
//! of ad networks that filter lists match. Every deployment has its own names, because one rule could
//! block a layout that is the same everywhere (adblock 4).

use sha1::{Digest, Sha1};
use thiserror::Error;

/// The characters of a generated name: 20 consonants and 8 digits.
pub const ALPHABET: &[u8; 28] = b"bcdfghjklmnpqrstvwxz23456789";

/// The number of letters in [`ALPHABET`]. A name starts with a letter.
const LETTERS: u8 = 20;

/// The length of a generated path prefix (adblock 6).
pub const PREFIX_LENGTH: usize = 8;

/// The number of random bytes that is enough for all names of an installation, rejected bytes and
/// names included.
pub const ENOUGH_RANDOM_BYTES: usize = 512;

/// Words that must not appear in a URL of the default layout (adblock 6), and their usual spellings
/// without vowels, which the alphabet can produce.
pub const FORBIDDEN: &[&str] = &[
    "analytics",
    "segment",
    "posthog",
    "hog",
    "ingest",
    "track",
    "collect",
    "event",
    "pixel",
    "beacon",
    "phc_",
    "ad",
    "trk",
    "trck",
    "pxl",
    "sgmt",
    "phg",
    "gtm",
    "bcn",
    "vnt",
    "nlytcs",
    "clct",
    "cllct",
    "rrwb",
    "stts",
    "tlmtr",
];

/// Why no name could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NamesError {
    /// The generator has used all its random bytes.
    #[error("expected more random bytes: {ENOUGH_RANDOM_BYTES} are always enough")]
    TooFewBytes,
}

/// Returns the first word of [`FORBIDDEN`] that the text contains, if any. Case does not matter.
pub fn forbidden_word(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    FORBIDDEN.iter().copied().find(|word| text.contains(word))
}

/// Returns whether a text is valid as one part of a path: 1 to 64 letters, digits, `-`, `_` and `.`,
/// but not dots only.
pub fn is_path_part(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().any(|byte| byte != b'.')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Makes names from random bytes. It never returns the same name twice.
#[derive(Debug)]
pub struct NameGenerator<'a> {
    random: std::slice::Iter<'a, u8>,
    used: Vec<String>,
}

impl<'a> NameGenerator<'a> {
    /// Returns a generator that uses these random bytes, which must come from the system's random
    /// generator.
    pub fn new(random: &'a [u8]) -> Self {
        Self {
            random: random.iter(),
            used: Vec::new(),
        }
    }

    /// Returns a path prefix of 8 characters.
    ///
    /// # Errors
    /// [`NamesError::TooFewBytes`] if the random bytes run out.
    pub fn prefix(&mut self) -> Result<String, NamesError> {
        self.of_length(PREFIX_LENGTH)
    }

    /// Returns a name of 6 to 8 characters.
    ///
    /// # Errors
    /// [`NamesError::TooFewBytes`] if the random bytes run out.
    pub fn name(&mut self) -> Result<String, NamesError> {
        let extra = self.below(3)?;
        self.of_length(6 + usize::from(extra))
    }

    fn of_length(&mut self, length: usize) -> Result<String, NamesError> {
        loop {
            let mut name = String::with_capacity(length);
            for position in 0..length {
                let bound = if position == 0 { LETTERS } else { 28 };
                name.push(letter(self.below(bound)?));
            }
            if forbidden_word(&name).is_none() && !self.used.contains(&name) {
                self.used.push(name.clone());
                return Ok(name);
            }
        }
    }

    /// Returns a number below `bound`; all are equally likely. Bytes at or above the largest multiple
    /// of `bound` are skipped.
    fn below(&mut self, bound: u8) -> Result<u8, NamesError> {
        let limit = 256 - 256 % u16::from(bound);
        loop {
            let byte = *self.random.next().ok_or(NamesError::TooFewBytes)?;
            if u16::from(byte) < limit {
                return Ok(byte % bound);
            }
        }
    }
}

/// Returns the neutral name of a word in a deployment with this seed: always the same 7 characters.
/// Without the seed they reveal nothing about the word.
pub fn derive(seed: &str, word: &str) -> String {
    let mut attempt = 0u32;
    loop {
        let mut hash = Sha1::new();
        hash.update(seed.as_bytes());
        hash.update([0]);
        hash.update(word.as_bytes());
        hash.update(attempt.to_be_bytes());
        let name = encode(&hash.finalize(), 7);
        if forbidden_word(&name).is_none() {
            return name;
        }
        attempt = attempt.wrapping_add(1);
    }
}

/// Writes the first bytes of a digest in the alphabet of names. The first character is a letter.
fn encode(digest: &[u8], length: usize) -> String {
    digest
        .iter()
        .take(length)
        .enumerate()
        .map(|(position, byte)| letter(byte % if position == 0 { LETTERS } else { 28 }))
        .collect()
}

fn letter(index: u8) -> char {
    ALPHABET
        .get(usize::from(index))
        .map_or('b', |byte| char::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns pseudo-random bytes, so that the tests use many installations and always the same ones.
    fn bytes(seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(2).wrapping_add(1);
        (0..ENOUGH_RANDOM_BYTES)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 24) as u8
            })
            .collect()
    }

    #[test]
    fn names_have_the_promised_length_and_alphabet_and_never_spell_a_forbidden_word() {
        for seed in 0..2_000 {
            let random = bytes(seed);
            let mut names = NameGenerator::new(&random);
            let mut seen = vec![names.prefix().unwrap()];
            assert_eq!(seen[0].len(), PREFIX_LENGTH);
            for _ in 0..20 {
                let name = names.name().unwrap();
                assert!((6..=8).contains(&name.len()), "{name}");
                assert!(!seen.contains(&name), "{name} twice");
                seen.push(name);
            }
            for name in seen {
                assert!(name.bytes().all(|byte| ALPHABET.contains(&byte)), "{name}");
                assert!(name.as_bytes()[0].is_ascii_lowercase(), "{name}");
                assert_eq!(forbidden_word(&name), None, "{name}");
            }
        }
    }

    #[test]
    fn a_name_that_would_spell_a_forbidden_word_is_drawn_again() {
        let index = |wanted: u8| ALPHABET.iter().position(|byte| *byte == wanted).unwrap() as u8;
        // The first byte selects the length 6. The next give `trkbbb`, then `kkkkkk`.
        let mut random = vec![0];
        random.extend(b"trkbbb".map(index));
        random.extend([index(b'k'); 6]);
        assert_eq!(NameGenerator::new(&random).name().unwrap(), "kkkkkk");
    }

    #[test]
    fn every_character_is_drawn_equally_often_from_equally_frequent_bytes() {
        // 252 bytes are nine rounds of the alphabet. The last four bytes are skipped.
        let all: Vec<u8> = (0..=255).collect();
        let mut names = NameGenerator::new(&all);
        let mut counts = [0u32; 28];
        while let Ok(index) = names.below(28) {
            counts[usize::from(index)] += 1;
        }
        assert_eq!(counts, [9; 28]);
    }

    #[test]
    fn too_few_bytes_are_an_error_not_a_weak_name() {
        assert_eq!(
            NameGenerator::new(&[1, 2, 3]).prefix(),
            Err(NamesError::TooFewBytes)
        );
    }

    #[test]
    fn derived_names_are_stable_differ_by_seed_and_stay_neutral() {
        assert_eq!(derive("seed", "recorder.js"), derive("seed", "recorder.js"));
        assert_ne!(
            derive("seed", "recorder.js"),
            derive("other", "recorder.js")
        );
        for seed in 0..5_000 {
            let name = derive(&seed.to_string(), "static");
            assert_eq!(name.len(), 7);
            assert_eq!(forbidden_word(&name), None, "{name}");
        }
    }

    #[test]
    fn path_parts_cannot_leave_their_folder() {
        for bad in ["", ".", "..", "a/b", "a b", "%2e", "ä", &"a".repeat(65)] {
            assert!(!is_path_part(bad), "{bad:?}");
        }
        assert!(is_path_part("k3v9x2mn"));
        assert!(is_path_part("v1.2_x-y"));
    }
}
