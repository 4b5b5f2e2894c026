//! Neutral names: the parts of the paths that a page requests (adblock 6).
//!
//! Lower-case consonants and the digits 2 to 9. Without vowels no accidental word such as `ad`,
//! `hit` or `pixel` can appear, and no hexadecimal shape that the lists know from ad networks.
//! Every deployment has its own names, because a layout that is equal everywhere is one rule away
//! from being blocked everywhere (adblock 4).

use sha1::{Digest, Sha1};
use thiserror::Error;

/// The characters of a generated name: 20 consonants and 8 digits.
pub const ALPHABET: &[u8; 28] = b"bcdfghjklmnpqrstvwxz23456789";

/// How many of [`ALPHABET`] are letters; a name starts with one.
const LETTERS: u8 = 20;

/// The length of a generated path prefix (adblock 6).
pub const PREFIX_LENGTH: usize = 8;

/// Random bytes that are enough for a complete installation, including rejected ones.
pub const ENOUGH_RANDOM_BYTES: usize = 512;

/// Words that must not appear in a URL of the default layout (adblock 6), and the usual ways of
/// writing them without vowels, which the alphabet could spell.
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
    /// The random bytes handed in ran out.
    #[error("expected more random bytes: {ENOUGH_RANDOM_BYTES} are always enough")]
    TooFewBytes,
}

/// The first forbidden word in a text, if any. Case does not matter.
pub fn forbidden_word(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    FORBIDDEN.iter().copied().find(|word| text.contains(word))
}

/// Whether a text is valid as one part of a path: letters, digits, `-`, `_`, `.`, 1 to 64 of them,
/// and neither `.` nor `..`.
pub fn is_path_part(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().any(|byte| byte != b'.')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Draws names from random bytes; no two names it gives are equal.
#[derive(Debug)]
pub struct NameGenerator<'a> {
    random: std::slice::Iter<'a, u8>,
    given: Vec<String>,
}

impl<'a> NameGenerator<'a> {
    /// A source of names that uses these random bytes, which must come from the system's
    /// generator.
    pub fn new(random: &'a [u8]) -> Self {
        Self {
            random: random.iter(),
            given: Vec::new(),
        }
    }

    /// A path prefix: 8 characters.
    ///
    /// # Errors
    /// [`NamesError::TooFewBytes`] when the random bytes ran out.
    pub fn prefix(&mut self) -> Result<String, NamesError> {
        self.of_length(PREFIX_LENGTH)
    }

    /// A name of 6 to 8 characters.
    ///
    /// # Errors
    /// [`NamesError::TooFewBytes`] when the random bytes ran out.
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
            if forbidden_word(&name).is_none() && !self.given.contains(&name) {
                self.given.push(name.clone());
                return Ok(name);
            }
        }
    }

    /// A number below `bound`, every one equally likely: bytes past the last whole multiple are
    /// deleted.
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

/// The neutral name of a word in a deployment with this seed: always the same 7 characters, which
/// reveal nothing about the word without the seed.
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

/// The first bytes of a digest in the alphabet of names; the first character is a letter.
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

    /// A small generator, so that the tests see many installations and always the same ones.
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
        // The first byte asks for length 6, then `trkbbb`, then `kkkkkk`.
        let mut random = vec![0];
        random.extend(b"trkbbb".map(index));
        random.extend([index(b'k'); 6]);
        assert_eq!(NameGenerator::new(&random).name().unwrap(), "kkkkkk");
    }

    #[test]
    fn every_character_is_drawn_equally_often_from_equally_frequent_bytes() {
        // 252 bytes are nine rounds of the alphabet; the four bytes left are deleted.
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
