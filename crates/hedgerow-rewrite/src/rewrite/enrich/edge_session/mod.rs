//! Sessions that the edge keeps itself, in a first-party cookie (`sessions: cookie`).
//!
//! The rules are posthog-js's: a session ends after 30 minutes without a message and lasts 24
//! hours at most. All state is in the cookie, none in the process, so any number of proxies with
//! the same secret may serve one site, and a restart forgets nothing.
//!
//! **The first requests of a visit** leave the browser together, before any of them has been
//! answered, and perhaps to different proxies. A random id would make each of them a session of
//! its own. So a new session's id is derived, with the secret, from the visitor (the anonymous id)
//! and the half-hour in which it begins: all of them compute the same. Each visitor's half-hours
//! begin at a moment of their own, or a campaign mailed at nine sharp would meet all visitors'
//! border. Two visits of one visitor never share a half-hour, because 30 idle minutes lie between
//! them, and so they never share an id.
//!
//! What this costs, and where it ends:
//! - The id's time part lies up to 31 minutes before the session's first event; PostHog asks only
//!   that it is not later. The 24 hours are counted from it, so a session lasts at least 23:29.
//! - Requests without a cookie that fall on both sides of a border get two sessions. With first
//!   requests 200 ms apart that is one visit in 9,000; a clock that is a second off on another
//!   proxy makes it one in 1,800 for visits that reach both.
//! - A browser that refuses the cookie gets a session for each half-hour.
//! - The last answer to arrive sets the cookie. Answers to parallel requests differ in the time
//!   of the last activity only, by as much as the requests do.
//!
//! **What is in the cookie** is the session's id and its last activity, authenticated with
//! HMAC-SHA-256 together with the visitor it was made for. A visitor can neither make one up nor
//! use another visitor's, and a login that changes the anonymous id begins a new session, as
//! posthog-js's reset does. SHA-256 is `ring`'s, which rustls brings along anyway and which
//! compares in constant time; SHA-1, which the event ids use, would do for an HMAC, but should not
//! guard anything new.

use std::fmt;

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use ring::hmac;
use thiserror::Error;

use super::millis;
use super::session::IDLE_LIMIT;
use super::uuid7::{Uuid7, SESSION_LIMIT};
use crate::rewrite::time::Timestamp;

mod checked;
mod cookie;

use checked::Checked;
pub use cookie::{SessionCookie, Transport};

/// The shortest secret, in bytes.
pub const SECRET_BYTES: usize = 32;

/// How far the clocks of two proxies, or of proxy and browser, may be apart, in milliseconds; as
/// much as posthog-js tolerates.
const SKEW: i64 = 60 * 1000;

/// The cookie is not set again before this, in milliseconds: posthog-js saves its own as seldom.
const RENEWAL: i64 = 5 * 1000;

/// The first byte of a cookie, should its form ever change.
const VERSION: u8 = 1;

/// Version, id, last activity in milliseconds (48 bits).
const PAYLOAD: usize = 1 + 16 + 6;

/// HMAC-SHA-256.
const TAG: usize = 32;

/// Makes and checks session cookies.
pub struct EdgeSessions {
    keys: Vec<hmac::Key>,
    checked: Checked,
}

/// A visitor's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeSession {
    /// `$session_id`.
    pub id: Uuid7,
    /// When the visitor's last message arrived.
    pub last_activity: Timestamp,
}

/// The session a message belongs to, and the cookie that keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// The session; the one of the request's cookie if that still runs.
    pub session: EdgeSession,
    /// The cookie to set; none if the one that came is fresh enough.
    pub cookie: Option<CookieValue>,
}

/// What is to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieValue {
    /// The cookie's value: 74 characters of base64.
    pub value: String,
    /// How long the browser shall keep it, in seconds.
    pub max_age: u32,
}

/// Why sessions cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EdgeSessionError {
    /// There is no secret.
    #[error("sessions need a secret")]
    NoSecret,
    /// A secret can be guessed.
    #[error("a secret for sessions has at least {SECRET_BYTES} bytes")]
    ShortSecret,
    /// Not a name that a cookie can have.
    #[error("a cookie's name has letters, digits and -_. only, at most 128 of them")]
    CookieName,
    /// Not a domain that a cookie can have.
    #[error("a cookie's domain has letters, digits, dots and hyphens only, as example.com has")]
    CookieDomain,
    /// Browsers store no cookie of this name that has a domain.
    #[error("browsers refuse a cookie named __Host-… that has a domain")]
    HostCookieDomain,
}

