//! Finds the session of an event in the data that clients send (mapping 5.3).
//!
//! The sources, in this order: `$session_id` in the properties (sent as it is, without a check);
//! posthog-js's cookie of the same site; a session that another library put into the message. An event
//! gets a session of the last two only if it belongs to that session, by the sender's clock.
//! [`super::edge_session`] makes the edge's own sessions.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::uuid7::{Uuid7, SESSION_LIMIT};
use crate::posthog::ProjectId;
use crate::rewrite::time::Timestamp;

/// How long a session lives without activity, in milliseconds, as in posthog-js.
pub const IDLE_LIMIT: i64 = 30 * 60 * 1000;

/// The largest cookie that is inspected, in bytes. Browsers store none larger than 4 KiB.
const COOKIE_BYTES: usize = 16 << 10;

/// Returns the value of the first cookie of this name in a `Cookie` header.
pub fn cookie<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    first_cookie(header, name, |rest| rest.is_empty())
}

/// Returns the value of posthog-js's cookie for a project from a `Cookie` header.
pub fn posthog_js_cookie<'a>(header: &'a str, project: &ProjectId) -> Option<&'a str> {
    let api_key = project.api_key()?.expose();
    first_cookie(header, "ph_", |rest| {
        is_rest_of_posthog_js_cookie(rest, api_key)
    })
}

/// Returns the value of the first cookie whose name begins so, and the rest of whose name is accepted. A
/// browser sends many cookies, so the others are skipped by the beginnings of their names.
fn first_cookie<'a>(
    header: &'a str,
    begins: &str,
    is_rest_of_name: impl Fn(&str) -> bool,
) -> Option<&'a str> {
    let mut start = 0;
    memchr::memchr_iter(b';', header.as_bytes())
        .chain([header.len()])
        .find_map(|end| {
            let pair = header.get(start..end)?;
            start = end + 1;
            let (rest, value) = pair.trim_start().strip_prefix(begins)?.split_once('=')?;
            is_rest_of_name(rest.trim_end()).then(|| value.trim())
        })
}

/// Returns whether this follows `ph_` in the name of posthog-js's cookie for a project's key:
/// `ph_<key>_posthog`, in which `PL`, `SL` and `EQ` replace the key's `+`, `/` and `=`.
fn is_rest_of_posthog_js_cookie(rest: &str, api_key: &str) -> bool {
    let written = rest.strip_suffix("_posthog");
    let left = api_key.chars().try_fold(written, |left, character| {
        let left = left?;
        Some(match character {
            '+' => left.strip_prefix("PL"),
            '/' => left.strip_prefix("SL"),
            '=' => left.strip_prefix("EQ"),
            _ => left.strip_prefix(character),
        })
    });
    left.flatten().is_some_and(str::is_empty)
}

/// A message's times by its sender's own clock, which may be wrong by any amount.
///
/// The sessions that a client knows began and continued by that clock. So they are compared with it
/// and not with the corrected time; otherwise a clock that is one minute ahead would cost a session
/// its first minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderClock {
    /// When the message was made.
    pub made: Timestamp,
    /// When it was sent; if that is unknown, when it was made.
    pub sent: Timestamp,
}

impl SenderClock {
    /// Builds the clock from the times in a message. If one is missing, the other is used for both;
    /// if both are missing, the arrival is used. Returns `None` without any of them.
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

    /// Returns whether the message may belong to a session that began at `start` by the same clock
    /// and lasts at most 24 hours. A message may be up to one minute older than the session,
    /// because libraries stamp a message before they look for its session.
    fn is_within(self, start: i64) -> bool {
        const BEFORE: i64 = 60 * 1000;
        let since = self.made.millis().saturating_sub(start);
        (-BEFORE..=SESSION_LIMIT).contains(&since)
    }
}

/// The session in posthog-js's cookie, by the browser's clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PosthogJsSession {
    id: Uuid7,
    /// In milliseconds since 1970, as is `start`.
    last_activity: f64,
    start: f64,
}

/// Reads the session from the value of posthog-js's cookie. It connects Segment's events with
/// posthog-js's replays.
pub fn posthog_js_session(cookie: &str) -> Option<PosthogJsSession> {
    /// The part of the cookie that is read.
    #[derive(Deserialize)]
    struct StoredSession {
        /// The last activity, the session's id and, since 2022, the session's start.
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
    /// Returns the session's id if a message belongs to the session, by the browser's clock. The
    /// session must have begun before the message was made. When the message was sent, its last
    /// activity must have been at most 30 minutes ago and its start at most 24 hours ago.
    pub fn of(&self, clock: SenderClock) -> Option<Uuid7> {
        let since = |time: f64| clock.sent.millis() as f64 - time;
        // The session may have been active later than the message: the cookie is as recent as the
        // request.
        let is_active =
            (-(SESSION_LIMIT as f64)..=IDLE_LIMIT as f64).contains(&since(self.last_activity));
        let runs = is_active && since(self.start) <= SESSION_LIMIT as f64;
        (runs && clock.is_within(self.id.time().millis())).then_some(self.id)
    }
}

/// Returns the id of the session that another library put into the message: `context.sessionId`
/// (RudderStack), or `integrations["Actions Amplitude"].session_id`. `value` is the text of the
/// number or string.
///
/// A UUID of version 7 is used unchanged. A number is the session's start since 1970, in
/// milliseconds or (RudderStack's mobile SDKs) seconds. The id derived from it has that time and is
/// the same for every event of the visitor's session. Returns `None` if the message was not made
/// within the session, by the sender's clock, or if the number is not a time: Amplitude sends 0 and
/// -1 if there is no session.
pub fn explicit_session(value: &str, visitor: &str, clock: SenderClock) -> Option<Uuid7> {
    let value = value.trim();
    let id = match Uuid7::parse(value) {
        Some(id) => id,
        None => {
            let number = value.parse::<i64>().ok()?;
            let start = match number {
                // Both ranges are the years 2001 to 5138.
                1_000_000_000..=99_999_999_999 => number * 1000,
                1_000_000_000_000..=99_999_999_999_999 => number,
                _ => return None,
            };
            let parts = [visitor.as_bytes(), &number.to_be_bytes()];
            Uuid7::derived(Timestamp::from_millis(start), "session", &parts)?
        }
    };
    clock.is_within(id.time().millis()).then_some(id)
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

    /// Returns the clock of a message that is sent when it is made.
    fn clock(millis: i64) -> SenderClock {
        SenderClock::new(Some(at(millis)), None, None).unwrap()
    }

    fn encode(text: &str) -> String {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let header = "ab=0; a=1; ph_x_posthog=%7B%7D;b = 2 ;a=3; c; ph=";
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
            // The session continued while the message waited.
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
        // Mobile SDKs count in seconds.
        let seconds = explicit_session("1763891999", "anon-1", clock(NOW)).unwrap();
        assert_eq!(seconds.time(), at(1_763_891_999_000));
        // Amplitude's plugin finds its session after the message has been stamped.
        let stamped = clock(start - 60_000);
        assert_eq!(explicit_session(&value, "anon-1", stamped), Some(id));
        // These messages were made before the session began, or more than a day later.
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
        let begun = clock(id.time().millis());
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
