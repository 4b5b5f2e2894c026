//! Matches all path patterns of `drop` and of `hash` at once.
//!
//! Each step of each pattern is one bit of a row. A name moves every step that it matches one bit
//! further. One look-up finds all steps that are plain names, however many there are, and each name
//! with stars takes one comparison. Most names match nothing, so that only the `**` steps stay set.

use std::collections::HashMap;

use ahash::RandomState;

use super::pattern::{NamePattern, PathPattern, PatternStep};

/// The number of steps that fit a word. No pattern is split between two words, because it needs at
/// most 33 bits: 32 steps and its end.
const BITS: usize = u64::BITS as usize;

/// The patterns of `drop` and of `hash`.
#[derive(Debug, Default)]
pub(in crate::rewrite) struct PatternMatcher {
    /// The steps that each plain name matches.
    plain: HashMap<Box<[u8]>, Vec<PatternBit>, RandomState>,
    /// A bit for each byte that a plain name begins with.
    first_bytes: [u64; 4],
    /// The steps of each name with stars.
    stars: Vec<(NamePattern, Vec<PatternBit>)>,
    /// The first step of each pattern.
    begin: Vec<u64>,
    /// The `**` steps.
    depths: Vec<u64>,
    /// The ends of the `drop` patterns. `hashes` holds the ends of the `hash` patterns.
    drops: Vec<u64>,
    hashes: Vec<u64>,
    indexes: Indexes,
}

/// Whether the patterns distinguish the elements of an array by their indexes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::rewrite) enum Indexes {
    /// A pattern that matches one index matches all.
    #[default]
    Alike,
    Different,
}

#[derive(Debug, Clone, Copy)]
struct PatternBit {
    word: usize,
    bit: u64,
}

/// The result of the patterns for the value at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) struct PatternsAt {
    pub(in crate::rewrite) drops: bool,
    pub(in crate::rewrite) hashes: bool,
    /// Whether a pattern may match something inside the value.
    pub(in crate::rewrite) goes_on: bool,
}

impl PatternMatcher {
    pub(in crate::rewrite) fn new(drop: &[PathPattern], hash: &[PathPattern]) -> Self {
        let mut matcher = Self::default();
        let mut used = BITS;
        let drops = drop.iter().map(|pattern| (pattern, true));
        for (pattern, drops) in drops.chain(hash.iter().map(|pattern| (pattern, false))) {
            let steps = pattern.steps();
            if used + steps.len() + 1 > BITS {
                for row in [
                    &mut matcher.begin,
                    &mut matcher.depths,
                    &mut matcher.drops,
                    &mut matcher.hashes,
                ] {
                    row.push(0);
                }
                used = 0;
            }
            let word = matcher.begin.len() - 1;
            let set = |row: &mut Vec<u64>, bit: u64| {
                if let Some(word) = row.last_mut() {
                    *word |= bit;
                }
            };
            set(&mut matcher.begin, 1 << used);
            for step in steps {
                let bit = PatternBit {
                    word,
                    bit: 1 << used,
                };
                match step {
                    PatternStep::AnyDepth => set(&mut matcher.depths, bit.bit),
                    PatternStep::Name(name) => matcher.add(name, bit),
                }
                used += 1;
            }
            let ends = match drops {
                true => &mut matcher.drops,
                false => &mut matcher.hashes,
            };
            set(ends, 1 << used);
            used += 1;
        }
        matcher
    }

    fn add(&mut self, name: &NamePattern, bit: PatternBit) {
        if name.distinguishes_numbers() {
            self.indexes = Indexes::Different;
        }
        match name.plain() {
            Some(plain) => {
                if let Some(first) = plain.as_bytes().first() {
                    if let Some(first_bytes) = self.first_bytes.get_mut(usize::from(first >> 6)) {
                        *first_bytes |= 1 << (first & 63);
                    }
                }
                let bits = self.plain.entry(plain.as_bytes().into()).or_default();
                bits.push(bit);
            }
            None => match self.stars.iter_mut().find(|(known, _)| known == name) {
                Some((_, bits)) => bits.push(bit),
                None => self.stars.push((name.clone(), vec![bit])),
            },
        }
    }

    /// Returns the number of words in a row; 0 if there are no patterns.
    pub(in crate::rewrite) fn words(&self) -> usize {
        self.begin.len()
    }

    /// Returns whether the caller must pass the real indexes of an array's elements.
    pub(in crate::rewrite) fn indexes(&self) -> Indexes {
        self.indexes
    }

    /// Appends the row with which every path begins.
    pub(in crate::rewrite) fn begin(&self, rows: &mut Vec<u64>) {
        for (begin, depths) in self.begin.iter().zip(&self.depths) {
            rows.push(closed(*begin, *depths));
        }
    }

