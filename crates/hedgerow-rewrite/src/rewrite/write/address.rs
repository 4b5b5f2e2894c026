//! Writes IP addresses as text.

use std::net::IpAddr;

use super::super::json::Output;

/// Appends an address. Writes an IPv4 address without the standard library's formatting, which takes
/// many times as long: nearly every event of a browser contains an address twice.
pub(super) fn write_address(out: &mut impl Output, address: IpAddr) {
    let IpAddr::V4(address) = address else {
        return out.extend_from_slice(address.to_string().as_bytes());
    };
    let (mut text, mut length) = ([0; 16], 0);
    for octet in address.octets() {
        let [digits @ .., count] = OCTETS.get(usize::from(octet)).copied().unwrap_or_default();
        let [first, second, third] = digits;
        if let Some(place) = text.get_mut(length..length + 4) {
            place.copy_from_slice(&[first, second, third, b'.']);
        }
        length += usize::from(count);
        if let Some(dot) = text.get_mut(length) {
            *dot = b'.';
        }
        length += 1;
    }
    out.extend_from_slice(text.get(..length - 1).unwrap_or_default());
}

/// The digits of each byte, followed by the number of digits.
#[allow(clippy::indexing_slicing)]
static OCTETS: [[u8; 4]; 256] = {
    let mut octets = [[0; 4]; 256];
    let mut number = 0;
    while number < octets.len() {
        let digits = [
            b'0' + (number / 100) as u8,
            b'0' + (number / 10 % 10) as u8,
            b'0' + (number % 10) as u8,
        ];
        octets[number] = match number {
            0..=9 => [digits[2], 0, 0, 1],
            10..=99 => [digits[1], digits[2], 0, 2],
            _ => [digits[0], digits[1], digits[2], 3],
        };
        number += 1;
    }
    octets
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_shown() {
        let octets = [0, 1, 9, 10, 19, 99, 100, 109, 110, 199, 200, 254, 255];
        let mut addresses: Vec<IpAddr> =
            vec!["::1".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        for one in octets {
            addresses.push(IpAddr::from([one, 0, 255, one]));
        }
        for address in addresses {
            let mut out = Vec::new();
            write_address(&mut out, address);
            assert_eq!(String::from_utf8(out).unwrap(), address.to_string());
        }
    }
}
