//! Which session an event belongs to, from what clients already know (mapping 5.3).
//!
//! In order: `$session_id` in the properties (checked with [`Uuid7::parse`] and
//! [`Uuid7::covers`]); posthog-js's cookie of the same site; a session of another library in the
//! message. Sessions of the edge's own making are in [`super::edge_session`].

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::millis;
use super::uuid7::{Uuid7, SESSION_LIMIT};
use crate::posthog::ProjectId;
use crate::rewrite::time::Timestamp;

/// How long a session lives without activity, in milliseconds, as in posthog-js.
pub const IDLE_LIMIT: i64 = 30 * 60 * 1000;

/// Cookies larger than this are not looked into. Browsers keep none larger than 4 KiB.
const COOKIE_BYTES: usize = 16 << 10;

/// The value of the first cookie of this name in a `Cookie` header.
pub fn cookie<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    first_cookie(header, |found| found == name)
}

/// The value of posthog-js's cookie for a project in a `Cookie` header.
pub fn posthog_js_cookie<'a>(header: &'a str, project: &ProjectId) -> Option<&'a str> {
    let api_key = project.api_key()?.expose();
    first_cookie(header, |found| is_posthog_js_cookie(found, api_key))
}

fn first_cookie(header: &str, is_named: impl Fn(&str) -> bool) -> Option<&str> {
    header
        .split(';')
        .filter_map(|pair| pair.split_once('='))
        .find(|(found, _)| is_named(found.trim()))
        .map(|(_, value)| value.trim())
}

/// Whether posthog-js names its cookie so for a project's key: `ph_<key>_posthog`, with `PL`, `SL`
/// and `EQ` for the key's `+`, `/` and `=`.
fn is_posthog_js_cookie(name: &str, api_key: &str) -> bool {
    let written = name
        .strip_prefix("ph_")
        .and_then(|name| name.strip_suffix("_posthog"));
    let left = api_key.chars().try_fold(written, |left, sign| {
        let left = left?;
        Some(match sign {
            '+' => left.strip_prefix("PL"),
            '/' => left.strip_prefix("SL"),
            '=' => left.strip_prefix("EQ"),
            _ => left.strip_prefix(sign),
        })
    });
    left.flatten().is_some_and(str::is_empty)
}

/// A message's times as its sender's own clock has them, which may be wrong by any amount.
///
/// Sessions that a client knows began and went on in that clock, so they are held against it and
/// not against the corrected time: a clock that is ahead by a minute would else cost a session
/// its first minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderClock {
    /// When the message was made.
    pub made: Timestamp,
    /// When it was sent, as far as that is known: else when it was made.
    pub sent: Timestamp,
}

impl SenderClock {
    /// From what a message says. What it does not say of one is taken from the other, and from the
    /// arrival where it says nothing. None without any of them.
    pub fn new(
        made: Option<Timestamp>,
        sent: Option<Timestamp>,
        received_at: Option<Timestamp>,
    ) -> Option<Self> {
        let made = made.or(sent).or(received_at)?;
        Some(Self {
            made,
            sent: sent.unwrap_or(made),
        })
    }

    /// Whether the message may be of a session that began at this moment of the same clock, and
    /// of 24 hours at most. A little before it is early enough: libraries stamp a message first,
    /// and then look for its session.
    fn is_within(self, start: i64) -> bool {
        const BEFORE: i64 = 60 * 1000;
        let since = millis(self.made).saturating_sub(start);
        (-BEFORE..=SESSION_LIMIT).contains(&since)
    }
}

/// The session in posthog-js's cookie, in the browser's clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PosthogJsSession {
    id: Uuid7,
    /// In milliseconds.
    last_activity: f64,
    start: f64,
}

/// The session in the value of posthog-js's cookie. Joins Segment's events to posthog-js's
/// replays.
pub fn posthog_js_session(cookie: &str) -> Option<PosthogJsSession> {
    /// What is of interest in the cookie.
    #[derive(Deserialize)]
    struct StoredSession {
        /// Last activity, session id, and since 2022 the session's start.
        #[serde(rename = "$sesid")]
        session: Vec<serde_json::Value>,
    }
    if cookie.len() > COOKIE_BYTES {
        return None;
    }
    let text: Cow<'_, str> = percent_decode_str(cookie).decode_utf8().ok()?;
    let stored: StoredSession = serde_json::from_str(&text).ok()?;
    let last_activity = stored.session.first()?.as_f64()?;
    let id = Uuid7::parse(stored.session.get(1)?.as_str()?)?;
    let start = match stored.session.get(2) {
        Some(start) => start.as_f64()?,
        None => last_activity,
    };
    Some(PosthogJsSession {
        id,
        last_activity,
        start,
    })
}

