//! Random bits, which the system is asked for in helpings: one call of it would cost each request
//! as much as the rest of its bookkeeping.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes for one use.
const USE: usize = 16;
/// Bytes that the system is asked for at once, for each thread.
const HELPING: usize = 128 * USE;

thread_local! {
    static LEFT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Random bits. If the system provides none, they come from the clock: they only distinguish
/// requests and protect nothing.
pub(crate) fn random_bits() -> u128 {
    let drawn = LEFT.try_with(|left| draw(&mut left.borrow_mut()));
    drawn.ok().flatten().unwrap_or_else(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos())
    })
}

/// The last bits of the rest, which are used only once.
fn draw(left: &mut Vec<u8>) -> Option<u128> {
    if left.len() < USE {
        left.resize(HELPING, 0);
        if getrandom::fill(left).is_err() {
            left.clear();
            return None;
        }
    }
    let bits = left.last_chunk::<USE>().copied();
    left.truncate(left.len().saturating_sub(USE));
    bits.map(u128::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::HashSet;

    #[test]
    fn no_bits_are_drawn_twice_by_whatever_thread() {
        let draws = || (0..HELPING).map(|_| random_bits()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draws)).collect();
        let mut seen = HashSet::new();
        for thread in threads {
            for bits in thread.join().unwrap() {
                assert!(seen.insert(bits), "{bits:x} twice");
                assert!(bits.count_ones() > 20, "{bits:x} is hardly random");
            }
        }
    }
}
