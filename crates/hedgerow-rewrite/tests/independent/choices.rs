//! The source of generated requests: a sequence of bytes, from a fuzzer or a seed.

/// Decisions, each made from the next bytes; 0 at the end of the bytes.
pub struct Choices<'d> {
    rest: &'d [u8],
}

impl<'d> Choices<'d> {
    pub fn new(data: &'d [u8]) -> Self {
        Self { rest: data }
    }

    fn byte(&mut self) -> usize {
        let Some((first, rest)) = self.rest.split_first() else {
            return 0;
        };
        self.rest = rest;
        usize::from(*first)
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: usize) -> usize {
        match bound {
            0..=256 => self.byte() % bound.max(1),
            _ => (self.byte() << 8 | self.byte()) % bound,
        }
    }

    /// True once in so many times; false at the end of the bytes.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) + 1 == times && times > 1
    }

    pub fn of<T: Copy>(&mut self, pool: &[T]) -> T {
        pool[self.below(pool.len())]
    }
}

/// The same bytes for the same seed (xorshift).
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}
