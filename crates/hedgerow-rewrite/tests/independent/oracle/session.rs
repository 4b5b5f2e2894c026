//! Sessions that a client knows (mapping 5.3, docs/sessions.md), by the sender's own clock.

use serde_json::Value;

use super::normalise::{Library, Message};
use super::reference::Who;
use super::{cookies, Expected, Request};

const MINUTE: i64 = 60 * 1000;
const DAY: i64 = 24 * 60 * MINUTE;

pub fn add(request: &Request, message: &Message, who: &Who, expected: &mut Expected) {
    if expected.properties.contains_key("$session_id") {
        return;
    }
    let (made, sent) = (message.time.made, message.time.sent);
    let made = made.or(sent).unwrap_or(request.received_at);
    let sent = sent.unwrap_or(made);
    let is_covered = |start: i64| (start - MINUTE..=start + DAY).contains(&made);
    // PostHog would not find the session of a clock that is wrong by days; the limit is not
    // compared.
    let is_doubtful = |start: i64| (message.time.moment - start).abs() > 2 * DAY;
    if let (Some(stored), true) = (stored(request), message.library != Library::Server) {
        let since = |time: i64| sent - time;
        let runs = (-DAY..=30 * MINUTE).contains(&since(stored.last)) && since(stored.start) <= DAY;
        let began = version_7(&Value::from(stored.id.as_str()));
        if let Some(began) = began.filter(|began| runs && is_covered(*began)) {
            if is_doubtful(began) {
                return doubt(expected);
            }
            return expected.add("$session_id", stored.id);
        }
    }
    if who.distinct_id().is_none() {
        return;
    }
    // The message's own time: the batch's belongs to another moment.
    let options = message.field("integrations");
    let options = options.and_then(|all| all.as_object()?.get("Actions Amplitude"));
    let amplitude = options.and_then(|options| options.as_object()?.get("session_id"));
    for id in [amplitude, message.context_at("sessionId")]
        .into_iter()
        .flatten()
    {
        let Some(start) = start_of(id).filter(|start| is_covered(*start)) else {
            continue;
        };
        if is_doubtful(start) {
            return doubt(expected);
        }
        match version_7(id) {
            Some(_) => {
                expected.add("$session_id", id.clone());
                let window = message.context_at("windowId");
                let window = window.filter(|window| version_7(window).is_some());
                if let (Some(window), true) = (window, message.context_at("sessionId") == Some(id))
                {
                    expected.add("$window_id", window.clone());
                }
            }
            None => expected.session_of = Some(start),
        }
        return;
    }
}

fn doubt(expected: &mut Expected) {
    expected.wild.extend(["$session_id", "$window_id"]);
}

/// When a session that a message names began.
fn start_of(id: &Value) -> Option<i64> {
    let number = match id {
        Value::Number(number) => number.as_i64()?,
        Value::String(text) => match version_7(id) {
            Some(start) => return Some(start),
            None => text.trim().parse().ok()?,
        },
        _ => return None,
    };
    match number {
        // Seconds and milliseconds between the years 2001 and 5138.
        1_000_000_000..=99_999_999_999 => Some(number * 1000),
        1_000_000_000_000..=99_999_999_999_999 => Some(number),
        _ => None,
    }
}

/// The time in a UUID of version 7.
fn version_7(id: &Value) -> Option<i64> {
    let text = id.as_str()?;
    let hex = text.replace('-', "");
    let is_one = text.len() == 36 && hex.len() == 32 && hex.as_bytes()[12] == b'7';
    let is_variant = matches!(hex.as_bytes().get(16), Some(b'8' | b'9' | b'a' | b'b'));
    (is_one && is_variant).then(|| i64::from_str_radix(hex.get(..12)?, 16).ok())?
}

/// The session in posthog-js's cookie: last activity, id and start.
struct Stored {
    last: i64,
    id: String,
    start: i64,
}

fn stored(request: &Request) -> Option<Stored> {
    let name = format!("ph_{}_posthog", request.api_key);
    let cookie = cookies::value(&request.cookies, &name)?;
    let cookie: Value = serde_json::from_str(&cookie).ok()?;
    let session = cookie.get("$sesid")?.as_array()?;
    let last = session.first()?.as_i64()?;
    Some(Stored {
        last,
        id: session.get(1)?.as_str()?.to_owned(),
        start: session.get(2).map_or(Some(last), Value::as_i64)?,
    })
}