impl EdgeSessions {
    /// With these secrets. The first one makes cookies; the others are still accepted, so that a
    /// secret can be replaced without ending the sessions of all visitors.
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
            checked: Checked::default(),
        })
    }

    /// The session in a cookie, if it was made here for this visitor and still runs at `now`.
    pub fn read(&self, cookie: &str, visitor: &str, now: Timestamp) -> Option<EdgeSession> {
        let mut bytes = [0u8; PAYLOAD + TAG];
        // One byte more would not fit: a cookie of another length fails here.
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

    /// Goes on with a session that [`read`](Self::read) found, else begins one. None only for a
    /// `now` that no UUID of version 7 can hold.
    pub fn renew(
        &self,
        session: Option<EdgeSession>,
        visitor: &str,
        now: Timestamp,
    ) -> Option<Renewal> {
        let (session, is_due) = match session.filter(|session| session.runs_at(now)) {
            Some(session) => {
                let idle = millis(now) - millis(session.last_activity);
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

    /// The id of a session that begins at `now` (see the head of this file). Also the right id for
    /// a message that is too old for the running session, by its own time: messages of one visit
    /// that a browser kept while it was offline then share one.
    pub fn begin(&self, visitor: &str, now: Timestamp) -> Option<Uuid7> {
        let key = self.keys.first()?;
        // Beyond this no UUID of version 7 has a time.
        let now = Some(millis(now)).filter(|now| (0..1 << 48).contains(now))?;
        let offset = hash(key, "offset", visitor, &[]);
        let offset = u32::from_be_bytes(*offset.first_chunk()?);
        let offset = i64::from(offset) % IDLE_LIMIT;
        let border = (now - offset).div_euclid(IDLE_LIMIT) * IDLE_LIMIT + offset;
        let id = hash(key, "session", visitor, &border.to_be_bytes());
        // The event may have been made a moment before it arrived, on the border's other side.
        Uuid7::from_hash(Timestamp::from_millis(border - SKEW), id.first_chunk()?)
    }

    fn cookie(&self, session: &EdgeSession, visitor: &str) -> Option<CookieValue> {
        let mut bytes = Vec::with_capacity(PAYLOAD + TAG);
        bytes.push(VERSION);
        bytes.extend_from_slice(session.id.as_bytes());
        let [_, _, time @ ..] = millis(session.last_activity).to_be_bytes();
        bytes.extend_from_slice(&time);
        let tag = hash(self.keys.first()?, "cookie", visitor, &bytes);
        bytes.extend_from_slice(&tag);
        // The browser will bring it with its next request.
        if let Some(cookie) = bytes.first_chunk() {
            self.checked.remember(cookie, visitor);
        }
        let rest = millis(session.id.time()) + SESSION_LIMIT - millis(session.last_activity);
        Some(CookieValue {
            value: URL_SAFE_NO_PAD.encode(bytes),
            max_age: u32::try_from(rest.clamp(0, IDLE_LIMIT) / 1000).ok()?,
        })
    }
}

impl EdgeSession {
    /// Whether the session goes on with a message that arrives at `now`.
    fn runs_at(&self, now: Timestamp) -> bool {
        let idle = millis(now).saturating_sub(millis(self.last_activity));
        let age = millis(now).saturating_sub(millis(self.id.time()));
        (-SKEW..=IDLE_LIMIT).contains(&idle) && (-SKEW..=SESSION_LIMIT).contains(&age)
    }
}

/// A hash under the key.
fn hash(key: &hmac::Key, purpose: &str, visitor: &str, rest: &[u8]) -> [u8; TAG] {
    let tag = hmac::sign(key, &message(purpose, visitor, rest));
    let mut bytes = [0; TAG];
    for (byte, signed) in bytes.iter_mut().zip(tag.as_ref()) {
        *byte = *signed;
    }
    bytes
}

/// What is hashed. `purpose` keeps the three uses apart, and lengths keep the parts apart.
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
