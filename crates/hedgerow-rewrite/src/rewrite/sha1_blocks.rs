//! Adds whole blocks to a SHA-1 hash, also on processors that have no instructions for SHA-1.
//!
//! On these processors the `sha1` crate emulates the instructions, which takes a fifth more time than the
//! standard's own steps. This module computes the message schedule four words at a time instead, and the
//! rounds read the schedule from memory.

use sha1::compress;
use wide::u32x4;

/// The state of the hash: five words.
pub(super) type HashState = [u32; 5];

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

/// Adds blocks to a hash.
#[inline(always)]
pub(super) fn add_blocks(state: &mut HashState, blocks: &[[u8; 64]]) {
    if has_instructions() {
        for block in blocks {
            compress(state, std::slice::from_ref(block.into()));
        }
    } else {
        for block in blocks {
            add_block(state, block);
        }
    }
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

/// Returns four words of a block.
#[inline(always)]
fn words(bytes: &[u8; 16]) -> u32x4 {
    let (words, _) = bytes.as_chunks::<4>();
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

/// Adds one block. The schedule is computed between the rounds that need it, so that the processor
/// does both at once.
#[inline(never)]
fn add_block(state: &mut HashState, block: &[u8; 64]) {
    let mut schedule = [[0; 4]; 20];
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    macro_rules! put {
        ($at:expr, $words:expr) => {
            schedule[$at] = ($words + u32x4::splat(CONSTANTS[$at / 5])).to_array()
        };
    }
    macro_rules! round {
        ($mix:ident, $schedule:ident[$at:expr], $a:ident $b:ident $c:ident $d:ident $e:ident) => {
            $e = $e
                .wrapping_add($schedule[$at >> 2][$at & 3])
                .wrapping_add($mix($b, $c, $d))
                .wrapping_add($a.rotate_left(5));
            $b = $b.rotate_left(30);
        };
    }
    macro_rules! five {
        ($mix:ident, $schedule:ident[$at:expr]) => {
            round!($mix, $schedule[$at], a b c d e);
            round!($mix, $schedule[$at + 1], e a b c d);
            round!($mix, $schedule[$at + 2], d e a b c);
            round!($mix, $schedule[$at + 3], c d e a b);
            round!($mix, $schedule[$at + 4], b c d e a);
        };
    }
    macro_rules! twenty {
        ($mix:ident, $at:expr) => {
            // Read the words from memory: otherwise the compiler extracts each word from its vector,
            // which costs more.
            let words = std::hint::black_box(&schedule);
            five!($mix, words[$at]);
            five!($mix, words[$at + 5]);
            five!($mix, words[$at + 10]);
            five!($mix, words[$at + 15]);
        };
    }
    let (quarters, _) = block.as_chunks::<16>();
    let [w0, w1, w2, w3] = quarters else {
        return;
    };
    let (mut w0, mut w1, mut w2, mut w3) = (words(w0), words(w1), words(w2), words(w3));
    put!(0, w0);
    put!(1, w1);
    put!(2, w2);
    put!(3, w3);
    let mut w4 = early(w0, w1, w2, w3);
    put!(4, w4);
    twenty!(choice, 0);
    let mut w5 = early(w1, w2, w3, w4);
    put!(5, w5);
    let mut w6 = early(w2, w3, w4, w5);
    put!(6, w6);
    let mut w7 = early(w3, w4, w5, w6);
    put!(7, w7);
    w0 = late([w0, w1, w4], middle(w6, w7));
    put!(8, w0);
    w1 = late([w1, w2, w5], middle(w7, w0));
    put!(9, w1);
    twenty!(parity, 20);
    w2 = late([w2, w3, w6], middle(w0, w1));
    put!(10, w2);
    w3 = late([w3, w4, w7], middle(w1, w2));
    put!(11, w3);
    w4 = late([w4, w5, w0], middle(w2, w3));
    put!(12, w4);
    w5 = late([w5, w6, w1], middle(w3, w4));
    put!(13, w5);
    w6 = late([w6, w7, w2], middle(w4, w5));
    put!(14, w6);
    twenty!(majority, 40);
    w7 = late([w7, w0, w3], middle(w5, w6));
    put!(15, w7);
    w0 = late([w0, w1, w4], middle(w6, w7));
    put!(16, w0);
    w1 = late([w1, w2, w5], middle(w7, w0));
    put!(17, w1);
    w2 = late([w2, w3, w6], middle(w0, w1));
    put!(18, w2);
    w3 = late([w3, w4, w7], middle(w1, w2));
    put!(19, w3);
    twenty!(parity, 60);
    for (sum, word) in state.iter_mut().zip([a, b, c, d, e]) {
        *sum = sum.wrapping_add(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_give_the_same_hash_of_any_block() {
        let (mut ours, mut theirs) = ([0x0123_4567; 5], [0x0123_4567; 5]);
        let mut random = 1_u64;
        for round in 0..1000_u32 {
            let block: [u8; 64] = std::array::from_fn(|_| {
                random = random.wrapping_mul(0x5851_f42d_4c95_7f2d) + 1;
                // Two of three blocks repeat a single byte.
                [(random >> 56) as u8, 0, 0xff][round as usize % 3]
            });
            add_block(&mut ours, &block);
            compress(&mut theirs, &[block.into()]);
            assert_eq!(ours, theirs, "{round}");
        }
    }

    #[test]
    fn blocks_are_added_in_their_order_whatever_the_processor_has() {
        let blocks = [[1; 64], [2; 64], [3; 64]];
        let (mut all, mut each) = ([7; 5], [7; 5]);
        add_blocks(&mut all, &blocks);
        for block in &blocks {
            add_block(&mut each, block);
        }
        assert_eq!(all, each);
    }
}
