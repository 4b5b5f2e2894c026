//! Determines how long an idle connection to a server stays in the pool, and which requests may use an
//! idle connection at all.
//!
//! A server closes a connection that has been idle for some time. A request that is sent at the same
//! moment gets no answer, and it is unknown whether the server has begun to process it. A GET is
//! retried; a request that places an order is not.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::header::{self, HeaderMap};

/// The idle time for origins without a setting. It is shorter than the five seconds of Node.js.
const OF_ORIGINS: Duration = Duration::from_secs(4);

/// The limit for the idle time that a server announces. Longer ones count as this one.
const LONGEST: Duration = Duration::from_secs(3600);

/// The value of `announced` until a server has announced an idle time.
const UNKNOWN: u64 = u64::MAX;

/// Whether a request may be sent again when its connection closes without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    May,
    MayNot,
}

/// The known facts about how long a server keeps an idle connection open.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    /// The longest time that a connection stays idle in the pool.
    max_idle: Duration,
    /// Whether the server is known to keep idle connections for `max_idle`.
    idle_time_known: IdleTimeKnown,
    /// The idle time that the server has announced, minus a margin, in milliseconds.
    announced: AtomicU64,
    /// Whether the server has closed a connection before this time had passed.
    closes_early: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IdleTimeKnown {
    Yes,
    No,
}

/// How a request uses connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// The request uses an idle connection, if there is one. Afterwards the connection stays in the pool
    /// for this time.
    Shared(Duration),
    /// The request uses a new connection, which is closed afterwards.
    Alone,
}

impl KeepAlive {
    /// Creates the rule for a server that is known to keep idle connections for this time.
    pub(crate) fn fixed(max_idle: Duration) -> Self {
        Self::new(max_idle, IdleTimeKnown::Yes)
    }

    /// Creates the rule for a site's own server, with the idle time from the configuration, if it is set.
    pub(crate) fn of_origin(configured: Option<Duration>) -> Self {
        match configured {
            Some(max_idle) => Self::new(max_idle, IdleTimeKnown::Yes),
            None => Self::new(OF_ORIGINS, IdleTimeKnown::No),
        }
    }

    fn new(max_idle: Duration, idle_time_known: IdleTimeKnown) -> Self {
        Self {
            max_idle,
            idle_time_known,
            announced: AtomicU64::new(UNKNOWN),
            closes_early: AtomicBool::new(false),
        }
    }

    /// Records the idle time that an answer announces: `Keep-Alive: timeout=N`, in whole seconds.
    pub(crate) fn learn(&self, answer: &HeaderMap) {
        if let Some(announced) = announced(answer) {
            let idle_time = millis(less_a_margin(announced));
            if self.announced.load(Ordering::Relaxed) != idle_time {
                self.announced.store(idle_time, Ordering::Relaxed);
            }
        }
    }

    /// Records that a pooled connection turned out to be closed when a request was sent over it.
    pub(crate) fn was_closed_early(&self) {
        self.closes_early.store(true, Ordering::Relaxed);
    }

    /// Returns how a request may use connections.
    pub(crate) fn pooling(&self, repeat: Repeat) -> Pooling {
        let announced = match self.announced.load(Ordering::Relaxed) {
            UNKNOWN => None,
            millis => Some(Duration::from_millis(millis)),
        };
        let known = announced.is_some() || self.idle_time_known == IdleTimeKnown::Yes;
        let reliable = known && !self.closes_early.load(Ordering::Relaxed);
        let idle_time = announced.map_or(self.max_idle, |announced| announced.min(self.max_idle));
        match repeat {
            _ if idle_time.is_zero() => Pooling::Alone,
            Repeat::MayNot if !reliable => Pooling::Alone,
            _ => Pooling::Shared(idle_time),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(UNKNOWN - 1)
}

/// Subtracts a margin from the announced time: the server counts from the last byte of its answer, and the
/// close takes a moment to arrive here.
fn less_a_margin(announced: Duration) -> Duration {
    announced.saturating_sub((announced / 2).min(Duration::from_secs(1)))
}

fn announced(answer: &HeaderMap) -> Option<Duration> {
    let values = answer.get_all(header::HeaderName::from_static("keep-alive"));
    let mut timeouts = values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .filter_map(|parameter| parameter.split_once('='))
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))
        .filter_map(|(_, value)| value.trim().trim_matches('"').parse().ok());
    let seconds = timeouts.next()?;
    Some(Duration::from_secs(seconds).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(keep_alive: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("keep-alive", keep_alive.parse().unwrap());
        headers
    }

    #[test]
    fn a_servers_announcement_shortens_the_idle_time() {
        let millis = Duration::from_millis;
        for (value, expected) in [
            ("timeout=5", Pooling::Shared(millis(4_000))),
            ("Timeout = 3 , max=100", Pooling::Shared(millis(2_000))),
            ("max=7, timeout=\"2\"", Pooling::Shared(millis(1_000))),
            ("timeout=1", Pooling::Shared(millis(500))),
            ("timeout=60", Pooling::Shared(millis(4_000))),
            ("timeout=0", Pooling::Alone),
            (
                "timeout=18446744073709551615",
                Pooling::Shared(millis(4_000)),
            ),
        ] {
            let keep_alive = KeepAlive::of_origin(None);
            keep_alive.learn(&answer(value));
            for repeat in [Repeat::May, Repeat::MayNot] {
                assert_eq!(keep_alive.pooling(repeat), expected, "{value}");
            }
        }
    }

    #[test]
    fn requests_that_must_not_be_repeated_use_a_new_connection_until_the_idle_time_is_known() {
        let keep_alive = KeepAlive::of_origin(None);
        for value in [
            "",
            "max=5",
            "timeout",
            "timeout=",
            "timeout=-1",
            "timeout=soon",
        ] {
            keep_alive.learn(&answer(value));
            assert_eq!(
                keep_alive.pooling(Repeat::MayNot),
                Pooling::Alone,
                "{value}"
            );
            assert_eq!(
                keep_alive.pooling(Repeat::May),
                Pooling::Shared(OF_ORIGINS),
                "{value}"
            );
        }
        let long = Duration::from_secs(90);
        let configured = KeepAlive::of_origin(Some(long));
        assert_eq!(configured.pooling(Repeat::MayNot), Pooling::Shared(long));
        configured.was_closed_early();
        assert_eq!(configured.pooling(Repeat::MayNot), Pooling::Alone);
        assert_eq!(configured.pooling(Repeat::May), Pooling::Shared(long));
        let off = KeepAlive::of_origin(Some(Duration::ZERO));
        assert_eq!(off.pooling(Repeat::May), Pooling::Alone);
    }
}
