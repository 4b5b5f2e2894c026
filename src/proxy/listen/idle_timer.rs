//! Limits how long a connection waits for its next request, with one timer for its whole life.

use std::future::{poll_fn, Future};
use std::pin::Pin;
use std::task::{ready, Poll};
use std::time::Duration;

use tokio::time::{sleep_until, Instant, Sleep};

/// Ends a wait that has lasted too long. A connection waits once for each of its requests, and nearly
/// always only for a moment. So its timer is set again only when it fires.
#[derive(Debug)]
pub(super) struct IdleTimer {
    limit: Duration,
    /// When the current wait began.
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl IdleTimer {
    /// Returns a timer for waits of this length at most.
    pub(super) fn new(limit: Duration) -> Self {
        let since = Instant::now();
        Self {
            limit,
            since,
            timer: Box::pin(sleep_until(since + limit)),
        }
    }

    /// Begins a wait, and returns when it has lasted too long.
    pub(super) async fn wait(&mut self) {
        self.since = Instant::now();
        poll_fn(|context| loop {
            ready!(self.timer.as_mut().poll(context));
            let until = self.since + self.limit;
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            // The timer was set for an earlier wait.
            self.timer.as_mut().reset(until);
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_whole_time_and_no_more() {
        let mut timer = IdleTimer::new(SECOND * 10);
        for pause in [3, 9, 1, 9, 9] {
            let begun = Instant::now();
            let short = tokio::time::timeout(SECOND * pause, timer.wait()).await;
            assert!(short.is_err(), "over after {:?}", begun.elapsed());
            // The time of a request does not count as waiting.
            tokio::time::sleep(SECOND * 25).await;
        }
        for _ in 0..2 {
            let begun = Instant::now();
            timer.wait().await;
            let took = begun.elapsed();
            assert!(took >= SECOND * 10 && took < SECOND * 11, "{took:?}");
        }
    }
}
