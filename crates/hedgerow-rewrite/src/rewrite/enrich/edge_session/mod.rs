//! Sessions that the edge keeps itself, in a first-party cookie (`sessions: cookie`).
//!
//! The rules are posthog-js's: a session ends after 30 minutes without a message and lasts at most
//! 24 hours. The cookie holds all state and the process holds none. So any number of proxies with
//! the same secret can serve one site, and a restart loses nothing.
//!
//! **The first requests of a visit** leave the browser together, before any of them has been
//! answered, and may reach different proxies. With random ids, each request would begin a session
//! of its own. So the id of a new session is derived, with the secret, from the visitor (the
//! anonymous id) and the half-hour in which the session begins: all these requests get the same id.
//! The half-hours of each visitor begin at a different moment. Otherwise a campaign mailed at nine
//! o'clock would reach all visitors when their half-hours change. Two visits of one visitor are
//! more than 30 minutes apart, so they never fall into the same half-hour and never share an id.
//!
//! The costs and limits of this method:
//! - The id's time part lies up to 31 minutes before the session's first event; PostHog only
//!   requires that it is not later. The 24 hours are counted from it, so a session may last at
//!   least 23:29.
//! - Requests without a cookie that arrive in two different half-hours get two sessions. If the
//!   first requests are 200 ms apart, this happens in one of 9,000 visits. If another proxy's clock
//!   is one second off, it happens in one of 1,800 visits that reach both proxies.
//! - A browser that refuses the cookie gets a new session in each half-hour.
//! - The last answer that arrives sets the cookie. The answers to parallel requests differ only in
//!   the time of the last activity, by as much as the requests do.
//!
//! **The cookie contains** the session's id and its last activity. HMAC-SHA-256 authenticates them
//! together with the visitor. A visitor can neither forge a cookie nor use another visitor's
//! cookie. A login that changes the anonymous id begins a new session, as posthog-js's reset does.
//! `ring` provides SHA-256; rustls needs `ring` anyway, and it compares in constant time. SHA-1,
//! which the event ids use, would be enough for an HMAC, but should not protect anything new.

use std::fmt;

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use ring::hmac;

use super::session::IDLE_LIMIT;
use super::uuid7::{Uuid7, SESSION_LIMIT};
use crate::rewrite::time::Timestamp;

mod checked;
mod cookie;
mod error;

use checked::{CheckedCookies, PAYLOAD, TAG};
pub use cookie::{CookieValue, SessionCookie, Transport};
pub use error::{EdgeSessionError, SECRET_BYTES};

/// The largest difference between the clocks of two proxies, or of proxy and browser, in
/// milliseconds; posthog-js tolerates the same.
const SKEW: i64 = 60 * 1000;

/// The shortest time between two renewals of the cookie, in milliseconds; posthog-js saves its own
/// as rarely.
const RENEWAL: i64 = 5 * 1000;

/// The first byte of a cookie: the version of its format.
const VERSION: u8 = 1;

/// Makes and checks session cookies.
pub struct EdgeSessions {
    keys: Vec<hmac::Key>,
    checked: CheckedCookies,
}

/// A visitor's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeSession {
    /// `$session_id`.
    pub id: Uuid7,
    /// When the visitor's last message arrived.
    pub last_activity: Timestamp,
}

/// The session that a message belongs to, and the cookie that stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// The session. It is the one in the request's cookie if that has not ended.
    pub session: EdgeSession,
    /// The cookie to set. `None` if the request's cookie is recent enough.
    pub cookie: Option<CookieValue>,
}

impl EdgeSessions {
    /// Creates an instance with these secrets. The first secret signs new cookies; the others are
    /// still accepted, so that a secret can be replaced without ending the sessions of all
    /// visitors.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no secret, or if one is shorter than [`SECRET_BYTES`].
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, EdgeSessionError> {
        let mut keys = Vec::new();
        for secret in secrets {
            if secret.len() < SECRET_BYTES {
                return Err(EdgeSessionError::ShortSecret);
            }
            keys.push(hmac::Key::new(hmac::HMAC_SHA256, secret));
        }
        if keys.is_empty() {
            return Err(EdgeSessionError::NoSecret);
        }
        Ok(Self {
            keys,
            checked: CheckedCookies::default(),
        })
    }

    /// Reads the session from a cookie. Returns `None` if the cookie was not made with one of the
    /// secrets for this visitor, or if the session has ended at `now`.
    pub fn read(&self, cookie: &str, visitor: &str, now: Timestamp) -> Option<EdgeSession> {
        let mut bytes = [0u8; PAYLOAD + TAG];
        // A longer value does not fit the buffer and fails here.
        let length = URL_SAFE_NO_PAD.decode_slice(cookie, &mut bytes).ok()?;
        if length != bytes.len() {
            return None;
        }
        let (payload, tag) = bytes.split_first_chunk::<PAYLOAD>()?;
        let known = self.checked.knows(&bytes, visitor) || {
            let message = message("cookie", visitor, payload);
            let mut keys = self.keys.iter();
            let is_ours = keys.any(|key| hmac::verify(key, &message, tag).is_ok());
            if is_ours {
                self.checked.remember(&bytes, visitor);
            }
            is_ours
        };
        let (version, rest) = payload.split_first()?;
        let (id, time) = rest.split_first_chunk::<16>()?;
        let id = Uuid7::from_bytes(*id).filter(|_| known && *version == VERSION)?;
        let time = time
            .iter()
            .fold(0i64, |time, byte| time << 8 | i64::from(*byte));
        let session = EdgeSession {
            id,
            last_activity: Timestamp::from_millis(time),
        };
        session.runs_at(now).then_some(session)
    }

