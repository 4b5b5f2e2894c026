//! Finds the end of strings that are plain: without escapes and control characters.

use super::super::block::{has_special, special, BLOCK};

/// Returns the text after the string at the start of `rest`, if the string is plain and does not end too
/// close to the end of the text.
#[inline(always)]
pub(super) fn behind_quoted(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [b'"', after @ ..] => behind_plain_string(after),
        _ => None,
    }
}

/// Returns the text after the closing quote, if the string is plain and does not end too close to the
/// end of the text. `text` begins after the opening quote.
#[inline(always)]
pub(super) fn behind_plain_string(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    for _ in 0..2 {
        let (block, after) = rest.split_first_chunk::<BLOCK>()?;
        let special = special(block);
        if special != 0 {
            return behind_quote(rest, block, special);
        }
        rest = after;
    }
    behind_long_string(rest)
}

/// Does the same as [`behind_plain_string`] for the rest of a long string.
#[inline(never)]
pub(super) fn behind_long_string(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    // Most long strings are ids, which end within two more blocks.
    for _ in 0..2 {
        let (block, after) = rest.split_first_chunk::<BLOCK>()?;
        let special = special(block);
        if special != 0 {
            return behind_quote(rest, block, special);
        }
        rest = after;
    }
    while let Some((blocks, after)) = rest.split_first_chunk::<{ 4 * BLOCK }>() {
        if has_special(blocks) {
            break;
        }
        rest = after;
    }
    while let Some((block, after)) = rest.split_first_chunk::<BLOCK>() {
        let special = special(block);
        if special != 0 {
            return behind_quote(rest, block, special);
        }
        rest = after;
    }
    None
}

/// Returns the text after the first of the `special` bytes of a block, if that byte is a quote.
#[inline(always)]
fn behind_quote<'t>(rest: &'t [u8], block: &[u8; BLOCK], special: u32) -> Option<&'t [u8]> {
    let length = special.trailing_zeros() as usize;
    match block.get(length) {
        Some(b'"') => rest.get(length + 1..),
        _ => None,
    }
}
