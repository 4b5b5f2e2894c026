//! What Segment's servers would have added before a destination saw the message (mapping 1.11).

use std::borrow::Cow;
use std::net::IpAddr;

use super::json::{is_blank, is_truthy, unescape, Shape, Value};
use super::message::{find, Context, Inner, Message, Part};
use super::message_id::{given, made, Place};
use super::time::{read, Reading};
use super::{Arrival, Fault, Timestamp};
use crate::segment::{Call, Kind};

/// A message and the context that counts for it: its own, the batch's, or both merged.
#[derive(Clone, Copy)]
pub(super) struct Source<'t> {
    pub(super) text: &'t [u8],
    pub(super) message: &'t Message,
    pub(super) context_text: &'t [u8],
    pub(super) context: &'t Context,
}

/// What is settled about a message before it is mapped.
#[derive(Debug)]
pub(super) struct Settled<'t> {
    pub(super) kind: Kind,
    pub(super) message_id: Cow<'t, str>,
    pub(super) time: Time,
    /// A time that could not be used, to be kept as a property.
    pub(super) unusable_time: Option<Value>,
    pub(super) user_id: Option<Value>,
    pub(super) anonymous_id: Option<Value>,
    /// The client's address, where the context has none and the client cannot know it.
    pub(super) ip: Option<IpAddr>,
    /// The request's user agent, where the context has none.
    pub(super) user_agent: Option<&'t str>,
}

/// When an event happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    /// Not said, and no arrival to go by.
    Unknown,
    /// As the client wrote it.
    AsWritten(Value),
    /// Worked out here.
    At(Timestamp),
}

/// Settles a message. `batch_sent_at` is the batch's, for messages without a `sentAt` of their own.
pub(super) fn settle<'t>(
    source: Source<'t>,
    arrival: &'t Arrival,
    batch_sent_at: Option<Timestamp>,
    index: usize,
) -> Result<Settled<'t>, Fault> {
    let Source { text, message, .. } = source;
    let kind = kind(message, text, arrival.call)?;
    let message_id = match given(message.message_id, text) {
        Some(id) => id,
        None => Cow::Owned(made(
            message,
            text,
            Place {
                index,
                nonce: arrival.nonce,
            },
        )),
    };
    let (time, unusable_time) = time(message, text, arrival.received_at, batch_sent_at);
    let named = |id: Option<Value>| id.filter(|id| !is_blank(*id, text));
    Ok(Settled {
        kind,
        message_id,
        time,
        unusable_time,
        user_id: named(message.user_id),
        anonymous_id: named(message.anonymous_id),
        ip: arrival.client_ip.filter(|_| wants_ip(source, arrival)),
        user_agent: arrival.user_agent.as_deref().filter(|_| {
            source
                .context
                .get(source.context_text, "userAgent")
                .is_none()
        }),
    })
}

/// A path names the kind of its one message; in a batch each message names its own.
fn kind(message: &Message, text: &[u8], call: Call) -> Result<Kind, Fault> {
    if let Call::One(kind) = call {
        return Ok(kind);
    }
    let named = message.kind.ok_or(Fault::MissingType)?;
    if !named.is_string() {
        return Err(Fault::UnknownType);
    }
    match unescape(named.of(text)).as_ref() {
        "track" => Ok(Kind::Track),
        "page" => Ok(Kind::Page),
        "screen" => Ok(Kind::Screen),
        "identify" => Ok(Kind::Identify),
        "group" => Ok(Kind::Group),
        "alias" => Ok(Kind::Alias),
        _ => Err(Fault::UnknownType),
    }
}

/// The time of an event (segment-tracking 4.2). Without an arrival nothing is corrected or judged:
/// what the client wrote stays, unless capture would refuse the whole batch for it.
fn time(
    message: &Message,
    text: &[u8],
    received_at: Option<Timestamp>,
    batch_sent_at: Option<Timestamp>,
) -> (Time, Option<Value>) {
    let Some(received_at) = received_at else {
        return match message.timestamp {
            Some(time) if time.is_string() || time.shape == Shape::Null => {
                (Time::AsWritten(time), None)
            }
            Some(time) => (Time::Unknown, Some(time)),
            None => (Time::Unknown, None),
        };
    };
    let written = present(message.timestamp).or(present(message.original_timestamp));
    let Some(written) = written else {
        return (Time::At(received_at), None);
    };
    let Some(reading) = moment(written, text) else {
        return (Time::At(received_at), Some(written));
    };
    // A message with both of these has been through Segment's servers: its time is corrected.
    let settled =
        present(message.received_at).is_some() && present(message.original_timestamp).is_some();
    let sent_at = message
        .sent_at
        .and_then(|sent_at| moment(sent_at, text))
        .map(Reading::timestamp)
        .or(batch_sent_at)
        .filter(|_| !settled);
    match (sent_at, reading) {
        (None, Reading::Exact(_)) => (Time::AsWritten(written), None),
        (None, Reading::Loose(timestamp)) => (Time::At(timestamp), None),
        (Some(sent_at), reading) => match reading.timestamp().corrected(sent_at, received_at) {
            Some(timestamp) => (Time::At(timestamp), None),
            None => (Time::At(received_at), Some(written)),
        },
    }
}

fn present(value: Option<Value>) -> Option<Value> {
    value.filter(|value| value.shape != Shape::Null)
}

/// The moment that a string value says.
pub(super) fn moment(value: Value, text: &[u8]) -> Option<Reading> {
    if !value.is_string() {
        return None;
    }
    read(&unescape(value.of(text)))
}

/// Whether the client's address is to be filled in: Segment does it for what runs on a visitor's
/// own device, and for whoever asks by `context.direct`; a server's address would move all of its
/// users to a data centre (segment-tracking 4.3).
fn wants_ip(source: Source<'_>, arrival: &Arrival) -> bool {
    let Source {
        context_text,
        context,
        ..
    } = source;
    if context
        .get(context_text, "ip")
        .is_some_and(|ip| is_truthy(ip, context_text))
    {
        return false;
    }
    if arrival.user_agent.is_some() {
        return true;
    }
    if context
        .get(context_text, "direct")
        .is_some_and(|direct| direct.shape == Shape::True)
    {
        return true;
    }
    find(context.inner(Inner::Library), context_text, "name")
        .filter(|name| name.is_string())
        .is_some_and(|name| runs_on_a_device(&unescape(name.of(context_text))))
}

/// The libraries that run in a visitor's browser or phone, by the name they give themselves.
fn runs_on_a_device(library: &str) -> bool {
    matches!(
        library,
        "analytics.js"
            | "amp"
            | "analytics-ios"
            | "analytics-swift"
            | "analytics-android"
            | "analytics-kotlin"
            | "analytics-react-native"
            | "@segment/analytics-react-native"
            | "analytics-flutter"
            | "analytics_flutter"
            | "analytics-xamarin"
    )
}

/// Whether a message may go to PostHog by its `integrations`, the batch's where it says nothing
/// itself (segment-tracking 4.5; mapping 1.11, point 5).
pub(super) fn passes_gate(own: &Part, text: &[u8], batch: &Part, batch_text: &[u8]) -> bool {
    let switch = |key: &str| {
        let own = own.get(text, key).map(|value| (value, text));
        own.or_else(|| batch.get(batch_text, key).map(|value| (value, batch_text)))
    };
    if let Some((posthog, text)) = switch("PostHog") {
        if posthog.shape == Shape::False {
            return false;
        }
        if is_truthy(posthog, text) {
            return true;
        }
    }
    !switch("All").is_some_and(|(all, _)| all.shape == Shape::False)
}
