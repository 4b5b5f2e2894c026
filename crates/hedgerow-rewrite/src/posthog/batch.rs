//! The envelope around events: `{"api_key":…,"batch":[…]}` (posthog-ingestion 1.2, shape 2).
//!
//! The envelope has no `sent_at`: the rewriter has already corrected the clock, and with a `sent_at`
//! capture would shift every event a second time (posthog-ingestion 3.5).

use std::ops::Range;

use super::api_key::ApiKey;
use super::outline::{BatchOutline, EventParts};

/// The path of capture's batch endpoint, below the host's base path.
pub const BATCH_PATH: &str = "/batch/";

/// The bytes of a batch before its first event and after its last one.
#[derive(Clone)]
pub struct Envelope {
    head: Vec<u8>,
}

impl Envelope {
    /// Creates the envelope for the batches of one project.
    pub fn new(api_key: &ApiKey) -> Self {
        let mut head = Vec::with_capacity(96);
        head.extend_from_slice(b"{\"api_key\":\"");
        for byte in api_key.expose().bytes() {
            // An API key is printable ASCII, so JSON requires an escape only for these two characters.
            if matches!(byte, b'"' | b'\\') {
                head.push(b'\\');
            }
            head.push(byte);
        }
        head.extend_from_slice(b"\",\"batch\":[");
        Self { head }
    }

    fn head(&self) -> &[u8] {
        &self.head
    }

    /// Returns a whole batch of these events, which are separated by commas.
    pub fn wrap(&self, events: &[u8]) -> Vec<u8> {
        [self.head(), events, END].concat()
    }
}

/// One batch while it is written: its envelope, its events, and how much of it was already taken out.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    events: usize,
    taken_out: usize,
    facts: Option<BatchFacts>,
    outline: Option<BatchOutline>,
}

/// The facts about the events of a batch that decide whether it can be sent together with other batches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchFacts {
    /// A hash of each id of a person in the events, in any order and possibly more than once.
    pub people: Vec<u64>,
    /// Whether PostHog may use the address of the request's client.
    pub address: Address,
}

/// Where PostHog finds the address of an event's client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Address {
    /// In the event. The address of the request has no effect.
    #[default]
    InTheEvent,
    /// In the request, or possibly there.
    OfTheRequest,
}

/// The facts that one event adds to the [`BatchFacts`] of its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventFacts {
    /// A hash of the event's `distinct_id`.
    pub person: u64,
    /// A hash of the id that the event joins with its `distinct_id`.
    pub joined: Option<u64>,
    /// Where PostHog finds the client's address.
    pub address: Address,
}

impl Batch {
    /// Creates an empty batch with the start of its envelope.
    pub fn open(envelope: &Envelope) -> Self {
        /// In bytes. Most batches have one event and fit into this size, so the buffer does not have to
        /// grow.
        const ROOM: usize = 4096;
        let mut bytes = Vec::with_capacity(envelope.head().len().max(ROOM));
        bytes.extend_from_slice(envelope.head());
        Self {
            bytes,
            events: 0,
            taken_out: 0,
            facts: None,
            outline: None,
        }
    }

    /// Creates an empty batch that records the [`BatchFacts`] needed to send it together with others.
    #[doc(hidden)]
    pub fn open_to_gather(envelope: &Envelope) -> Self {
        Self {
            facts: Some(BatchFacts::default()),
            ..Self::open(envelope)
        }
    }

    /// Makes the batch record the positions of the parts of its events. Call it while the batch is empty.
    #[must_use]
    pub fn outlined(self) -> Self {
        Self {
            outline: Some(BatchOutline::default()),
            ..self
        }
    }

    /// Reserves room for this many bytes in total. If the buffer grew step by step instead, the smaller
    /// buffers that it leaves would take as much memory as the batch.
    #[doc(hidden)]
    pub fn expect(&mut self, bytes: usize) {
        self.bytes
            .reserve_exact(bytes.saturating_sub(self.bytes.len()));
    }

    /// Takes out the recorded positions of the events; `None` if the batch is not
    /// [`outlined`](Self::outlined). They include only events that the rewriter wrote.
    pub fn take_outline(&mut self) -> Option<BatchOutline> {
        self.outline.take()
    }

