//! Hashes short texts with SHA-1, also on processors that have no instructions for SHA-1.
//!
//! On these processors the `sha1` crate emulates the instructions, which takes a fifth more time than the
//! standard's own steps. This module computes the message schedule four words at a time instead, and the
//! rounds read the schedule from memory. What is known of a block in advance, as its padding, is computed
//! when the program is compiled.

use std::hint::black_box;

use sha1::compress;
use wide::u32x4;

/// The state of the hash: five words.
pub(super) type HashState = [u32; 5];

/// The state before the first block.
const INITIAL: HashState = [
    0x6745_2301,
    0xefcd_ab89,
    0x98ba_dcfe,
    0x1032_5476,
    0xc3d2_e1f0,
];

/// The sizes of a block and of its four quarters, in bytes.
const BLOCK: usize = 64;
const QUARTER: usize = 16;

/// The number of bytes of the first block after the beginning.
const AFTER_BEGINNING: usize = BLOCK - QUARTER;

/// A quarter of a block.
type Quarter = [u8; QUARTER];

/// The bytes of the padding: one that ends the text, and the text's length in bits.
const END: u8 = 0x80;
const PADDING: usize = 1 + size_of::<u64>();

/// Whether the processor has instructions for SHA-1 that the `sha1` crate uses.
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
#[inline(always)]
fn has_instructions() -> bool {
    use std::is_x86_feature_detected as has;
    // The standard library detects the processor's features once per process and caches them.
    has!("sha") && has!("ssse3") && has!("sse4.1")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
#[inline(always)]
fn has_instructions() -> bool {
    false
}

/// Returns the hash of a beginning and a text. The beginning should be a constant.
#[inline(always)]
pub(super) fn hash_of(beginning: &Quarter, text: &[u8]) -> HashState {
    hash_of_short(beginning, text).unwrap_or_else(|| hash_of_long(beginning, text))
}

/// Returns the hash, if both together fit into two blocks of which the second has less than one quarter of
/// text.
#[inline(always)]
fn hash_of_short(beginning: &Quarter, text: &[u8]) -> Option<HashState> {
    let bits = (QUARTER + text.len()) as u64 * 8;
    let mut padded = [0; AFTER_BEGINNING];
    let (quarters, last) = match text.split_first_chunk() {
        Some((quarters, rest)) => (quarters, Some(last_quarter(text, rest.len())?)),
        None => {
            let (place, rest) = padded.split_at_mut_checked(text.len())?;
            place.copy_from_slice(text);
            *rest.first_mut()? = END;
            let ends = rest.len() >= PADDING;
            if ends {
                *padded.last_chunk_mut()? = bits.to_be_bytes();
            }
            (&padded, (!ends).then_some(0))
        }
    };
    let state = add_first(beginning, quarters);
    Some(match last {
        Some(last) => add_last(state, last, bits),
        None => state,
    })
}

/// Returns the hash of a beginning and a text that fills at least the first block.
#[inline(never)]
fn hash_of_long(beginning: &Quarter, text: &[u8]) -> HashState {
    let (first, rest) = text.split_at(text.len().min(AFTER_BEGINNING));
    let mut block = [0; BLOCK];
    for (place, byte) in block.iter_mut().zip(beginning.iter().chain(first)) {
        *place = *byte;
    }
    let (blocks, rest) = rest.as_chunks();
    let mut state = add_block(INITIAL, &block);
    for block in blocks {
        state = add_block(state, block);
    }
    let mut padded = [0; 2 * BLOCK];
    for (place, byte) in padded.iter_mut().zip(rest.iter().chain(&[END])) {
        *place = *byte;
    }
    let length = (rest.len() + PADDING).next_multiple_of(BLOCK);
    let bits = (QUARTER + text.len()) as u64 * 8;
    let end = padded
        .get_mut(..length)
        .and_then(|padded| padded.last_chunk_mut());
    if let Some(end) = end {
        *end = bits.to_be_bytes();
    }
    let (blocks, _) = padded.as_chunks();
    for block in blocks.iter().take(length / BLOCK) {
        state = add_block(state, block);
    }
    state
}

/// Adds a block of which nothing is known in advance.
#[inline(never)]
fn add_block(state: HashState, block: &[u8; BLOCK]) -> HashState {
    if has_instructions() {
        return add_by_instructions(state, block);
    }
    rounds::<5>(state, quarters_of(block), 0)
}

/// Returns the quarter with the last `length` bytes of a text and the byte behind them, as a number. The text
/// must be longer than a quarter.
#[inline(always)]
fn last_quarter(text: &[u8], length: usize) -> Option<u128> {
    let left = (QUARTER - 1).checked_sub(length)?;
    let last = u128::from_be_bytes(*text.last_chunk()?);
    Some((last << 8 | u128::from(END)) << (8 * left))
}

/// Adds the first block, whose first quarter is a constant.
#[inline(always)]
fn add_first(beginning: &Quarter, rest: &[u8; AFTER_BEGINNING]) -> HashState {
    let (rest, _) = rest.as_chunks();
    let [one, two, three] = rest else {
        return INITIAL;
    };
    if has_instructions() {
        let mut block = [0; BLOCK];
        let (places, _) = block.as_chunks_mut();
        for (place, quarter) in places.iter_mut().zip([beginning, one, two, three]) {
            *place = *quarter;
        }
        return add_by_instructions(INITIAL, &block);
    }
    let quarters = [beginning, one, two, three].map(words);
    rounds::<4>(INITIAL, quarters, 1)
}

/// Adds the last block of a text of this many bits, if only the first quarter of the block is not padding.
#[inline(always)]
fn add_last(state: HashState, quarter: u128, bits: u64) -> HashState {
    if has_instructions() {
        let mut block = [0; BLOCK];
        if let Some(place) = block.first_chunk_mut() {
            *place = quarter.to_be_bytes();
        }
        if let Some(place) = block.last_chunk_mut() {
            *place = bits.to_be_bytes();
        }
        return add_by_instructions(state, &block);
    }
    let first = [96, 64, 32, 0].map(|shift| (quarter >> shift) as u32);
    let none = u32x4::splat(0);
    // A short text has fewer than 2³² bits.
    let length = u32x4::new([0, 0, 0, bits as u32]);
    rounds::<2>(state, [u32x4::new(first), none, none, length], 0)
}

#[inline(always)]
fn add_by_instructions(mut state: HashState, block: &[u8; BLOCK]) -> HashState {
    compress(&mut state, std::slice::from_ref(block.into()));
    state
}

/// The constants of the rounds, one for each twenty rounds.
const CONSTANTS: [u32; 4] = [0x5a82_7999, 0x6ed9_eba1, 0x8f1b_bcdc, 0xca62_c1d6];

#[inline(always)]
fn choice(b: u32, c: u32, d: u32) -> u32 {
    (c ^ d) & b ^ d
}

#[inline(always)]
fn parity(b: u32, c: u32, d: u32) -> u32 {
    b ^ c ^ d
}

/// The sum replaces an "or", because the two terms have no bit in common.
#[inline(always)]
fn majority(b: u32, c: u32, d: u32) -> u32 {
    (b & c).wrapping_add(d & (b ^ c))
}

/// Returns the words of the four quarters of a block.
#[inline(always)]
fn quarters_of(block: &[u8; BLOCK]) -> [u32x4; 4] {
    let (quarters, _) = block.as_chunks();
    match quarters {
        [a, b, c, d] => [a, b, c, d].map(words),
        _ => [u32x4::splat(0); 4],
    }
}

/// Returns the words of a quarter.
#[inline(always)]
fn words(quarter: &Quarter) -> u32x4 {
    let (words, _) = quarter.as_chunks::<4>();
    let word = u32::from_be_bytes;
    match words {
        [a, b, c, d] => u32x4::new([word(*a), word(*b), word(*c), word(*d)]),
        _ => u32x4::splat(0),
    }
}

/// Returns the last two words of one vector and the first two of the next.
#[inline(always)]
fn middle(one: u32x4, next: u32x4) -> u32x4 {
    let ([_, _, a, b], [c, d, _, _]) = (one.to_array(), next.to_array());
    u32x4::new([a, b, c, d])
}

/// Computes four of the words 16 to 31 of the schedule with the standard's formula: each word depends on
/// the words 16, 14, 8 and 3 positions before it. The last of the four words needs the first, so the
/// first is added to it at the end.
#[inline(always)]
fn early(a: u32x4, b: u32x4, c: u32x4, d: u32x4) -> u32x4 {
    let [_, d1, d2, d3] = d.to_array();
    let sum = a ^ middle(a, b) ^ c ^ u32x4::new([d1, d2, d3, 0]);
    let turned = (sum + sum) | (sum >> 31_u32);
    let [first, ..] = turned.to_array();
    turned ^ u32x4::new([0, 0, 0, first.rotate_left(1)])
}

/// Computes four of the words from 32 on. The same formula, applied twice, gives each word from the words
/// 32, 28, 16 and 6 positions before it, so none of the four words needs another.
#[inline(always)]
fn late([a, b, e]: [u32x4; 3], six_before: u32x4) -> u32x4 {
    let sum = a ^ b ^ e ^ six_before;
    (sum << 2_u32) | (sum >> 30_u32)
}

/// Adds the block with these quarters. The schedule is computed between the rounds that need it, so that the
/// processor does both at once.
///
/// The rounds read `STORED` quarters of the schedule's first five from memory: those from the number `from`
/// on, and the fifth. The result is the same for any such choice. The other quarters should be constants,
/// for which the compiler computes the words: none with 5 and 0, the first quarter with 4 and 1, and all but
/// the first with 2 and 0.
#[inline(always)]
fn rounds<const STORED: usize>(state: HashState, quarters: [u32x4; 4], from: usize) -> HashState {
    let [mut a, mut b, mut c, mut d, mut e] = state;
    let [mut w0, mut w1, mut w2, mut w3] = quarters;
    let with = |constant: usize, words: u32x4| {
        let constant = CONSTANTS.get(constant).copied().unwrap_or_default();
        (words + u32x4::splat(constant)).to_array()
    };
    macro_rules! round {
        ($mix:ident, $word:expr, $a:ident $b:ident $c:ident $d:ident $e:ident) => {
            $e = $e
                .wrapping_add($word)
                .wrapping_add($mix($b, $c, $d))
                .wrapping_add($a.rotate_left(5));
            $b = $b.rotate_left(30);
        };
    }
    macro_rules! five {
        ($mix:ident, $word:ident, $at:expr) => {
            round!($mix, $word($at), a b c d e);
            round!($mix, $word($at + 1), e a b c d);
            round!($mix, $word($at + 2), d e a b c);
            round!($mix, $word($at + 3), c d e a b);
            round!($mix, $word($at + 4), b c d e a);
        };
    }
    macro_rules! twenty {
        ($mix:ident, $word:ident) => {
            five!($mix, $word, 0);
            five!($mix, $word, 5);
            five!($mix, $word, 10);
            five!($mix, $word, 15);
        };
    }
    // The black box lets the rounds read the words from memory: otherwise the compiler extracts each word
    // from its vector, which costs more.
    macro_rules! stored {
        ($constant:expr, [$($words:expr),*]) => {{
            let words = black_box([$(with($constant, $words)),*]);
            move |at: usize| read(&words, at)
        }};
    }
    let mut w4 = early(w0, w1, w2, w3);
    let words: [[u32; 4]; STORED] = black_box(std::array::from_fn(|at| {
        let is_fifth = at + 1 == STORED;
        let words = if is_fifth {
            Some(&w4)
        } else {
            quarters.get(from + at)
        };
        with(0, words.copied().unwrap_or(w4))
    }));
    let word = |at: usize| match (at / 4).checked_sub(from) {
        _ if at >= 16 => read(&words, (STORED - 1) * 4 + at - 16),
        Some(place) if place + 1 < STORED => read(&words, at - from * 4),
        _ => read(&quarters.map(|words| with(0, words)), at),
    };
    twenty!(choice, word);
    let mut w5 = early(w1, w2, w3, w4);
    let mut w6 = early(w2, w3, w4, w5);
    let mut w7 = early(w3, w4, w5, w6);
    w0 = late([w0, w1, w4], middle(w6, w7));
    w1 = late([w1, w2, w5], middle(w7, w0));
    let word = stored!(1, [w5, w6, w7, w0, w1]);
    twenty!(parity, word);
    w2 = late([w2, w3, w6], middle(w0, w1));
    w3 = late([w3, w4, w7], middle(w1, w2));
    w4 = late([w4, w5, w0], middle(w2, w3));
    w5 = late([w5, w6, w1], middle(w3, w4));
    w6 = late([w6, w7, w2], middle(w4, w5));
    let word = stored!(2, [w2, w3, w4, w5, w6]);
    twenty!(majority, word);
    w7 = late([w7, w0, w3], middle(w5, w6));
    w0 = late([w0, w1, w4], middle(w6, w7));
    w1 = late([w1, w2, w5], middle(w7, w0));
    w2 = late([w2, w3, w6], middle(w0, w1));
    w3 = late([w3, w4, w7], middle(w1, w2));
    let word = stored!(3, [w7, w0, w1, w2, w3]);
    twenty!(parity, word);
    let [first, second, third, fourth, fifth] = state;
    [
        first.wrapping_add(a),
        second.wrapping_add(b),
        third.wrapping_add(c),
        fourth.wrapping_add(d),
        fifth.wrapping_add(e),
    ]
}

/// Returns the word with this number.
#[inline(always)]
fn read(words: &[[u32; 4]], at: usize) -> u32 {
    words.as_flattened().get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a block of bytes that repeat with the period 1 or look random.
    fn block(round: u32, random: &mut u64) -> [u8; 64] {
        std::array::from_fn(|_| {
            *random = random.wrapping_mul(0x5851_f42d_4c95_7f2d) + 1;
            [(*random >> 56) as u8, 0, 0xff][round as usize % 3]
        })
    }

    #[test]
    fn both_ways_give_the_same_hash_of_any_block() {
        let (mut by_rounds, mut by_instructions) = ([0x0123_4567; 5], [0x0123_4567; 5]);
        let mut random = 1_u64;
        for round in 0..1000_u32 {
            let block = block(round, &mut random);
            by_rounds = rounds::<5>(by_rounds, quarters_of(&block), 0);
            by_instructions = add_by_instructions(by_instructions, &block);
            assert_eq!(by_rounds, by_instructions, "{round}");
        }
    }

    #[test]
    fn a_block_gives_the_same_hash_whatever_is_known_of_it_in_advance() {
        let mut random = 1_u64;
        for round in 0..100_u32 {
            let mut block = block(round, &mut random);
            let whole = add_by_instructions(INITIAL, &block);
            assert_eq!(
                rounds::<4>(INITIAL, quarters_of(&block), 1),
                whole,
                "{round}"
            );
            let (first, rest) = block.split_first_chunk().unwrap();
            let first = *first;
            let after = *rest.first_chunk().unwrap();
            assert_eq!(add_first(&first, &after), whole, "{round}");
            let bits = u64::from(round) * 8;
            block[16..56].fill(0);
            block[56..].copy_from_slice(&bits.to_be_bytes());
            let padded = add_by_instructions(whole, &block);
            let last = u128::from_be_bytes(first);
            assert_eq!(add_last(whole, last, bits), padded, "{round}");
            assert_eq!(
                rounds::<2>(whole, quarters_of(&block), 0),
                padded,
                "{round}"
            );
        }
    }

    #[test]
    fn texts_of_every_length_are_hashed_as_the_standard_has_it() {
        use sha1::{Digest, Sha1};
        let (beginning, text) = (b"a constant start", [b'x'; 300]);
        for length in 0..=text.len() {
            let text = &text[..length];
            let expected = Sha1::new().chain_update(beginning).chain_update(text);
            let expected: [u8; 20] = expected.finalize().into();
            let long = (length >= AFTER_BEGINNING).then(|| hash_of_long(beginning, text));
            for hash in long.into_iter().chain([hash_of(beginning, text)]) {
                let hash = hash.map(u32::to_be_bytes);
                assert_eq!(hash.as_flattened(), expected, "{length}");
            }
        }
    }
}
