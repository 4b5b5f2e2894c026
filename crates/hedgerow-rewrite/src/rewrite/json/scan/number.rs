//! Reads numbers, decimal and hexadecimal.

/// What the form of a number shows about its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// No exponent: the number of digits limits the size.
    OfItsDigits,
    /// An exponent: the number can have any size.
    Any,
}

/// Returns the text after the number at the start of `text`, and what its form shows about its size.
#[inline(always)]
pub(super) fn behind_number(text: &[u8]) -> Option<(&[u8], Size)> {
    let mut size = Size::OfItsDigits;
    let mut rest = match text.strip_prefix(b"-").unwrap_or(text) {
        [b'0', after @ ..] => after,
        whole => behind_digits(whole)?,
    };
    if let [b'.', after @ ..] = rest {
        rest = behind_digits(after)?;
    }
    if let [b'e' | b'E', after @ ..] = rest {
        size = Size::Any;
        rest = match after {
            [b'+' | b'-', after @ ..] => behind_digits(after)?,
            _ => behind_digits(after)?,
        };
    }
    Some((rest, size))
}

/// Returns the text after the digits at the start of `text`, or `None` if there is no digit.
#[inline(always)]
fn behind_digits(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    while let [b'0'..=b'9', after @ ..] = rest {
        rest = after;
    }
    (rest.len() < text.len()).then_some(rest)
}

/// Returns whether a number is within the range of a double. If one is not, capture refuses the whole
/// request (posthog-ingestion 1.6).
pub(in crate::rewrite::json) fn fits_a_double(number: &[u8]) -> bool {
    std::str::from_utf8(number)
        .ok()
        .and_then(|text| text.parse::<f64>().ok())
        .is_some_and(f64::is_finite)
}

#[allow(clippy::indexing_slicing)]
pub(in crate::rewrite::json) fn hex4(text: &[u8], at: usize) -> Option<u32> {
    /// The value of each byte as a hexadecimal digit; 0xff for a byte that is not a digit.
    static DIGITS: [u8; 256] = {
        let mut digits = [0xff; 256];
        let mut value = 0;
        while value < 16 {
            let digit = b"0123456789abcdef"[value];
            digits[digit as usize] = value as u8;
            digits[digit.to_ascii_uppercase() as usize] = value as u8;
            value += 1;
        }
        digits
    };
    let digits: &[u8; 4] = text.get(at..)?.first_chunk()?;
    let [a, b, c, d] = digits.map(|digit| {
        let value = DIGITS.get(usize::from(digit)).copied();
        u32::from(value.unwrap_or(0xff))
    });
    ((a | b | c | d) < 16).then_some(a << 12 | b << 8 | c << 4 | d)
}