    /// Records the parts of the event that was appended last. `following` is the number of bytes that
    /// follow: the outline reserves room for that many bytes of events of this length.
    pub(crate) fn outline(&mut self, parts: EventParts, following: usize) {
        let end = self.size();
        if let Some(outline) = &mut self.outline {
            if outline.is_empty() {
                outline.reserve(1 + following / (parts.length as usize).max(1));
            }
            outline.push(end.saturating_sub(parts.length as usize), parts);
        }
    }

    /// Whether the batch needs [`add_facts`](Self::add_facts) for every event.
    #[doc(hidden)]
    pub fn gathers(&self) -> bool {
        self.facts.is_some()
    }

    /// Records the facts about the event that was appended last.
    #[doc(hidden)]
    pub fn add_facts(&mut self, event: EventFacts) {
        if let Some(facts) = &mut self.facts {
            // Most batches have the events of one person.
            if facts.people.last() != Some(&event.person) {
                facts.people.push(event.person);
            }
            facts.people.extend(event.joined);
            if event.address == Address::OfTheRequest {
                facts.address = Address::OfTheRequest;
            }
        }
    }

    /// Takes out the recorded facts; `None` if the batch does not record them.
    #[doc(hidden)]
    pub fn take_facts(&mut self) -> Option<BatchFacts> {
        self.facts.take()
    }

    /// Returns a whole batch of events that are already JSON text.
    pub fn of<E: AsRef<[u8]>>(envelope: &Envelope, events: impl IntoIterator<Item = E>) -> Vec<u8> {
        let mut batch = Self::open(envelope);
        for event in events {
            batch.append(|bytes| {
                bytes.extend_from_slice(event.as_ref());
                (Keep::Event, ())
            });
        }
        batch.close()
    }

    /// The number of events in the batch.
    pub fn events(&self) -> usize {
        self.events
    }

    /// The size of the batch so far in bytes, including the bytes that were taken out.
    pub fn size(&self) -> usize {
        self.taken_out + self.bytes.len()
    }

    /// The number of bytes that have not been taken out.
    pub fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Takes out the bytes that have been written so far, to send them.
    pub fn take(&mut self) -> Vec<u8> {
        self.taken_out += self.bytes.len();
        std::mem::take(&mut self.bytes)
    }

    /// Returns the current end of the batch, for [`rewind`](Self::rewind).
    #[doc(hidden)]
    pub fn mark(&self) -> Mark {
        let facts = self.facts.as_ref();
        Mark {
            bytes: self.bytes.len(),
            events: self.events,
            people: facts.map_or(0, |facts| facts.people.len()),
            address: facts.map(|facts| facts.address).unwrap_or_default(),
        }
    }

    /// Removes all events that were appended after the mark. Call it only if nothing has been taken out
    /// since.
    #[doc(hidden)]
    pub fn rewind(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.events = mark.events;
        if let Some(facts) = &mut self.facts {
            facts.people.truncate(mark.people);
            facts.address = mark.address;
        }
        if let Some(outline) = &mut self.outline {
            outline.truncate(mark.events);
        }
    }

    /// Returns a range of the bytes that have not been taken out; empty if the range is outside of them.
    pub fn bytes(&self, range: std::ops::Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// Ends the batch and returns the bytes that have not been taken out.
    pub fn close(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(END);
        self.bytes
    }

    /// Writes one event: `write` appends it and returns whether to keep it. If not, the batch is unchanged.
    #[doc(hidden)]
    #[inline(always)]
    pub fn append<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> (Keep, R)) -> R {
        let before = self.bytes.len();
        if self.events > 0 {
            self.bytes.push(b',');
        }
        let (keep, result) = write(&mut self.bytes);
        match keep {
            Keep::Event => self.events += 1,
            Keep::Nothing => self.bytes.truncate(before),
        }
        result
    }
}

