//! Reads the facts about an event from its text. This serves events from a file or a stream, and batches
//! for which the rewriting has recorded no positions.

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::stamp::{range_of, TextEdit};
use crate::error::SpoolError;

#[derive(Deserialize, Default)]
struct RawEventFields<'a> {
    #[serde(borrow, default)]
    uuid: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    distinct_id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "also_null")]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    properties: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct RawProperties<'a> {
    #[serde(borrow, default)]
    distinct_id: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "$ip", deserialize_with = "also_null")]
    ip: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "$geoip_disable")]
    geoip_disable: Option<&'a RawValue>,
}

/// Deserializes a value that exists, including null, which serde otherwise treats as missing.
fn also_null<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// A string, which is borrowed if it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct BatchBody<'a> {
    #[serde(borrow)]
    batch: Vec<&'a RawValue>,
}

/// Returns the events of a batch body, in their order and without copying them.
///
/// # Errors
/// [`SpoolError::NotAnEvent`] if the body is not `{"api_key":…,"batch":[…]}`.
pub fn events_of(body: &Bytes) -> Result<Vec<Bytes>, SpoolError> {
    let batch: BatchBody<'_> = serde_json::from_slice(body).map_err(|_| SpoolError::NotAnEvent)?;
    let events = batch.batch.into_iter();
    Ok(events
        .map(|event| body.slice_ref(event.get().as_bytes()))
        .collect())
}

/// The facts read from an event.
pub(super) struct ReadEvent<'a> {
    pub(super) uuid: Option<Cow<'a, str>>,
    pub(super) event: Option<Cow<'a, str>>,
    /// The event's or its properties' `distinct_id`, as JSON text. Empty if there is none.
    pub(super) distinct_id: &'a str,
    pub(super) timestamp: Option<Cow<'a, str>>,
    /// The position of the event's time in its text, if the time is null.
    pub(super) null_time: Option<Range<usize>>,
    properties: Option<(&'a RawValue, RawProperties<'a>)>,
}

/// Returns the position of the opening brace if the text is a JSON object.
pub(super) fn object(text: &str) -> Option<usize> {
    let object: &RawValue = serde_json::from_str(text).ok()?;
    let is_object = object.get().starts_with('{');
    is_object.then(|| range_of(object, text).start)
}

/// Reads an event. Returns `None` if one of the fields read is repeated, or if its uuid, name or time is
/// neither a string nor null.
pub(super) fn read(text: &str) -> Option<ReadEvent<'_>> {
    let fields: RawEventFields<'_> = serde_json::from_str(text).ok()?;
    let properties = match fields.properties {
        Some(raw) if raw.get().starts_with('{') => Some((
            raw,
            serde_json::from_str::<RawProperties<'_>>(raw.get()).ok()?,
        )),
        _ => None,
    };
    let is_null = |value: &&RawValue| value.get() == "null";
    let timestamp = match fields.timestamp.filter(|time| !is_null(time)) {
        Some(time) => Some(serde_json::from_str::<Text<'_>>(time.get()).ok()?.0),
        None => None,
    };
    let inner = properties.as_ref().and_then(|(_, read)| read.distinct_id);
    Some(ReadEvent {
        uuid: fields.uuid,
        event: fields.event,
        distinct_id: fields.distinct_id.or(inner).map_or("", RawValue::get),
        timestamp,
        null_time: fields
            .timestamp
            .filter(is_null)
            .map(|null| range_of(null, text)),
        properties,
    })
}

impl ReadEvent<'_> {
    /// Returns the stamp that writes the client's address into the event, as capture would have done.
    pub(super) fn address(&self, from: IpAddr, text: &str) -> Option<TextEdit> {
        let (raw, properties) = self.properties.as_ref()?;
        properties.address(from, raw, text)
    }
}

/// Does the same as `ReadEvent::address` for an event whose properties are an object that begins at
/// `properties` in its text.
pub(super) fn address_at(from: IpAddr, text: &str, properties: usize) -> Option<TextEdit> {
    let rest = serde_json::Deserializer::from_str(text.get(properties..)?);
    let raw: &RawValue = rest.into_iter().next()?.ok()?;
    let read: RawProperties<'_> = serde_json::from_str(raw.get()).ok()?;
    read.address(from, raw, text)
}

impl RawProperties<'_> {
    fn address(&self, from: IpAddr, properties: &RawValue, text: &str) -> Option<TextEdit> {
        let is_given = |value: Option<&RawValue>| value.is_some_and(is_truthy);
        if is_given(self.ip) || is_given(self.geoip_disable) {
            return None;
        }
        Some(match self.ip {
            Some(useless) => TextEdit {
                range: range_of(useless, text),
                written: format!("\"{from}\""),
            },
            None => TextEdit::first_in(
                text,
                range_of(properties, text).start,
                format!("\"$ip\":\"{from}\""),
            ),
        })
    }
}

/// Returns whether the value is truthy in PostHog's JavaScript (posthog-ingestion 2.2).
fn is_truthy(value: &RawValue) -> bool {
    match value.get() {
        "null" | "false" | "\"\"" => false,
        text => text.parse::<f64>().ok() != Some(0.0),
    }
}

/// The name and the uuid of an event.
pub(crate) struct EventLabels {
    pub(crate) event: String,
    pub(crate) uuid: String,
}

/// Returns the name and the uuid of an event, to be shown to people. Returns `None` if the body is not a
/// JSON object.
pub(crate) fn labels(body: &[u8]) -> Option<EventLabels> {
    let text = std::str::from_utf8(body).ok()?;
    object(text)?;
    let read = read(text);
    let (event, uuid) = read.map(|read| (read.event, read.uuid)).unwrap_or_default();
    Some(EventLabels {
        event: event.unwrap_or_default().into_owned(),
        uuid: uuid.unwrap_or_default().into_owned(),
    })
}
