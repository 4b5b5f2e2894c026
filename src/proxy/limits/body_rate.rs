//! The minimum rate of a request body: a client that sends a byte now and then would take a place from
//! others.

use std::time::Duration;

use crate::config::BodyRate;

/// Measures how fast one body arrives. It counts only the time in which the process waits for the client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyRateMeter {
    rate: Option<BodyRate>,
    /// The time spent waiting since the current measurement began.
    waited: Duration,
    /// The number of bytes that arrived since then.
    arrived: u64,
}

/// The error for a client that sends more slowly than `limits.body_rate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooSlow;

impl BodyRateMeter {
    /// Returns a meter for a body that is about to begin.
    pub(crate) fn new(rate: Option<BodyRate>) -> Self {
        Self {
            rate,
            waited: Duration::ZERO,
            arrived: 0,
        }
    }

    /// Returns how long the next bytes may take, or `None` if no rate is set.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let rate = self.rate?;
        let time_for_bytes = Duration::from_secs_f64(self.arrived as f64 / rate.bytes as f64);
        Some(time_for_bytes.max(rate.grace).saturating_sub(self.waited))
    }

    /// Records that `bytes` bytes arrived after a wait of `waited`.
    pub(crate) fn note(&mut self, waited: Duration, bytes: usize) -> Result<(), TooSlow> {
        let Some(rate) = self.rate else {
            return Ok(());
        };
        self.waited += waited;
        self.arrived = self.arrived.saturating_add(bytes as u64);
        if self.waited < rate.grace {
            return Ok(());
        }
        let required = self.waited.as_secs_f64() * rate.bytes as f64;
        if (self.arrived as f64) < required {
            return Err(TooSlow);
        }
        // The measurement begins again, so that a fast start does not allow a later silence.
        *self = Self::new(self.rate);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rate_meter(bytes: u64, grace: u64) -> BodyRateMeter {
        BodyRateMeter::new(Some(BodyRate {
            bytes,
            grace: SECOND * grace as u32,
        }))
    }

    #[test]
    fn a_body_that_drips_is_too_slow_when_its_grace_is_over() {
        let mut rate_meter = rate_meter(100, 10);
        for _ in 0..9 {
            assert_eq!(rate_meter.note(SECOND, 1), Ok(()));
        }
        assert_eq!(rate_meter.time_left(), Some(SECOND));
        assert_eq!(rate_meter.note(SECOND, 1), Err(TooSlow));
    }

    #[test]
    fn a_body_that_pauses_within_its_grace_and_goes_on_is_not() {
        let mut rate_meter = rate_meter(100, 10);
        for _ in 0..5 {
            assert_eq!(rate_meter.note(SECOND * 9, 0), Ok(()));
            assert_eq!(rate_meter.note(SECOND, 1000), Ok(()));
        }
    }

    #[test]
    fn a_fast_start_does_not_allow_a_long_silence_later() {
        let mut rate_meter = rate_meter(100, 10);
        assert_eq!(rate_meter.note(SECOND * 10, 1_000_000), Ok(()));
        assert_eq!(rate_meter.time_left(), Some(SECOND * 10));
        assert_eq!(rate_meter.note(SECOND * 11, 500), Err(TooSlow));
    }

    #[test]
    fn without_a_least_speed_each_body_may_take_its_time() {
        let mut rate_meter = BodyRateMeter::new(None);
        assert_eq!(rate_meter.time_left(), None);
        assert_eq!(rate_meter.note(SECOND * 1000, 1), Ok(()));
    }
}
