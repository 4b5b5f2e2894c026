//! Decides when a certificate is renewed and when a failed attempt is made again. This module reads
//! no clock and no file.

use std::time::Duration;

use super::storage::Attempts;

/// The pause after a first failure that is not a refusal: the directory may be reachable again
/// soon.
const UNREACHABLE: Duration = Duration::from_secs(30);
/// The pause after a first refusal. Let's Encrypt allows five failed validations of a name in an
/// hour. This pause doubles each time, so four attempts are made in the first hour and fewer after
/// that.
const REFUSED: Duration = Duration::from_secs(300);
/// The longest pause, without its random part. It allows many attempts in the last third of a
/// certificate's life.
const LONGEST: Duration = Duration::from_secs(3 * 3600);
/// An authority that asks for a longer pause than this has a wrong clock.
const LONGEST_WAIT: u64 = 7 * 24 * 3600;
/// The shortest time between two certificates, in seconds, whatever dates they have. For a very
/// short life it is a third of that life.
const AT_LEAST: i64 = 3600;
/// A reload retries a failed order at once, but not within this many seconds of the last attempt.
const ASKED_AGAIN: u64 = 5;

/// Who asks for another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttemptReason {
    /// The schedule.
    Scheduled,
    /// An operator, by a reload or by other settings.
    Asked,
}

/// The validity period of a certificate, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) begins: i64,
    pub(super) ends: i64,
}

/// The kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// The directory did not answer, or the folder cannot be written: nothing was refused.
    Unreachable,
    /// The authority refused, or could not validate a name.
    Refused,
    /// The authority does not know the stored account.
    AccountGone,
}

impl Validity {
    /// Returns when the certificate is renewed: after two thirds of its life (Let's Encrypt's
    /// advice), or when the authority suggests (RFC 9773), but not in the last tenth of its life.
    pub(super) fn renewed_from(self, suggested: Option<i64>) -> i64 {
        let length = self.ends.saturating_sub(self.begins).max(0);
        let own = self.begins.saturating_add(length / 3 * 2);
        let latest = self.ends.saturating_sub(length / 10);
        suggested.map_or(own, |suggested| suggested.min(latest))
    }

    /// Returns the same for a certificate that was issued at this time, but not earlier than
    /// `AT_LEAST` after that time, so that a directory that issues wrong dates is not asked in an
    /// endless loop.
    pub(super) fn renewed_after(self, suggested: Option<i64>, issued: Option<i64>) -> i64 {
        let planned = self.renewed_from(suggested);
        let length = self.ends.saturating_sub(self.begins).max(0);
        match issued {
            Some(issued) => planned.max(issued.saturating_add((length / 3).clamp(1, AT_LEAST))),
            None => planned,
        }
    }
}

impl Attempts {
    /// Records an attempt before it starts, so that an attempt also counts if the process ends
    /// during it.
    pub(super) fn begin(&mut self, settings: &str, now: u64, random: u128) {
        settings.clone_into(&mut self.settings);
        if self.begun > 0 {
            self.failures = self.failures.saturating_add(1);
            self.error = Some("the process ended during the order".to_owned());
        } else if self.failures == 0 {
            self.since = now;
        }
        (self.begun, self.last) = (now, now);
        let pause = wait_after(
            FailureKind::Refused,
            self.failures.saturating_add(1),
            random,
        );
        self.next = now.saturating_add(pause.as_secs());
    }

    /// Records that the current attempt has failed.
    pub(super) fn fail(
        &mut self,
        failure: FailureKind,
        error: String,
        wait_until: Option<u64>,
        now: u64,
        random: u128,
    ) {
        self.error = Some(error);
        self.failures = self.failures.saturating_add(1);
        self.begun = 0;
        self.next = now.saturating_add(wait_after(failure, self.failures, random).as_secs());
        let wait_until = wait_until.filter(|until| *until > now).unwrap_or(0);
        self.retry_after = wait_until.min(now.saturating_add(LONGEST_WAIT));
    }

    /// Whether the next attempt may be made now. A planned time that is later than any pause allows
    /// was written with a wrong clock, and does not count.
    pub(super) fn may_begin(&self, now: u64, reason: AttemptReason) -> bool {
        let next = match reason {
            AttemptReason::Scheduled => self.next_at(),
            AttemptReason::Asked => self.next_when_asked(),
        };
        let farthest = LONGEST_WAIT.saturating_add(2 * LONGEST.as_secs());
        next <= now || next > now.saturating_add(farthest)
    }

    /// Returns when the next attempt may be made, in seconds since 1970.
    pub(super) fn next_at(&self) -> u64 {
        self.next.max(self.retry_after)
    }

    /// Returns the same for an attempt that an operator has requested.
    fn next_when_asked(&self) -> u64 {
        self.retry_after
            .max(self.last.saturating_add(ASKED_AGAIN).min(self.next))
    }
}

