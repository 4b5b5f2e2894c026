//! Cookies that were made or checked lately: a visitor's requests bring the same one until it is renewed.
//!
//! What is not remembered is checked by its hash, so that nothing but time depends on this.

use std::sync::{Mutex, PoisonError};

use super::{PAYLOAD, TAG};

/// How many are remembered.
const SLOTS: usize = 1024;

/// Visitors with longer ids are none that a library has made. In bytes; all slots take some 200 KiB.
const LONGEST_VISITOR: usize = 100;

/// A cookie's value, decoded.
pub(super) type Bytes = [u8; PAYLOAD + TAG];

/// Cookies that are known to be ours, each with its visitor.
pub(super) struct Checked(Box<[Mutex<Option<Known>>]>);

struct Known {
    cookie: Bytes,
    visitor: Box<str>,
}

impl Default for Checked {
    fn default() -> Self {
        Self((0..SLOTS).map(|_| Mutex::default()).collect())
    }
}

impl Checked {
    /// Its place. The hash in a cookie of ours is as good as random; what others make up is never
    /// remembered.
    fn slot(&self, cookie: &Bytes) -> Option<&Mutex<Option<Known>>> {
        let last = u16::from_be_bytes(*cookie.last_chunk()?);
        self.0.get(usize::from(last) % SLOTS)
    }

    /// Whether this cookie of this visitor is known to be ours. How long it takes does not tell how much
    /// of it is right.
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

    /// Remembers a cookie that was made here, or checked.
    pub(super) fn remember(&self, cookie: &Bytes, visitor: &str) {
        if let Some(slot) = self
            .slot(cookie)
            .filter(|_| visitor.len() <= LONGEST_VISITOR)
        {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Known {
                cookie: *cookie,
                visitor: visitor.into(),
            });
        }
    }
}
