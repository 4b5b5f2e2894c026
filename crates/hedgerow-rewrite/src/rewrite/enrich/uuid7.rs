//! UUIDs of version 7 (RFC 9562, 5.7): the only ids that PostHog accepts for sessions
//! (posthog-ingestion 4.6), and the best ones for events (posthog-ingestion 3.4).
//!
//! The ids made here are derived, not random: the same input gives the same id on every proxy and
//! in every retry. SHA-1 spreads the input over the free bits, as in UUIDs of version 5. Nothing
//! relies on collisions being hard to find, since a client that wants two equal ids can send one
//! message id twice. Ids that must not be guessed are made with a keyed hash
//! ([`super::edge_session`]).

use std::fmt;

use sha1::{Digest, Sha1};
use wide::u8x16;

use crate::rewrite::time::Timestamp;

/// How long events may carry one session id, counted from its time part, in milliseconds.
pub const SESSION_LIMIT: i64 = 24 * 60 * 60 * 1000;

/// A UUID of version 7.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid7([u8; 16]);

impl Uuid7 {
    /// Parses the usual form with hyphens, in upper or lower case. Returns `None` for any other
    /// text, version or variant.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0u8; 16];
        let mut digits = 0usize;
        for (at, character) in text.bytes().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if character != b'-' {
                    return None;
                }
                continue;
            }
            let digit = char::from(character).to_digit(16)? as u8;
            let byte = bytes.get_mut(digits / 2)?;
            *byte = *byte << 4 | digit;
            digits += 1;
        }
        let id = Self(bytes);
        (digits == 32 && id.version() == 7 && id.is_rfc_variant()).then_some(id)
    }

    /// Builds the id of this time. Its 74 free bits are taken from the 80 bits of `hash`. Returns
    /// `None` for a time before 1970 or beyond 48 bits.
    pub fn from_hash(time: Timestamp, hash: &[u8; 10]) -> Option<Self> {
        let time = u64::try_from(time.millis())
            .ok()
            .filter(|time| *time < 1 << 48)?;
        let [h0, h1, h2, h3, h4, h5, h6, h7, h8, h9] = *hash;
        let [_, _, t0, t1, t2, t3, t4, t5] = time.to_be_bytes();
        Some(Self([
            t0,
            t1,
            t2,
            t3,
            t4,
            t5,
            0x70 | (h0 & 0x0f),
            h1,
            0x80 | (h2 & 0x3f),
            h3,
            h4,
            h5,
            h6,
            h7,
            h8,
            h9,
        ]))
    }

    /// Derives the id of this time from these parts. `purpose` separates ids of different kinds.
    /// Returns `None` for a time before 1970 or beyond 48 bits.
    pub fn derived(time: Timestamp, purpose: &str, parts: &[&[u8]]) -> Option<Self> {
        let mut hash = Sha1::new();
        for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
            // The lengths are hashed too, so that no two lists of parts give the same bytes.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let hash: [u8; 20] = hash.finalize().into();
        Self::from_hash(time, hash.first_chunk()?)
    }

    /// Returns the id's time part.
    pub fn time(self) -> Timestamp {
        let [t0, t1, t2, t3, t4, t5, ..] = self.0;
        let time = [0, 0, t0, t1, t2, t3, t4, t5];
        Timestamp::from_millis(i64::from_be_bytes(time))
    }

    /// Returns whether an event of this time may carry this id as its session: not before the id's
    /// time part and at most 24 hours after it (mapping 5.3).
    pub fn covers(self, event: Timestamp) -> bool {
        (0..=SESSION_LIMIT).contains(&event.millis().saturating_sub(self.time().millis()))
    }

    /// Returns whether PostHog finds the session of an event of this time. PostHog searches for a
    /// session three days around its id's time, which may be that of a client's clock.
    pub fn is_found_at(self, event: Timestamp) -> bool {
        event.millis().abs_diff(self.time().millis()) <= 3 * SESSION_LIMIT.unsigned_abs()
    }

    /// Returns the id's 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Returns the id of these bytes. Returns `None` if they are not a UUID of version 7.
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        let id = Self(bytes);
        (id.version() == 7 && id.is_rfc_variant()).then_some(id)
    }

    fn version(self) -> u8 {
        self.0[6] >> 4
    }

    fn is_rfc_variant(self) -> bool {
        self.0[8] >> 6 == 0b10
    }
}

