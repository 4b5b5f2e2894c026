//! A rewritten event, in the form in which a spool stores it.

mod reading;
mod stamp;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hedgerow_rewrite::posthog::{BatchOutline, EventView, Location};
use sha1::{Digest, Sha1};

use crate::error::SpoolError;
use stamp::{rfc3339, stamped, TextEdit};

pub use reading::events_of;
pub(crate) use reading::{labels, EventLabels};

/// A PostHog event as JSON text, with the facts that a spool needs about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpooledEvent {
    body: Bytes,
    first_arrival: SystemTime,
    dedup_key: u128,
}

/// The time and the client address of the request that carried an event. Capture would have taken these
/// values from that request, and cannot take them from the request of the replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// The time at which the request arrived.
    pub at: SystemTime,
    /// The client's address that PostHog would have read from `X-Forwarded-For`. `None` if the header
    /// would not have been sent.
    pub from: Option<IpAddr>,
}

/// A request at this time, with an address that PostHog must not see.
impl From<SystemTime> for Received {
    fn from(at: SystemTime) -> Self {
        Self { at, from: None }
    }
}

impl SpooledEvent {
    /// Creates a spooled event from a rewritten event, and from the time and address of its request.
    ///
    /// This writes into the event the values that capture would have taken from that request: the time, if
    /// the event has none (posthog-ingestion 3.5), and the address, if the event has no `$ip` and no
    /// `$geoip_disable` (posthog-ingestion 2.2, 2.3). So PostHog stores the event as it would have done
    /// without the spool. All other bytes of the event stay the same.
    ///
    /// # Errors
    /// [`SpoolError::NotAnEvent`] if the body is not a JSON object.
    pub fn new(body: Bytes, received: impl Into<Received>) -> Result<Self, SpoolError> {
        let received = received.into();
        let text = std::str::from_utf8(&body).map_err(|_| SpoolError::NotAnEvent)?;
        let start = reading::object(text).ok_or(SpoolError::NotAnEvent)?;
        // `read` fails for a repeated field, which capture rejects, or a value of the wrong type. Such an
        // event is stored unchanged.
        let Some(read) = reading::read(text) else {
            return Ok(Self {
                dedup_key: digest(&[&body]),
                body,
                first_arrival: received.at,
            });
        };
        let time = EventTimestamp::of(read.timestamp.as_deref(), received.at);
        let stamps = [
            time.stamp(text, start, read.null_time.clone()),
            received.from.and_then(|from| read.address(from, text)),
        ];
        let dedup_key = match read.uuid.as_deref().unwrap_or_default() {
            // Without a uuid, two events are duplicates only if all their bytes are equal.
            "" => digest(&[text.as_bytes()]),
            uuid => dedup_key(
                uuid,
                &read.event.unwrap_or_default(),
                read.distinct_id,
                time.day(),
            ),
        };
        Ok(Self {
            body: stamped(text, stamps).map_or_else(|| body.clone(), Bytes::from),
            first_arrival: received.at,
            dedup_key,
        })
    }

    /// Reads the events of a batch body, `{"api_key":…,"batch":[…]}`, in their order. An event is copied
    /// only if its time or its address is written into it.
    ///
    /// # Errors
    /// [`SpoolError::NotAnEvent`] if the body is not such a batch.
    pub fn of_batch(body: &Bytes, received: impl Into<Received>) -> Result<Vec<Self>, SpoolError> {
        let received = received.into();
        let events = events_of(body)?.into_iter();
        events.map(|event| Self::new(event, received)).collect()
    }

    /// Does the same as [`of_batch`](Self::of_batch) for a batch that the rewriting has just written.
    /// `outline` has the positions of the events and of their parts, so that only the other parts are
    /// parsed. Without an outline, or with one that does not fit the batch, this calls
    /// [`of_batch`](Self::of_batch).
    ///
    /// # Errors
    /// Those of [`of_batch`](Self::of_batch).
    pub fn of_written(
        body: &Bytes,
        outline: Option<&BatchOutline>,
        received: impl Into<Received>,
    ) -> Result<Vec<Self>, SpoolError> {
        let received = received.into();
        let Some(outline) = outline else {
            return Self::of_batch(body, received);
        };
        let mut events = Vec::with_capacity(outline.len());
        let mut end = 0;
        for view in outline.events(body) {
            // The outline of another batch would cut these events in the wrong places.
            let Some(event) = event_at(body, &view) else {
                return Self::of_batch(body, received);
            };
            events.push(Self::of_view(event, &view, received)?);
            end = view.place.end;
        }
        match events.len() == outline.len() && body.get(end) == Some(&b']') {
            true => Ok(events),
            false => Self::of_batch(body, received),
        }
    }