    /// Appends the row after one more name, and returns the result for the value there. The row
    /// before begins at `from`.
    #[inline]
    pub(in crate::rewrite) fn follow(
        &self,
        rows: &mut Vec<u64>,
        from: usize,
        name: &[u8],
    ) -> PatternsAt {
        let to = rows.len();
        for word in 0..self.words() {
            let before = rows.get(from + word).copied().unwrap_or(0);
            let depths = self.depths.get(word).copied().unwrap_or(0);
            rows.push(before & depths);
        }
        let take = |rows: &mut Vec<u64>, bits: &[PatternBit]| {
            for PatternBit { word, bit } in bits {
                let has = rows.get(from + word).is_some_and(|row| row & bit != 0);
                if let (true, Some(row)) = (has, rows.get_mut(to + word)) {
                    *row |= bit << 1;
                }
            }
        };
        let first = name.first().copied().unwrap_or(0);
        let first_bytes = self.first_bytes.get(usize::from(first >> 6)).copied();
        if first_bytes.unwrap_or(0) & 1 << (first & 63) != 0 {
            if let Some(bits) = self.plain.get(name) {
                take(rows, bits);
            }
        }
        for (pattern, bits) in &self.stars {
            let is_open = bits.iter().any(|PatternBit { word, bit }| {
                rows.get(from + word).is_some_and(|row| row & bit != 0)
            });
            if is_open && pattern.fits(name) {
                take(rows, bits);
            }
        }
        let mut reached = PatternsAt {
            drops: false,
            hashes: false,
            goes_on: false,
        };
        let rows = rows.get_mut(to..).unwrap_or_default();
        let ends = self.drops.iter().zip(&self.hashes);
        for ((row, depths), (drops, hashes)) in rows.iter_mut().zip(&self.depths).zip(ends) {
            *row = closed(*row, *depths);
            reached.drops |= *row & drops != 0;
            reached.hashes |= *row & hashes != 0;
            reached.goes_on |= *row & !(drops | hashes) != 0;
        }
        reached
    }
}

/// Adds the step after each `**` in a row, because `**` also matches no name at all.
#[inline(always)]
fn closed(mut row: u64, depths: u64) -> u64 {
    loop {
        let more = row | (row & depths) << 1;
        if more == row {
            return row;
        }
        row = more;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Hit;
    use super::*;

    #[test]
    fn patterns_matched_together_give_the_result_of_each_one() {
        let paths = |texts: &[String]| -> Vec<PathPattern> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let names = ["a", "b", "ab", "*", "a*", "*b*", "**", "7"];
        let mut texts: Vec<String> = names.map(str::to_owned).to_vec();
        for one in names {
            for other in names {
                texts.push(format!("{one}.{other}"));
                texts.push(format!("{one}.**.{other}"));
                texts.push(format!("{other}.{one}.b"));
            }
        }
        let words = ["a", "b", "ab", "7", "xbx", ""];
        let mut seed = 1_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % below
        };
        for _ in 0..400 {
            let mut some = |most: usize| -> Vec<String> {
                let count = random(most);
                (0..count)
                    .map(|_| texts[random(texts.len())].clone())
                    .collect()
            };
            let (drop, hash) = (paths(&some(30)), paths(&some(30)));
            let matcher = PatternMatcher::new(&drop, &hash);
            for _ in 0..40 {
                let path: Vec<&str> = (0..1 + random(4)).map(|_| words[random(6)]).collect();
                let (mut rows, mut from) = (Vec::new(), 0);
                matcher.begin(&mut rows);
                let mut hashes = false;
                for length in 1..=path.len() {
                    let to = rows.len();
                    let reached = matcher.follow(&mut rows, from, path[length - 1].as_bytes());
                    from = to;
                    hashes |= reached.hashes;
                    let hits = |patterns: &[PathPattern], hit| {
                        let mut all = patterns.iter();
                        all.any(|pattern| pattern.at(&path[..length]) == hit)
                    };
                    if hits(&drop, Hit::Here) {
                        assert!(reached.drops, "{drop:?} {path:?} {length}");
                        // The content of a dropped value is not inspected.
                        break;
                    }
                    assert!(!reached.drops, "{drop:?} {path:?} {length}");
                    assert_eq!(hashes, hits(&hash, Hit::Here), "{hash:?} {path:?} {length}");
                    let within = hits(&drop, Hit::Within) || hits(&hash, Hit::Within);
                    assert!(reached.goes_on || !within, "{path:?} {length}");
                }
            }
        }
    }
}
