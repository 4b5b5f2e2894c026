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
use crate::rewrite::Timestamp;

/// How long a session lives without activity, in milliseconds, as in posthog-js.
pub const IDLE_LIMIT: i64 = 30 * 60 * 1000;

/// Cookies larger than this are not looked into. Browsers keep none larger than 4 KiB.
const COOKIE_BYTES: usize = 16 << 10;

/// The value of the first cookie of this name in a `Cookie` header.
pub fn cookie<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header
        .split(';')
        .filter_map(|pair| pair.split_once('='))
        .find(|(found, _)| found.trim() == name)
        .map(|(_, value)| value.trim())
}

/// The name of posthog-js's cookie for a project's key.
pub fn posthog_js_cookie_name(api_key: &str) -> String {
    let key = api_key
        .replace('+', "PL")
        .replace('/', "SL")
        .replace('=', "EQ");
    format!("ph_{key}_posthog")
}

/// The session in the value of posthog-js's cookie, if it still runs: last active at most 30
/// minutes ago and begun at most 24 hours ago. Joins Segment's events to posthog-js's replays.
pub fn posthog_js_session(cookie: &str, now: Timestamp) -> Option<Uuid7> {
    /// What is of interest in the cookie.
    #[derive(Deserialize)]
    struct Stored {
        /// Last activity, session id, and since 2022 the session's start.
        #[serde(rename = "$sesid")]
        session: Vec<serde_json::Value>,
    }
    if cookie.len() > COOKIE_BYTES {
        return None;
    }
    let text: Cow<'_, str> = percent_decode_str(cookie).decode_utf8().ok()?;
    let stored: Stored = serde_json::from_str(&text).ok()?;
    let last_activity = stored.session.first()?.as_f64()?;
    let id = Uuid7::parse(stored.session.get(1)?.as_str()?)?;
    let start = match stored.session.get(2) {
        Some(start) => start.as_f64()?,
        None => last_activity,
    };
    let since = |time: f64| (millis(now) as f64 - time).abs();
    let runs = since(last_activity) <= IDLE_LIMIT as f64 && since(start) <= SESSION_LIMIT as f64;
    runs.then_some(id)
}

/// The session that another library put into the message: `context.sessionId` (RudderStack), or
/// `integrations["Actions Amplitude"].session_id`. Given as the text of the number or string.
///
/// A UUID of version 7 is taken as it is. A number is the session's start since 1970, in
/// milliseconds or (RudderStack's mobile SDKs) seconds; its id has that time and is the same for
/// every event of the visitor's session. None if the event does not lie within the session, or
/// the number is no time: Amplitude sends 0 and -1 for none.
pub fn explicit_session(value: &str, visitor: &str, event: Timestamp) -> Option<Uuid7> {
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
    id.covers(event).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_763_892_000_000;
    const ID: &str = "019ab0b4-90fb-7cc3-98c4-dc0c0c07398f";

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
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
        assert_eq!(posthog_js_cookie_name("phc_Abc"), "ph_phc_Abc_posthog");
        assert_eq!(posthog_js_cookie_name("a+/="), "ph_aPLSLEQ_posthog");
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
        for (session, runs) in [
            (
                format!(r#"[{recent},"{ID}",{}]"#, NOW - 23 * 60 * minute),
                true,
            ),
            (format!(r#"[{recent},"{ID}"]"#), true),
            (format!(r#"[{},"{ID}",{recent}]"#, NOW - 30 * minute), true),
            (
                format!(r#"[{},"{ID}",{recent}]"#, NOW - 30 * minute - 1),
                false,
            ),
            (
                format!(r#"[{recent},"{ID}",{}]"#, NOW - SESSION_LIMIT - 1),
                false,
            ),
            // A clock half an hour ahead is no activity either.
            (format!(r#"[{},"{ID}",{recent}]"#, NOW + 31 * minute), false),
            (format!(r#"[{recent},"not-a-uuid",{recent}]"#), false),
            (format!(r#"[{recent},null,{recent}]"#), false),
            (format!(r#"["{recent}","{ID}",{recent}]"#), false),
            ("[]".to_owned(), false),
            ("null".to_owned(), false),
            ("{}".to_owned(), false),
        ] {
            let found = posthog_js_session(&stored(&session), at(NOW));
            assert_eq!(found.is_some(), runs, "{session}");
        }
        for broken in ["", "%", "%7B", "%FF", "null", "[]", "%7B%7D"] {
            assert_eq!(posthog_js_session(broken, at(NOW)), None, "{broken}");
        }
        let deep = "[".repeat(COOKIE_BYTES);
        assert_eq!(posthog_js_session(&deep, at(NOW)), None);
    }

    #[test]
    fn every_event_of_an_explicit_session_gets_the_same_id() {
        let start = NOW - 1000;
        let value = start.to_string();
        let id = explicit_session(&value, "anon-1", at(NOW)).unwrap();
        assert_eq!(id.time(), at(start));
        assert_eq!(
            explicit_session(&value, "anon-1", at(NOW + 500_000)),
            Some(id)
        );
        assert_ne!(explicit_session(&value, "anon-2", at(NOW)), Some(id));
        // Seconds, as mobile SDKs count.
        let seconds = explicit_session("1763891999", "anon-1", at(NOW)).unwrap();
        assert_eq!(seconds.time(), at(1_763_891_999_000));
        // Not of this session: before it began, or a day later.
        assert_eq!(explicit_session(&value, "anon-1", at(start - 1)), None);
        assert_eq!(
            explicit_session(&value, "anon-1", at(start + SESSION_LIMIT + 1)),
            None
        );
    }

    #[test]
    fn a_ready_session_id_is_taken_as_it_is() {
        let id = Uuid7::parse(ID).unwrap();
        assert_eq!(explicit_session(ID, "anon-1", id.time()), Some(id));
        assert_eq!(
            explicit_session(&ID.to_uppercase(), "", id.time()),
            Some(id)
        );
    }

    #[test]
    fn what_is_no_session_adds_nothing() {
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
            assert_eq!(explicit_session(value, "anon-1", at(NOW)), None, "{value}");
        }
    }
}