    fn of_view(body: Bytes, view: &EventView<'_>, received: Received) -> Result<Self, SpoolError> {
        let timestamp = view.timestamp();
        let is_plain = view.timestamp_json.is_none() || timestamp.is_some();
        if !is_plain || !view.event_json.starts_with('"') {
            return Self::new(body, received);
        }
        let time = EventTimestamp::of(timestamp.as_deref(), received.at);
        let address = match (received.from, view.location) {
            (Some(from), Location::Open) => Some(from),
            _ => None,
        };
        let stamps = match (&time, address) {
            (EventTimestamp::Own(_), None) => None,
            _ => {
                let text = std::str::from_utf8(&body).map_err(|_| SpoolError::NotAnEvent)?;
                let properties = view.properties.saturating_sub(view.place.start);
                let address = address.and_then(|from| reading::address_at(from, text, properties));
                stamped(text, [time.stamp(text, 0, None), address])
            }
        };
        Ok(Self {
            dedup_key: dedup_key(view.uuid, &view.name(), view.distinct_id_json, time.day()),
            body: stamps.map_or(body, Bytes::from),
            first_arrival: received.at,
        })
    }

    /// Returns the event's JSON text.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Returns when the event's request arrived. A stored event has this time in whole milliseconds.
    pub fn first_arrival(&self) -> SystemTime {
        self.first_arrival
    }

    /// Returns a key that two events share exactly if PostHog would collapse them (posthog-ingestion 3.4).
    pub fn dedup_key(&self) -> u128 {
        self.dedup_key
    }
}

/// Returns the event of a view, or `None` if the batch has no event at its position.
fn event_at(batch: &Bytes, view: &EventView<'_>) -> Option<Bytes> {
    let event = batch.get(view.place.clone())?;
    let is_event = event.starts_with(b"{\"uuid\":\"") && event.ends_with(b"}");
    is_event.then(|| batch.slice_ref(event))
}

/// The time of an event.
enum EventTimestamp<'t> {
    /// The event's own time.
    Own(&'t str),
    /// The time of its request, which is written into the event.
    OfRequest(String),
}

impl<'t> EventTimestamp<'t> {
    fn of(own: Option<&'t str>, arrived: SystemTime) -> Self {
        own.map_or_else(|| Self::OfRequest(rfc3339(arrived)), Self::Own)
    }

    fn day(&self) -> &str {
        let time = match self {
            Self::Own(time) => time,
            Self::OfRequest(time) => time.as_str(),
        };
        time.get(..10).unwrap_or(time)
    }

    /// Returns the stamp that writes the request's time into the event, or `None` if the event has its own
    /// time. The event is an object that begins at `start`. If its time is a null, at `null`, the stamp
    /// replaces it, because capture rejects an event in which a field appears twice.
    fn stamp(&self, text: &str, start: usize, null: Option<Range<usize>>) -> Option<TextEdit> {
        let Self::OfRequest(time) = self else {
            return None;
        };
        Some(match null {
            Some(range) => TextEdit {
                range,
                written: format!("\"{time}\""),
            },
            None => TextEdit::first_in(text, start, format!("\"timestamp\":\"{time}\"")),
        })
    }
}

/// Returns the hash by which events are deduplicated. PostHog collapses events with the same UTC day, name,
/// distinct_id and uuid (posthog-ingestion 3.4), so the spool may deduplicate only such events.
fn dedup_key(uuid: &str, name: &str, distinct_id: &str, day: &str) -> u128 {
    digest(&[
        uuid.as_bytes(),
        name.as_bytes(),
        distinct_id.as_bytes(),
        day.as_bytes(),
    ])
}

fn digest(parts: &[&[u8]]) -> u128 {
    let mut hash = Sha1::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize()
        .iter()
        .take(16)
        .fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// Returns the milliseconds since 1970. Earlier times count as 0.
pub(super) fn milliseconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// Returns the time this many milliseconds after 1970.
pub(super) fn time_of(milliseconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}
