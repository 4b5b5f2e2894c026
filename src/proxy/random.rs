//! Random bits. They are read from the system in large blocks, because one system call per request would
//! cost as much as all its other bookkeeping.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

/// The number of bytes for one use.
const USE: usize = 16;
/// The number of bytes that a thread reads from the system at once.
const HELPING: usize = 128 * USE;

thread_local! {
    static LEFT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Returns random bits. If the system provides none, they are taken from the clock: they only distinguish
/// requests and do not protect anything.
pub(crate) fn random_bits() -> u128 {
    let drawn = LEFT.try_with(|left| draw(&mut left.borrow_mut()));
    drawn.ok().flatten().unwrap_or_else(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos())
    })
}

/// Removes the last bits from `left` and returns them, so that no bits are used twice. Refills `left` if it
/// is empty.
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