/// Returns the pause after this many failures. It doubles with each failure, and a random part of
/// up to a quarter is added, so that machines that failed together do not retry together.
fn wait_after(failure: FailureKind, failures: u32, random: u128) -> Duration {
    let first = match failure {
        FailureKind::Unreachable => UNREACHABLE,
        FailureKind::Refused | FailureKind::AccountGone => REFUSED,
    };
    let doubled = failures.saturating_sub(1).min(16);
    let pause = first.saturating_mul(1 << doubled).min(LONGEST);
    let more = (random % 1024) as u32;
    pause + pause / 4 * more / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600;

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_or_when_the_authority_suggests() {
        let validity = Validity {
            begins: 0,
            ends: 90 * DAY,
        };
        for (suggested, expected) in [
            (None, 60 * DAY),
            (Some(40 * DAY), 40 * DAY),
            (Some(-5), -5),
            (Some(70 * DAY), 70 * DAY),
            (Some(89 * DAY), 81 * DAY),
            (Some(i64::MAX), 81 * DAY),
        ] {
            assert_eq!(validity.renewed_from(suggested), expected, "{suggested:?}");
        }
        // A certificate that is already due when it is issued is not ordered again at once.
        for (ends, issued, expected) in [
            (90 * DAY, 89 * DAY, 89 * DAY + AT_LEAST),
            (30, 29, 39),
            (0, 5, 6),
            (90 * DAY, 0, 60 * DAY),
        ] {
            let validity = Validity { begins: 0, ends };
            assert_eq!(
                validity.renewed_after(None, Some(issued)),
                expected,
                "{ends}"
            );
        }
    }

    #[test]
    fn refusals_keep_four_attempts_an_hour_and_failures_go_on_for_ever() {
        for random in [0, 511, 1023] {
            let (mut attempts, mut at, mut made) = (Attempts::default(), 1_000_000, Vec::new());
            for _ in 0..40 {
                made.push(at);
                attempts.begin("s", at, random);
                attempts.fail(FailureKind::Refused, "no".to_owned(), None, at, random);
                let next = attempts.next_at();
                assert!(next - at >= REFUSED.as_secs());
                assert!(next - at <= LONGEST.as_secs() * 5 / 4);
                at = next;
            }
            let first_hour = made.iter().filter(|at| **at < 1_000_000 + 3600);
            assert!(first_hour.count() <= 4);
            assert_eq!((attempts.failures, attempts.since), (40, 1_000_000));
        }
    }

    #[test]
    fn an_operator_is_obeyed_at_once_but_a_plea_to_wait_is_kept() {
        let mut attempts = Attempts::default();
        assert_eq!((attempts.next_at(), attempts.next_when_asked()), (0, 0));
        attempts.begin("old", 100, 0);
        attempts.fail(FailureKind::Refused, "no".to_owned(), None, 101, 0);
        assert_eq!(attempts.next_at(), 401);
        assert_eq!(attempts.next_when_asked(), 105);
        attempts.fail(FailureKind::Refused, "429".to_owned(), Some(9_000), 101, 0);
        assert_eq!(attempts.next_at(), 9_000);
        assert_eq!(attempts.next_when_asked(), 9_000);
        attempts.fail(
            FailureKind::Refused,
            "429".to_owned(),
            Some(u64::MAX),
            101,
            0,
        );
        assert_eq!(attempts.next_at(), 101 + LONGEST_WAIT);
        let waiting = Attempts {
            last: 100,
            next: 401,
            ..Attempts::default()
        };
        for (now, scheduled, requested) in [
            (104, false, false),
            (105, false, true),
            (400, false, true),
            (401, true, true),
        ] {
            assert_eq!(
                waiting.may_begin(now, AttemptReason::Scheduled),
                scheduled,
                "{now}"
            );
            assert_eq!(
                waiting.may_begin(now, AttemptReason::Asked),
                requested,
                "{now}"
            );
        }
        let from_a_wrong_clock = Attempts {
            next: 90 * DAY as u64,
            ..Attempts::default()
        };
        assert!(from_a_wrong_clock.may_begin(1_000, AttemptReason::Scheduled));
        // Two processes with different settings on one folder do not trigger each other's orders.
        attempts.begin("new", 200, 0);
        assert_eq!((attempts.failures, attempts.since), (3, 100));
        assert_eq!(attempts.settings, "new");
    }

    #[test]
    fn an_attempt_that_broke_off_with_its_process_counts() {
        let mut attempts = Attempts::default();
        for (now, failures, pause) in [(100, 0, 300), (500, 1, 600), (1500, 2, 1200)] {
            attempts.begin("s", now, 0);
            assert_eq!((attempts.failures, attempts.since), (failures, 100));
            assert_eq!(attempts.next_at(), now + pause);
            assert_eq!(attempts.error.is_some(), failures > 0);
        }
        attempts.fail(FailureKind::Refused, "no".to_owned(), None, 1501, 0);
        assert_eq!((attempts.failures, attempts.begun), (3, 0));
    }
}