    /// Continues a session that [`read`](Self::read) returned, or begins a new one. Returns `None`
    /// only if a UUID of version 7 cannot hold `now`.
    pub fn renew(
        &self,
        session: Option<EdgeSession>,
        visitor: &str,
        now: Timestamp,
    ) -> Option<Renewal> {
        let (session, is_due) = match session.filter(|session| session.runs_at(now)) {
            Some(session) => {
                let idle = now.millis() - session.last_activity.millis();
                // A proxy with a slow clock must not set the last activity back.
                let renewed = EdgeSession {
                    last_activity: session.last_activity.max(now),
                    ..session
                };
                (renewed, idle >= RENEWAL)
            }
            None => {
                let begun = EdgeSession {
                    id: self.begin(visitor, now)?,
                    last_activity: now,
                };
                (begun, true)
            }
        };
        let cookie = is_due.then(|| self.cookie(&session, visitor)).flatten();
        Some(Renewal { session, cookie })
    }

    /// Returns the id of a session that begins at `now` (see the module's documentation). A message
    /// that is too old for the current session, by its own time, also gets this id: messages of one
    /// visit that a browser stored while it was offline then share one id.
    pub fn begin(&self, visitor: &str, now: Timestamp) -> Option<Uuid7> {
        let key = self.keys.first()?;
        // A UUID of version 7 cannot hold other times.
        let now = Some(now.millis()).filter(|now| (0..1 << 48).contains(now))?;
        let offset = hash(key, "offset", visitor, &[]);
        let offset = u32::from_be_bytes(*offset.first_chunk()?);
        let offset = i64::from(offset) % IDLE_LIMIT;
        let border = (now - offset).div_euclid(IDLE_LIMIT) * IDLE_LIMIT + offset;
        let id = hash(key, "session", visitor, &border.to_be_bytes());
        // The event may have been made shortly before it arrived, in the half-hour before.
        Uuid7::from_hash(Timestamp::from_millis(border - SKEW), id.first_chunk()?)
    }

    fn cookie(&self, session: &EdgeSession, visitor: &str) -> Option<CookieValue> {
        let mut bytes = Vec::with_capacity(PAYLOAD + TAG);
        bytes.push(VERSION);
        bytes.extend_from_slice(session.id.as_bytes());
        let [_, _, time @ ..] = session.last_activity.millis().to_be_bytes();
        bytes.extend_from_slice(&time);
        let tag = hash(self.keys.first()?, "cookie", visitor, &bytes);
        bytes.extend_from_slice(&tag);
        // The browser will send this cookie with its next request.
        if let Some(cookie) = bytes.first_chunk() {
            self.checked.remember(cookie, visitor);
        }
        let rest = session.id.time().millis() + SESSION_LIMIT - session.last_activity.millis();
        Some(CookieValue {
            value: URL_SAFE_NO_PAD.encode(bytes),
            max_age: u32::try_from(rest.clamp(0, IDLE_LIMIT) / 1000).ok()?,
        })
    }
}

impl EdgeSession {
    /// Returns whether a message that arrives at `now` continues the session.
    fn runs_at(&self, now: Timestamp) -> bool {
        let idle = now.millis().saturating_sub(self.last_activity.millis());
        let age = now.millis().saturating_sub(self.id.time().millis());
        (-SKEW..=IDLE_LIMIT).contains(&idle) && (-SKEW..=SESSION_LIMIT).contains(&age)
    }
}

/// Computes the HMAC-SHA-256 of these parts.
fn hash(key: &hmac::Key, purpose: &str, visitor: &str, rest: &[u8]) -> [u8; TAG] {
    let tag = hmac::sign(key, &message(purpose, visitor, rest));
    let mut bytes = [0; TAG];
    for (byte, signed) in bytes.iter_mut().zip(tag.as_ref()) {
        *byte = *signed;
    }
    bytes
}

/// Returns the bytes that are hashed. `purpose` separates the three uses of the hash, and lengths
/// separate the parts.
fn message(purpose: &str, visitor: &str, rest: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(16 + purpose.len() + visitor.len() + rest.len());
    for part in [purpose, visitor] {
        message.extend_from_slice(&(part.len() as u64).to_be_bytes());
        message.extend_from_slice(part.as_bytes());
    }
    message.extend_from_slice(rest);
    message
}

impl fmt::Debug for EdgeSessions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EdgeSessions(redacted)")
    }
}

#[cfg(test)]
mod tests;
