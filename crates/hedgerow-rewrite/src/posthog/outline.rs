//! The positions of the parts of each written event. The rewriter records them, so that the spool does
//! not parse the events a second time.

use std::borrow::Cow;
use std::ops::Range;

/// The lengths of the parts of one written event,
/// `{"uuid":"…","event":…,"timestamp":…,"properties":{…}}`, in bytes, and what its properties mean for
/// its location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventParts {
    /// The length of the whole event.
    pub(crate) length: u32,
    /// The length of the event's name as JSON text.
    pub(crate) event: u32,
    /// The length of the event's time as JSON text; 0 if it has none.
    pub(crate) timestamp: u32,
    /// The start and the end of the `distinct_id`, as JSON text, within the event.
    pub(crate) distinct_id: (u32, u32),
    pub(crate) location: Location,
}

/// Whether the address of the request's client could still tell PostHog where an event happened
/// (posthog-ingestion 2.2, 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// No: the event has its own address, or `$geoip_disable`.
    Settled,
    /// Perhaps: the caller has to inspect the event's properties.
    Open,
}

/// The positions of the parts of each event of one batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchOutline(Vec<(usize, EventParts)>);

/// One event of a batch. All texts are slices of the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventView<'b> {
    /// The range of the event in its batch.
    pub place: Range<usize>,
    /// The event's `uuid`.
    pub uuid: &'b str,
    /// The event's name, as JSON text.
    pub event_json: &'b str,
    /// The event's time, as JSON text, if it has one.
    pub timestamp_json: Option<&'b str>,
    /// The event's `distinct_id`, as JSON text.
    pub distinct_id_json: &'b str,
    /// The offset of the opening brace of the event's properties in the batch.
    pub properties: usize,
    /// Whether the address of the request's client could still tell PostHog where the event happened.
    pub location: Location,
}

impl EventView<'_> {
    /// The event's name.
    pub fn name(&self) -> Cow<'_, str> {
        unquoted(self.event_json)
    }

    /// The event's time, if it is a string.
    pub fn timestamp(&self) -> Option<Cow<'_, str>> {
        let timestamp = self.timestamp_json?;
        timestamp.starts_with('"').then(|| unquoted(timestamp))
    }
}

/// Returns the text of a JSON string; an empty text for any other value.
fn unquoted(json: &str) -> Cow<'_, str> {
    let inside = json
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    match inside {
        Some(inside) if !inside.contains('\\') => Cow::Borrowed(inside),
        _ => Cow::Owned(serde_json::from_str(json).unwrap_or_default()),
    }
}

/// The lengths of the fixed texts of an event, and of its uuid, in bytes.
const BEFORE_UUID: usize = "{\"uuid\":\"".len();
const UUID: usize = 36;
const BEFORE_EVENT: usize = "\",\"event\":".len();
const BEFORE_TIMESTAMP: usize = ",\"timestamp\":".len();
const BEFORE_PROPERTIES: usize = ",\"properties\":".len();

impl BatchOutline {
    /// Returns the number of events.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the batch has no events.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the events in their order. `batch` is the whole batch: all bytes that were taken out of
    /// it, joined. The iterator stops at the first event that would reach beyond the end of `batch`.
    pub fn events<'b>(&self, batch: &'b [u8]) -> impl Iterator<Item = EventView<'b>> + use<'_, 'b> {
        let views = self.0.iter();
        views.map_while(move |(start, parts)| view(batch, *start, parts))
    }

    /// Reserves room for this many events.
    pub(super) fn reserve(&mut self, events: usize) {
        self.0.reserve(events);
    }

    pub(super) fn push(&mut self, start: usize, parts: EventParts) {
        self.0.push((start, parts));
    }

    pub(super) fn truncate(&mut self, events: usize) {
        self.0.truncate(events);
    }
}

fn view<'b>(batch: &'b [u8], start: usize, parts: &EventParts) -> Option<EventView<'b>> {
    let text = |range: Range<usize>| std::str::from_utf8(batch.get(range)?).ok();
    let uuid = start + BEFORE_UUID;
    let event = uuid + UUID + BEFORE_EVENT;
    let behind_event = event + parts.event as usize;
    let (timestamp, behind_timestamp) = match parts.timestamp as usize {
        0 => (None, behind_event),
        length => {
            let start = behind_event + BEFORE_TIMESTAMP;
            (Some(text(start..start + length)?), start + length)
        }
    };
    let (from, to) = parts.distinct_id;
    Some(EventView {
        place: start..start + parts.length as usize,
        uuid: text(uuid..uuid + UUID)?,
        event_json: text(event..behind_event)?,
        timestamp_json: timestamp,
        distinct_id_json: text(start + from as usize..start + to as usize)?,
        properties: behind_timestamp + BEFORE_PROPERTIES,
        location: parts.location,
    })
}
