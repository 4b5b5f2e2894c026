//! When a request with much work yields to others.
//!
//! A thread of the runtime works on one request until that request waits. A body that has arrived
//! completely, sent to a PostHog that accepts it at once, never waits.

use std::time::Duration;

/// How long a request works at most before it yields, unless a single step takes longer.
const LONG: Duration = Duration::from_micros(500);

/// This many pieces of a body count as long work, however small they are.
const MANY: u16 = 256;

/// The work of one request since it last yielded.
#[derive(Debug, Default)]
pub(crate) struct WorkSlice {
    worked: Duration,
    pieces: u16,
}

impl WorkSlice {
    /// Records that the request has worked for this time.
    pub(crate) fn add_work(&mut self, time: Duration) {
        self.worked += time;
    }

    /// Records that the request has taken a piece of its body.
    pub(crate) fn piece(&mut self) {
        self.pieces = self.pieces.saturating_add(1);
    }

    /// Yields to others if it is time.
    pub(crate) async fn yield_if_long(&mut self) {
        if self.worked >= LONG || self.pieces >= MANY {
            self.end().await;
        }
    }

    /// Yields to others.
    pub(crate) async fn end(&mut self) {
        *self = Self::default();
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Yields if it is time, and returns whether another task ran.
    async fn ends(slice: &mut WorkSlice) -> bool {
        use std::sync::atomic::{AtomicBool, Ordering};
        static OTHER: AtomicBool = AtomicBool::new(false);
        OTHER.store(false, Ordering::Relaxed);
        let other = tokio::spawn(async { OTHER.store(true, Ordering::Relaxed) });
        slice.yield_if_long().await;
        let ran = OTHER.load(Ordering::Relaxed);
        other.await.unwrap();
        ran
    }

    #[tokio::test]
    async fn others_have_their_turn_after_much_work_or_many_pieces_and_not_before() {
        let mut slice = WorkSlice::default();
        slice.add_work(LONG / 2);
        (1..MANY).for_each(|_| slice.piece());
        assert!(!ends(&mut slice).await, "half as long, one piece too few");
        slice.piece();
        assert!(ends(&mut slice).await, "many pieces");
        assert!(!ends(&mut slice).await, "nothing since");
        slice.add_work(LONG / 2);
        assert!(!ends(&mut slice).await, "half as long, after a slice");
        slice.add_work(LONG / 2);
        assert!(ends(&mut slice).await, "long");
    }
}