impl fmt::Display for Uuid7 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(std::str::from_utf8(&hyphenated(self.0)).unwrap_or_default())
    }
}

impl fmt::Debug for Uuid7 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Returns the 36 characters of a UUID.
#[inline(always)]
pub(in crate::rewrite) fn hyphenated(uuid: [u8; 16]) -> [u8; 36] {
    let [high, low] = hexadecimal(uuid);
    let mut text = [b'-'; 36];
    text[0..8].copy_from_slice(&high[0..8]);
    text[9..13].copy_from_slice(&high[8..12]);
    text[14..18].copy_from_slice(&high[12..16]);
    text[19..23].copy_from_slice(&low[0..4]);
    text[24..36].copy_from_slice(&low[4..16]);
    text
}

/// Returns the 32 digits of sixteen bytes, all computed at once.
#[inline(always)]
pub(in crate::rewrite) fn hexadecimal(bytes: [u8; 16]) -> [[u8; 16]; 2] {
    let low_half = u8x16::splat(0x0f);
    let digits = |half: u8x16| {
        let is_number = half.min(u8x16::splat(9)).simd_eq(half);
        let above = !is_number & u8x16::splat(b'a' - b'9' - 1);
        half + u8x16::splat(b'0') + above
    };
    // The mask removes the bits that the shift moves in from the neighbouring byte.
    let shifted = (u128::from_le_bytes(bytes) >> 4).to_le_bytes();
    let first = digits(u8x16::new(shifted) & low_half);
    let second = digits(u8x16::new(bytes) & low_half);
    [
        u8x16::unpack_low(first, second),
        u8x16::unpack_high(first, second),
    ]
    .map(u8x16::to_array)
}