/// Joins whole batches that have the same envelope into one. Returns it with the range of each batch's
/// events in it.
pub fn join<'b>(
    envelope: &Envelope,
    batches: impl Iterator<Item = &'b [u8]> + Clone,
) -> (Vec<u8>, Vec<Range<usize>>) {
    let size: usize = batches.clone().map(<[u8]>::len).sum();
    let mut joined = Batch {
        bytes: Vec::with_capacity(size),
        events: 0,
        taken_out: 0,
        facts: None,
        outline: None,
    };
    joined.bytes.extend_from_slice(envelope.head());
    let mut ranges = Vec::new();
    for batch in batches {
        let events = events_within(envelope, batch);
        let range = joined.append(|bytes| {
            let start = bytes.len();
            bytes.extend_from_slice(batch.get(events).unwrap_or_default());
            (Keep::Event, start..bytes.len())
        });
        ranges.push(range);
    }
    (joined.close(), ranges)
}

/// Returns the range of the events in a whole batch.
pub fn events_within(envelope: &Envelope, batch: &[u8]) -> Range<usize> {
    let start = envelope.head().len();
    start..batch.len().saturating_sub(END.len()).max(start)
}

/// The bytes after the last event.
const END: &[u8] = b"]}";

/// The end of a batch at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    bytes: usize,
    events: usize,
    people: usize,
    address: Address,
}

/// Whether an event that was written into a batch is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The event is kept.
    Event,
    /// The event is removed again.
    Nothing,
}

impl std::fmt::Debug for Envelope {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Envelope(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_json_whatever_the_key_holds() {
        let envelope = Envelope::new(&ApiKey::new("phc_\"a\\b").unwrap());
        let mut batch = Batch::open(&envelope);
        for keep in [Keep::Event, Keep::Nothing, Keep::Event, Keep::Nothing] {
            batch.append(|bytes| {
                bytes.extend_from_slice(b"{}");
                (keep, ())
            });
        }
        assert_eq!(batch.events(), 2);
        let mut text = batch.take();
        assert_eq!(batch.size(), text.len());
        text.extend(batch.close());
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value["api_key"], "phc_\"a\\b");
        assert_eq!(value["batch"].as_array().unwrap().len(), 2);
        assert!(!format!("{envelope:?}").contains("phc_"));
        let written = Batch::of(&envelope, ["{\"a\":1}", "{\"b\":2}"]);
        assert!(written.ends_with(b"\"batch\":[{\"a\":1},{\"b\":2}]}"));
    }
    #[test]
    fn batches_are_joined_in_order_and_can_be_split_again() {
        let envelope = Envelope::new(&ApiKey::new("phc_a").unwrap());
        let batch = |events: &[&str]| {
            let mut batch = Batch::open(&envelope);
            for event in events {
                batch.append(|bytes| {
                    bytes.extend_from_slice(event.as_bytes());
                    (Keep::Event, ())
                });
            }
            batch.close()
        };
        let batches = [
            batch(&["{\"a\":1}"]),
            batch(&["{\"b\":\"]}\"}", "{}"]),
            batch(&["{\"c\":3}"]),
        ];
        let (joined, places) = join(&envelope, batches.iter().map(Vec::as_slice));
        assert_eq!(
            joined,
            batch(&["{\"a\":1}", "{\"b\":\"]}\"}", "{}", "{\"c\":3}"])
        );
        for (batch, place) in batches.iter().zip(&places) {
            assert_eq!(envelope.wrap(&joined[place.clone()]), *batch);
        }
        let alone = |batch: &Vec<u8>| batch[events_within(&envelope, batch)].to_vec();
        assert_eq!(
            places
                .into_iter()
                .map(|place| joined[place].to_vec())
                .collect::<Vec<_>>(),
            batches.iter().map(alone).collect::<Vec<_>>()
        );
    }

    #[test]
    fn only_a_batch_that_gathers_takes_notes() {
        let envelope = Envelope::new(&ApiKey::new("phc_a").unwrap());
        let event = EventFacts {
            person: 1,
            joined: Some(2),
            address: Address::OfTheRequest,
        };
        let mut plain = Batch::open(&envelope);
        plain.add_facts(event);
        assert_eq!((plain.gathers(), plain.take_facts()), (false, None));
        let mut gathering = Batch::open_to_gather(&envelope);
        gathering.add_facts(EventFacts {
            person: 3,
            joined: None,
            address: Address::InTheEvent,
        });
        gathering.add_facts(event);
        let facts = gathering.take_facts().unwrap();
        assert_eq!(facts.people, [3, 1, 2]);
        assert_eq!(facts.address, Address::OfTheRequest);
    }
}
