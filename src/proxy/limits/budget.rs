//! How many bytes all requests together may hold (`limits.memory`).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

/// The bytes that all requests may hold at once.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: AtomicUsize,
    held: AtomicUsize,
}

/// The budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BudgetExhausted;

/// The part of the budget that one request holds. Dropping it releases the bytes.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    held: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicUsize::new(limit),
            held: AtomicUsize::new(0),
        })
    }

    /// Returns a reservation of zero bytes: a request is charged for the bytes that it holds, not for
    /// those that it has announced.
    pub(crate) fn reserve(self: &Arc<Self>) -> Reservation {
        Reservation {
            budget: Arc::clone(self),
            held: 0,
        }
    }

    /// Returns the bytes that all requests may hold.
    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Changes the limit. Reservations stay as they are.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Returns the bytes that all requests hold now.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl Reservation {
    /// Moves a part of the held bytes to another reservation, or all if it holds less.
    pub(crate) fn split_off(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.held);
        self.held -= bytes;
        Self {
            budget: Arc::clone(&self.budget),
            held: bytes,
        }
    }

    /// Changes the held bytes to `bytes`. This fails if the budget would be exceeded; it never fails for
    /// fewer bytes.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), BudgetExhausted> {
        if bytes <= self.held {
            self.budget
                .held
                .fetch_sub(self.held - bytes, Ordering::Relaxed);
            self.held = bytes;
            return Ok(());
        }
        let more = bytes - self.held;
        let before = self.budget.held.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) > self.budget.limit.load(Ordering::Relaxed) {
            self.budget.held.fetch_sub(more, Ordering::Relaxed);
            return Err(BudgetExhausted);
        }
        self.held = bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_bytes_never_exceed_the_limit_and_are_released() {
        let budget = Budget::new(100);
        let mut one = budget.reserve();
        let mut two = budget.reserve();
        assert_eq!(one.resize(60), Ok(()));
        assert_eq!(two.resize(41), Err(BudgetExhausted));
        assert_eq!(budget.held(), 60);
        assert_eq!(two.resize(40), Ok(()));
        assert_eq!(one.resize(10), Ok(()));
        assert_eq!(two.resize(90), Ok(()));
        assert_eq!(budget.held(), 100);
        drop(two);
        assert_eq!(budget.held(), 10);
        drop(one);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn a_part_that_is_split_off_is_released_with_its_owner() {
        let budget = Budget::new(100);
        let mut one = budget.reserve();
        one.resize(60).unwrap();
        let part = one.split_off(40);
        drop(one);
        assert_eq!(budget.held(), 40);
        drop(part);
        assert_eq!(budget.held(), 0);
    }
}