/// Returns the UUID of an event made from a Segment message (posthog-ingestion 3.4).
///
/// `source` separates senders (the write key or the project), and `kind` separates the events that
/// one message becomes. The same message gives the same UUID at any time and through any proxy,
/// because `own` is the message's own time as it was sent. The corrected time differs from retry to
/// retry. If `own` is missing, or more than three days away from the corrected time, the corrected
/// day is used: PostHog searches for a UUID at most three days from its time part.
///
/// Returns `None` for times that version 7 cannot hold.
pub fn event_uuid(
    own: Option<Timestamp>,
    corrected: Timestamp,
    source: &[u8],
    message_id: &[u8],
    kind: &[u8],
) -> Option<Uuid7> {
    const DAY: i64 = 24 * 60 * 60 * 1000;
    let day = corrected.millis().div_euclid(DAY) * DAY;
    let time = own
        .filter(|own| own.millis().abs_diff(corrected.millis()) <= 3 * DAY.unsigned_abs())
        .unwrap_or(Timestamp::from_millis(day));
    Uuid7::derived(time, "event", &[source, message_id, kind])
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: i64 = 1_763_892_000_123;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn only_well_formed_ids_of_version_7_are_taken() {
        let id = Uuid7::parse("019AB0B4-90FB-7CC3-98C4-DC0C0C07398F").unwrap();
        assert_eq!(id.to_string(), "019ab0b4-90fb-7cc3-98c4-dc0c0c07398f");
        assert_eq!(Uuid7::from_bytes(*id.as_bytes()), Some(id));
        for text in [
            "",
            "0",
            "019ab0b4-90fb-4cc3-98c4-dc0c0c07398f",
            "019ab0b4-90fb-7cc3-48c4-dc0c0c07398f",
            "019ab0b4-90fb-7cc3-c8c4-dc0c0c07398f",
            "019ab0b490fb7cc398c4dc0c0c07398f",
            "019ab0b4-90fb-7cc3-98c4-dc0c0c07398",
            "019ab0b4-90fb-7cc3-98c4-dc0c0c07398f0",
            "019ab0b4-90fb-7cc3-98c4-dc0c0c07398g",
            "019ab0b4+90fb-7cc3-98c4-dc0c0c07398f",
            "019ab0b4-90fb-7cc3-98c4-dc0c0c07398\u{e9}",
            "{019ab0b4-90fb-7cc3-98c4-dc0c0c0739}",
        ] {
            assert_eq!(Uuid7::parse(text), None, "{text}");
        }
        // The example of RFC 9562, appendix A.6: 2022-02-22T19:22:22Z.
        let example = Uuid7::parse("017F22E2-79B0-7CC3-98C4-DC0C0C07398F").unwrap();
        assert_eq!(example.time(), at(1_645_557_742_000));
    }

    #[test]
    fn a_derived_id_is_valid_keeps_its_time_and_depends_on_every_part() {
        let id = Uuid7::derived(at(TIME), "session", &[b"ab", b"c"]).unwrap();
        assert_eq!(Uuid7::parse(&id.to_string()), Some(id));
        assert_eq!(id.time(), at(TIME));
        assert_eq!(
            Uuid7::derived(at(TIME), "session", &[b"ab", b"c"]),
            Some(id)
        );
        for (purpose, parts) in [
            ("event", vec![&b"ab"[..], b"c"]),
            ("session", vec![b"a", b"bc"]),
            ("session", vec![b"ab", b"c", b""]),
            ("sessionab", vec![b"c"]),
        ] {
            assert_ne!(Uuid7::derived(at(TIME), purpose, &parts), Some(id));
        }
        for time in [-1, 1 << 48, i64::MIN, i64::MAX] {
            assert_eq!(Uuid7::derived(at(time), "session", &[]), None);
        }
    }

    #[test]
    fn the_free_bits_are_all_used() {
        let ones = Uuid7::from_hash(at((1 << 48) - 1), &[0xff; 10]).unwrap();
        assert_eq!(ones.to_string(), "ffffffff-ffff-7fff-bfff-ffffffffffff");
        let zeros = Uuid7::from_hash(at(0), &[0; 10]).unwrap();
        assert_eq!(zeros.to_string(), "00000000-0000-7000-8000-000000000000");
    }

    #[test]
    fn a_session_covers_the_24_hours_from_its_time_part() {
        let id = Uuid7::derived(at(TIME), "session", &[]).unwrap();
        for (offset, covered) in [
            (-1, false),
            (0, true),
            (SESSION_LIMIT, true),
            (SESSION_LIMIT + 1, false),
        ] {
            assert_eq!(id.covers(at(TIME + offset)), covered, "{offset}");
        }
        assert!(!id.covers(at(i64::MIN)) && !id.covers(at(i64::MAX)));
    }

    #[test]
    fn a_resent_message_keeps_its_uuid_though_its_corrected_time_moves() {
        let first = event_uuid(Some(at(TIME)), at(TIME + 40), b"wk", b"m-1", b"track").unwrap();
        let again = event_uuid(Some(at(TIME)), at(TIME + 95), b"wk", b"m-1", b"track").unwrap();
        assert_eq!(first, again);
        assert_eq!(first.time(), at(TIME));
        for (source, message_id, kind) in [
            (&b"wk2"[..], &b"m-1"[..], &b"track"[..]),
            (b"wk", b"m-2", b"track"),
            (b"wk", b"m-1", b"identify"),
        ] {
            assert_ne!(
                event_uuid(Some(at(TIME)), at(TIME), source, message_id, kind),
                Some(first)
            );
        }
    }

    #[test]
    fn a_clock_that_is_days_off_does_not_get_into_the_uuid() {
        let day = at(1_763_856_000_000); // 2025-11-23
        for own in [None, Some(at(TIME - 4 * SESSION_LIMIT)), Some(at(i64::MAX))] {
            let uuid = event_uuid(own, at(TIME), b"wk", b"m-1", b"track").unwrap();
            assert_eq!(uuid.time(), day, "{own:?}");
        }
        let near = event_uuid(Some(at(TIME - 3 * SESSION_LIMIT)), at(TIME), b"", b"", b"").unwrap();
        assert_eq!(near.time(), at(TIME - 3 * SESSION_LIMIT));
    }
}
