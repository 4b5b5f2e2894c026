//! What the rewriting knows of the events that it has written, so that they are not parsed a second time.

use std::borrow::Cow;
use std::ops::Range;

/// The parts of one event as it was written, `{"uuid":"…","event":…,"timestamp":…,"properties":{…}}`:
/// how long each is, and what follows from its properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventParts {
    /// The length of the whole event.
    pub(crate) length: u32,
    /// The length of its name as JSON text.
    pub(crate) event: u32,
    /// The length of its time as JSON text; 0 if it has none.
    pub(crate) timestamp: u32,
    /// Where its `distinct_id`, as JSON text, begins and ends.
    pub(crate) distinct_id: (u32, u32),
    pub(crate) location: Location,
}

/// Whether the address of the request's client could still tell PostHog where an event happened
/// (posthog-ingestion 2.2, 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// No: the event has an address of its own, or `$geoip_disable`.
    Settled,
    /// Perhaps: its properties have to be looked into.
    Open,
}

/// The events of one batch: a few numbers for each of them, which say where its parts stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchOutline(Vec<(usize, EventParts)>);

/// One event of a batch. All texts are parts of the batch, as they are written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventView<'b> {
    /// Where the event stands in its batch.
    pub place: Range<usize>,
    /// Its `uuid`.
    pub uuid: &'b str,
    /// Its name, as JSON text.
    pub event_json: &'b str,
    /// Its time, as JSON text; none if it has none.
    pub timestamp_json: Option<&'b str>,
    /// Its `distinct_id`, as JSON text.
    pub distinct_id_json: &'b str,
    /// Where the object of its properties begins, its brace, in its batch.
    pub properties: usize,
    /// Whether the address of the request's client matters.
    pub location: Location,
}

impl EventView<'_> {
    /// Its name.
    pub fn name(&self) -> Cow<'_, str> {
        unquoted(self.event_json)
    }

    /// Its time, if it is a text.
    pub fn timestamp(&self) -> Option<Cow<'_, str>> {
        let timestamp = self.timestamp_json?;
        timestamp.starts_with('"').then(|| unquoted(timestamp))
    }
}

/// What a JSON string says; nothing for any other value.
fn unquoted(json: &str) -> Cow<'_, str> {
    let inside = json
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    match inside {
        Some(inside) if !inside.contains('\\') => Cow::Borrowed(inside),
        _ => Cow::Owned(serde_json::from_str(json).unwrap_or_default()),
    }
}

/// What stands before the uuid, and how long that is.
const BEFORE_UUID: usize = "{\"uuid\":\"".len();
const UUID: usize = 36;
const BEFORE_EVENT: usize = "\",\"event\":".len();
const BEFORE_TIMESTAMP: usize = ",\"timestamp\":".len();
const BEFORE_PROPERTIES: usize = ",\"properties\":".len();

impl BatchOutline {
    /// The number of events.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The events, in their order. `batch` is the whole batch: all that was taken out of it, in one.
    /// What would stand behind its end is left out.
    pub fn events<'b>(&self, batch: &'b [u8]) -> impl Iterator<Item = EventView<'b>> + use<'_, 'b> {
        let views = self.0.iter();
        views.map_while(move |(start, parts)| view(batch, *start, parts))
    }

    /// Makes room for so many events.
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
