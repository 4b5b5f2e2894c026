//! When a request that has much to do lets others have their turn.
//!
//! A thread of the runtime goes on with one request until that waits for something. A body whose bytes are all there, sent
//! to a PostHog that takes them all, waits for nothing.

use std::time::Duration;

/// How long a request works at most before others have their turn, but for one step that takes longer.
const LONG: Duration = Duration::from_micros(500);

/// So many pieces of a body, however small, count as long.
const MANY: u16 = 256;

/// What one request has done since others had their turn.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    worked: Duration,
    pieces: u16,
}

impl Turn {
    /// The request has worked for so long.
    pub(crate) fn worked(&mut self, time: Duration) {
        self.worked += time;
    }

    /// The request has taken a piece of its body.
    pub(crate) fn piece(&mut self) {
        self.pieces = self.pieces.saturating_add(1);
    }

    /// Lets others have their turn if it is time.
    pub(crate) async fn end_if_long(&mut self) {
        if self.worked >= LONG || self.pieces >= MANY {
            self.end().await;
        }
    }

    /// Lets others have their turn.
    pub(crate) async fn end(&mut self) {
        *self = Self::default();
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether others have their turn.
    async fn ends(turn: &mut Turn) -> bool {
        use std::sync::atomic::{AtomicBool, Ordering};
        static OTHER: AtomicBool = AtomicBool::new(false);
        OTHER.store(false, Ordering::Relaxed);
        let other = tokio::spawn(async { OTHER.store(true, Ordering::Relaxed) });
        turn.end_if_long().await;
        let had = OTHER.load(Ordering::Relaxed);
        other.await.unwrap();
        had
    }

    #[tokio::test]
    async fn others_have_their_turn_after_much_work_or_many_pieces_and_not_before() {
        let mut turn = Turn::default();
        turn.worked(LONG / 2);
        (1..MANY).for_each(|_| turn.piece());
        assert!(!ends(&mut turn).await, "half as long, one piece too few");
        turn.piece();
        assert!(ends(&mut turn).await, "many pieces");
        assert!(!ends(&mut turn).await, "nothing since");
        turn.worked(LONG / 2);
        assert!(!ends(&mut turn).await, "half as long, after a turn");
        turn.worked(LONG / 2);
        assert!(ends(&mut turn).await, "long");
    }
}