impl PosthogJsSession {
    /// Its id, if a message is of this session: it began before the message was made, and ran when
    /// the message was sent, last active at most 30 minutes before and begun at most 24 hours
    /// before. All of it by the browser's clock.
    pub fn of(&self, clock: SenderClock) -> Option<Uuid7> {
        let since = |time: f64| millis(clock.sent) as f64 - time;
        // It may have been active since: the cookie is as new as the request.
        let is_active =
            (-(SESSION_LIMIT as f64)..=IDLE_LIMIT as f64).contains(&since(self.last_activity));
        let runs = is_active && since(self.start) <= SESSION_LIMIT as f64;
        (runs && clock.is_within(millis(self.id.time()))).then_some(self.id)
    }
}

/// The session that another library put into the message: `context.sessionId` (RudderStack), or
/// `integrations["Actions Amplitude"].session_id`. Given as the text of the number or string.
///
/// A UUID of version 7 is taken as it is. A number is the session's start since 1970, in
/// milliseconds or (RudderStack's mobile SDKs) seconds; its id has that time and is the same for
/// every event of the visitor's session. None if the message was not made within the session, by
/// the sender's clock, or the number is no time: Amplitude sends 0 and -1 for none.
pub fn explicit_session(value: &str, visitor: &str, clock: SenderClock) -> Option<Uuid7> {
    let value = value.trim();
    let id = match Uuid7::parse(value) {
        Some(id) => id,
        None => {
            let number = value.parse::<i64>().ok()?;
            let start = match number {
                // Between the years 2001 and 5138, either way.
                1_000_000_000..=99_999_999_999 => number * 1000,
                1_000_000_000_000..=99_999_999_999_999 => number,
                _ => return None,
            };
            let parts = [visitor.as_bytes(), &number.to_be_bytes()];
            Uuid7::derived(Timestamp::from_millis(start), "session", &parts)?
        }
    };
    clock.is_within(millis(id.time())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::posthog::ApiKey;

    const NOW: i64 = 1_763_892_000_000;
    const ID: &str = "019ab0b4-90fb-7cc3-98c4-dc0c0c07398f";

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// A message that is sent as it is made.
    fn clock(millis: i64) -> SenderClock {
        SenderClock::new(Some(at(millis)), None, None).unwrap()
    }

    fn encode(text: &str) -> String {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let header = "a=1; ph_x_posthog=%7B%7D;b = 2 ;a=3; c; ph=";
        assert_eq!(cookie(header, "a"), Some("1"));
        assert_eq!(cookie(header, "b"), Some("2"));
        assert_eq!(cookie(header, "ph_x_posthog"), Some("%7B%7D"));
        assert_eq!(cookie(header, "ph"), Some(""));
        assert_eq!(cookie(header, "c"), None);
        assert_eq!(cookie("", "a"), None);
    }

    #[test]
    fn the_cookie_of_posthog_js_is_named_after_the_project() {
        for (key, name) in [
            ("phc_Abc", "ph_phc_Abc_posthog"),
            ("a+/=", "ph_aPLSLEQ_posthog"),
        ] {
            let project = ProjectId::of(&ApiKey::new(key).unwrap());
            for (found, expected) in [
                (name.to_owned(), Some("1")),
                (format!("x{name}"), None),
                (format!("{name}x"), None),
                (name.replace("_posthog", "x_posthog"), None),
                (name.replace("_posthog", ""), None),
            ] {
                let header = format!("a=0; {found}=1; b=2");
                assert_eq!(posthog_js_cookie(&header, &project), expected, "{header}");
            }
        }
        let nameless = "ph__posthog=1; =2";
        assert_eq!(posthog_js_cookie(nameless, &ProjectId::default()), None);
    }

    #[test]
    fn the_session_of_posthog_js_is_taken_while_it_runs() {
        let minute = 60 * 1000;
        let stored = |session: &str| {
            encode(&format!(
                r#"{{"distinct_id":"a","$sesid":{session},"$epp":true}}"#
            ))
        };
        let recent = NOW - 29 * minute;
        let begun = NOW - 31 * minute;
        let id = Uuid7::derived(at(begun), "session", &[]).unwrap();
        for (session, runs) in [
            (
                format!(r#"[{recent},"{id}",{}]"#, NOW - 23 * 60 * minute),
                true,
            ),
            (format!(r#"[{recent},"{id}"]"#), true),
            (format!(r#"[{},"{id}",{recent}]"#, NOW - 30 * minute), true),
            (
                format!(r#"[{},"{id}",{recent}]"#, NOW - 30 * minute - 1),
                false,
            ),
            (
                format!(r#"[{recent},"{id}",{}]"#, NOW - SESSION_LIMIT - 1),
                false,
            ),
            // It went on while the message waited.
            (format!(r#"[{},"{id}",{recent}]"#, NOW + 31 * minute), true),
            (
                format!(r#"[{},"{id}",{recent}]"#, NOW + SESSION_LIMIT + 1),
                false,
            ),
            (format!(r#"[{recent},"not-a-uuid",{recent}]"#), false),
            (format!(r#"[{recent},null,{recent}]"#), false),
            (format!(r#"["{recent}","{id}",{recent}]"#), false),
            ("[]".to_owned(), false),
            ("null".to_owned(), false),
            ("{}".to_owned(), false),
        ] {
            let found = posthog_js_session(&stored(&session));
            let found = found.and_then(|found| found.of(clock(NOW)));
            assert_eq!(found.is_some(), runs, "{session}");
        }
        let stored = stored(&format!(r#"[{recent},"{id}",{recent}]"#));
        let session = posthog_js_session(&stored).unwrap();
        for (made, is_of_it) in [
            (begun - minute - 1, false),
            (begun - minute, true),
            (begun + SESSION_LIMIT, true),
            (begun + SESSION_LIMIT + 1, false),
        ] {
            let message = SenderClock::new(Some(at(made)), Some(at(NOW)), None).unwrap();
            assert_eq!(session.of(message).is_some(), is_of_it, "{}", made - begun);
        }
        for broken in ["", "%", "%7B", "%FF", "null", "[]", "%7B%7D"] {
            assert_eq!(posthog_js_session(broken), None, "{broken}");
        }
        let deep = "[".repeat(COOKIE_BYTES);
        assert_eq!(posthog_js_session(&deep), None);
    }

    #[test]
    fn every_event_of_an_explicit_session_gets_the_same_id() {
        let start = NOW - 1000;
        let value = start.to_string();
        let id = explicit_session(&value, "anon-1", clock(NOW)).unwrap();
        assert_eq!(id.time(), at(start));
        assert_eq!(
            explicit_session(&value, "anon-1", clock(NOW + 500_000)),
            Some(id)
        );
        assert_ne!(explicit_session(&value, "anon-2", clock(NOW)), Some(id));
        // Seconds, as mobile SDKs count.
        let seconds = explicit_session("1763891999", "anon-1", clock(NOW)).unwrap();
        assert_eq!(seconds.time(), at(1_763_891_999_000));
        // Amplitude's plugin finds its session after the message has been stamped.
        let stamped = clock(start - 60_000);
        assert_eq!(explicit_session(&value, "anon-1", stamped), Some(id));
        // Not of this session: before it began, or a day later.
        for made in [
            start - 60_001,
            start + SESSION_LIMIT + 1,
            i64::MIN,
            i64::MAX,
        ] {
            assert_eq!(explicit_session(&value, "anon-1", clock(made)), None);
        }
    }

    #[test]
    fn a_ready_session_id_is_taken_as_it_is() {
        let id = Uuid7::parse(ID).unwrap();
        let begun = clock(millis(id.time()));
        assert_eq!(explicit_session(ID, "anon-1", begun), Some(id));
        assert_eq!(explicit_session(&ID.to_uppercase(), "", begun), Some(id));
    }

    #[test]
    fn an_invalid_session_adds_nothing() {
        for value in [
            "",
            "0",
            "-1",
            "x",
            "1e12",
            "12345",
            "99999999999999999999",
            "true",
            "null",
        ] {
            assert_eq!(
                explicit_session(value, "anon-1", clock(NOW)),
                None,
                "{value}"
            );
        }
    }
}
