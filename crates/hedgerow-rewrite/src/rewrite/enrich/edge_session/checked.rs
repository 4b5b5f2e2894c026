//! A cache of cookies that the edge made or checked recently. A visitor's requests carry the same
//! cookie until it is renewed.
//!
//! A cookie that is not in the cache is checked by its hash, so the cache affects only the time
//! that a check takes.

use std::sync::{Mutex, PoisonError};

/// The length of version, id and last activity (48 bits of milliseconds), in bytes.
pub(super) const PAYLOAD: usize = 1 + 16 + 6;

/// The length of an HMAC-SHA-256, in bytes.
pub(super) const TAG: usize = 32;

/// The number of slots in the cache; each holds one cookie.
const SLOTS: usize = 1024;

/// The longest visitor id that is stored, in bytes; no library makes a longer one. All slots
/// together take about 200 KiB.
const LONGEST_VISITOR: usize = 100;

/// A cookie's value, decoded.
pub(super) type Bytes = [u8; PAYLOAD + TAG];

/// The cookies that are known to be valid, each with its visitor.
pub(super) struct CheckedCookies(Box<[Mutex<Option<KnownCookies>>]>);

struct KnownCookies {
    cookie: Bytes,
    visitor: Box<str>,
}

impl Default for CheckedCookies {
    fn default() -> Self {
        Self((0..SLOTS).map(|_| Mutex::default()).collect())
    }
}

impl CheckedCookies {
    /// Returns the slot of a cookie, which the end of its hash selects. The hash of a valid cookie
    /// is as good as random, and cookies that others invent are never stored.
    fn slot(&self, cookie: &Bytes) -> Option<&Mutex<Option<KnownCookies>>> {
        let last = u16::from_be_bytes(*cookie.last_chunk()?);
        self.0.get(usize::from(last) % SLOTS)
    }

    /// Returns whether the cache contains this cookie for this visitor. The time of the comparison
    /// does not reveal how much of the cookie is right.
    pub(super) fn knows(&self, cookie: &Bytes, visitor: &str) -> bool {
        let Some(slot) = self.slot(cookie) else {
            return false;
        };
        let known = slot.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().is_some_and(|known| {
            let both = known.cookie.iter().zip(cookie);
            let differences = both.fold(0, |all, (one, other)| all | (one ^ other));
            *known.visitor == *visitor && std::hint::black_box(differences) == 0
        })
    }

    /// Stores a cookie that was made or checked here, unless the visitor's id is too long.
    pub(super) fn remember(&self, cookie: &Bytes, visitor: &str) {
        if let Some(slot) = self
            .slot(cookie)
            .filter(|_| visitor.len() <= LONGEST_VISITOR)
        {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(KnownCookies {
                cookie: *cookie,
                visitor: visitor.into(),
            });
        }
    }
}
