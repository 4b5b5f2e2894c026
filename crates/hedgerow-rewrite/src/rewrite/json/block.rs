//! Inspects sixteen bytes at a time, mostly to find the end of a run of plain text.

use wide::u8x16;

/// The number of bytes that are inspected together.
pub(in crate::rewrite) const BLOCK: usize = 16;

/// Returns a bit for each byte that ends a run of plain text: a quote, a backslash or a control
/// character.
#[inline(always)]
pub(super) fn special(block: &[u8; BLOCK]) -> u32 {
    let bytes = u8x16::new(*block);
    // Flipping bit 1 turns the quote (0x22) into 0x20, the next value after the control
    // characters, so that one comparison finds both. No other byte becomes 0x20 or less.
    let turned = bytes ^ u8x16::splat(2);
    let low = turned.min(u8x16::splat(0x20)).simd_eq(turned);
    let slash = bytes.simd_eq(u8x16::splat(b'\\'));
    (low | slash).to_bitmask()
}

/// Whether any of these bytes is a quote, a backslash or a control character.
#[inline(always)]
pub(super) fn has_special(bytes: &[u8; 4 * BLOCK]) -> bool {
    let (mut low, mut slashes) = (u8x16::splat(u8::MAX), u8x16::splat(0));
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    for block in blocks {
        let bytes = u8x16::new(*block);
        low = low.min(bytes ^ u8x16::splat(2));
        slashes |= bytes.simd_eq(u8x16::splat(b'\\'));
    }
    let low = low.min(u8x16::splat(0x20)).simd_eq(low);
    (low | slashes).to_bitmask() != 0
}

/// A block with which other blocks are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pattern(u8x16);

impl Pattern {
    pub(super) fn of(block: [u8; BLOCK]) -> Self {
        Self(u8x16::new(block))
    }

    /// Returns a bit for each byte that is the same in both blocks.
    #[inline(always)]
    pub(super) fn same(self, block: &[u8; BLOCK]) -> u32 {
        u8x16::new(*block).simd_eq(self.0).to_bitmask()
    }
}

/// Returns a bit for each byte that is a digit.
#[inline(always)]
pub(super) fn digits(block: &[u8; BLOCK]) -> u32 {
    let values = u8x16::new(*block) - u8x16::splat(b'0');
    values.min(u8x16::splat(9)).simd_eq(values).to_bitmask()
}

/// Returns a bit for each byte that equals `one` or `other`.
#[inline(always)]
pub(in crate::rewrite) fn either(block: &[u8; BLOCK], one: u8, other: u8) -> u32 {
    let bytes = u8x16::new(*block);
    let ones = bytes.simd_eq(u8x16::splat(one));
    (ones | bytes.simd_eq(u8x16::splat(other))).to_bitmask()
}

/// Returns the number of bytes before the first quote, backslash or control character.
#[inline]
pub(super) fn plain_run(text: &[u8]) -> usize {
    let mut rest = text;
    while let Some((block, after)) = rest.split_first_chunk::<BLOCK>() {
        let special = special(block);
        if special != 0 {
            return text.len() - rest.len() + special.trailing_zeros() as usize;
        }
        rest = after;
    }
    let stop = rest
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
    text.len() - rest.len() + stop.unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_recognised_in_every_position() {
        for byte in 0..=u8::MAX {
            for place in 0..BLOCK {
                let mut block = [b'a'; BLOCK];
                block[place] = byte;
                let is_special = matches!(byte, b'"' | b'\\' | 0..=0x1f);
                let expected = u32::from(is_special) << place;
                assert_eq!(special(&block), expected, "{byte:#x} at {place}");
                let expected = u32::from(byte.is_ascii_digit()) << place;
                assert_eq!(digits(&block), expected, "{byte:#x} at {place}");
                for before in 0..4 {
                    let mut blocks = [[b'a'; BLOCK]; 4];
                    blocks[before] = block;
                    let blocks = blocks.concat().try_into().unwrap();
                    assert_eq!(has_special(&blocks), is_special, "{byte:#x} at {place}");
                }
            }
        }
    }

    #[test]
    fn a_run_of_plain_bytes_ends_at_the_first_special_one() {
        for length in 0..100 {
            for special in [b'"', b'\\', 0x1f, b'\n', 0] {
                let mut text = vec![0xc3; length];
                text.push(special);
                text.extend_from_slice(b"\"\\\x01tail");
                for from in 0..=length {
                    assert_eq!(
                        plain_run(&text[from..]),
                        length - from,
                        "{length} {special}"
                    );
                }
            }
            assert_eq!(plain_run(&vec![b'~'; length]), length);
        }
    }
}
