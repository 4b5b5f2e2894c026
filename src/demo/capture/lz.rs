//! Unpacks the base64 form of lz-string, an LZ78 variant over UTF-16 units (pieroxy/lz-string).

/// Why a text cannot be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LzFault {
    /// The text is not the output of lz-string.
    Broken,
    /// The text has more units than allowed.
    TooLarge,
}

/// Unpacks a text of at most `limit` UTF-16 units.
pub(super) fn unpack(packed: &[u8], limit: usize) -> Result<String, LzFault> {
    let mut bits = Bits::new(packed)?;
    let mut units: Vec<u16> = Vec::new();
    // A known sequence is stored as its start in the output and its length, because the output contains
    // each sequence. The first three codes mean a new unit of 8 bits, one of 16 bits, and the end.
    let mut known: Vec<(usize, usize)> = vec![(0, 0); 3];
    let mut width = 3u32;
    let mut room = 4u32;

    let first = match bits.code(2)? {
        0 => bits.code(8)?,
        1 => bits.code(16)?,
        2 => return Ok(String::new()),
        _ => return Err(LzFault::Broken),
    };
    units.push(u16::try_from(first).map_err(|_| LzFault::Broken)?);
    known.push((0, 1));
    let mut last = (0usize, 1usize);

    loop {
        let code = bits.code(width)?;
        let at = units.len();
        let entry = match code {
            2 => return String::from_utf16(&units).map_err(|_| LzFault::Broken),
            0 | 1 => {
                let unit = bits.code(if code == 0 { 8 } else { 16 })?;
                units.push(u16::try_from(unit).map_err(|_| LzFault::Broken)?);
                known.push((at, 1));
                (room, width) = shrink(room, width);
                (at, 1)
            }
            code => {
                let code = usize::try_from(code).map_err(|_| LzFault::Broken)?;
                let (from, length) = match known.get(code) {
                    Some(&place) => place,
                    // The sequence that this step adds: the last one, then the first unit of the last one.
                    None if code == known.len() => (last.0, last.1 + 1),
                    None => return Err(LzFault::Broken),
                };
                if length > limit.saturating_sub(at) {
                    return Err(LzFault::TooLarge);
                }
                for step in 0..length {
                    let unit = *units.get(from + step).ok_or(LzFault::Broken)?;
                    units.push(unit);
                }
                (at, length)
            }
        };
        if units.len() > limit {
            return Err(LzFault::TooLarge);
        }
        // In the output, the first unit of this sequence directly follows the last sequence.
        known.push((last.0, last.1 + 1));
        (room, width) = shrink(room, width);
        last = entry;
    }
}

/// Counts one added sequence. When no code of this width is left, codes become one bit longer.
fn shrink(room: u32, width: u32) -> (u32, u32) {
    match room.saturating_sub(1) {
        0 => (1u32.checked_shl(width).unwrap_or(u32::MAX), width + 1),
        room => (room, width),
    }
}

/// Reads codes from the six bits of each character. Characters start with the high bit, codes with the low
/// bit.
struct Bits<'a> {
    packed: &'a [u8],
    at: usize,
    value: u8,
    left: u32,
}

impl<'a> Bits<'a> {
    fn new(packed: &'a [u8]) -> Result<Self, LzFault> {
        if packed.is_empty() {
            return Err(LzFault::Broken);
        }
        Ok(Self {
            packed,
            at: 0,
            value: 0,
            left: 0,
        })
    }

    fn code(&mut self, width: u32) -> Result<u32, LzFault> {
        let mut code = 0;
        for shift in 0..width {
            code |= self.bit()?.checked_shl(shift).ok_or(LzFault::Broken)?;
        }
        Ok(code)
    }

    fn bit(&mut self) -> Result<u32, LzFault> {
        if self.left == 0 {
            let byte = *self.packed.get(self.at).ok_or(LzFault::Broken)?;
            self.value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' | b' ' => 62,
                b'/' => 63,
                b'=' => 0,
                _ => return Err(LzFault::Broken),
            };
            self.at += 1;
            self.left = 6;
        }
        self.left -= 1;
        Ok(u32::from((self.value >> self.left) & 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_packed_by_lz_string_is_unpacked() {
        let json = r#"{"a":[1,2,3],"b":"hedge hedge hedge row row row"}"#;
        for (packed, expected) in [
            ("Q===", ""),
            ("IZA=", "a"),
            ("IY1o", "aaaaaaaaaa"),
            ("BYUwNmD2A0AEoRvcUg==", "hello, hello, hello"),
            ("JeGoJLwbgAewBKlA", "é€😀 é€😀"),
            (
                "N4IghiBcDaCMA0AmeBmAuvEAjKIAWApgCYDmBABIaRVWeQE4D2A7gy28yAL5A===",
                json,
            ),
        ] {
            assert_eq!(unpack(packed.as_bytes(), 100).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn broken_and_huge_texts_have_different_errors() {
        assert_eq!(unpack(b"", 100), Err(LzFault::Broken));
        assert_eq!(unpack(b"IY", 100), Err(LzFault::Broken));
        assert_eq!(unpack(b"{\"a\":1}", 100), Err(LzFault::Broken));
        assert_eq!(unpack(b"IY1o", 9), Err(LzFault::TooLarge));
    }
}
