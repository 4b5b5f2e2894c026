//! The envelope around events: `{"api_key":…,"batch":[…]}` (posthog-ingestion 1.2, shape 2).
//!
//! No `sent_at` stands in it: the clock is corrected once, by the rewriting, and capture would
//! shift every event a second time (posthog-ingestion 3.5).

use super::ApiKey;

/// The path of capture's batch endpoint, below the host's base path.
pub const BATCH_PATH: &str = "/batch/";

/// The bytes before the first event and after the last one of a batch.
#[derive(Clone)]
pub struct Envelope {
    head: Vec<u8>,
}

impl Envelope {
    /// The envelope of one project's batches.
    pub fn new(api_key: &ApiKey) -> Self {
        let mut head = Vec::with_capacity(96);
        head.extend_from_slice(b"{\"api_key\":\"");
        for byte in api_key.expose().bytes() {
            // An API key is printable ASCII, so these two are all that JSON wants escaped.
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
}

/// One batch as it is written: its envelope, its events, and how much of it has left already.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    events: usize,
    left: usize,
}

impl Batch {
    /// An empty batch in its envelope.
    pub fn open(envelope: &Envelope) -> Self {
        Self {
            bytes: envelope.head().to_vec(),
            events: 0,
            left: 0,
        }
    }

    /// The whole batch of events that are written already.
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

    /// The number of events in it.
    pub fn events(&self) -> usize {
        self.events
    }

    /// Its size so far in bytes, what has left included.
    pub fn size(&self) -> usize {
        self.left + self.bytes.len()
    }

    /// The bytes that are still here.
    pub fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Takes out what has been written so far, to send it on.
    pub fn take(&mut self) -> Vec<u8> {
        self.left += self.bytes.len();
        std::mem::take(&mut self.bytes)
    }

    /// What is here now, to come back to with [`rewind`](Self::rewind).
    pub fn mark(&self) -> Mark {
        Mark {
            bytes: self.bytes.len(),
            events: self.events,
        }
    }

    /// Takes back all events since the mark. To be called only if nothing has been taken out since.
    pub fn rewind(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.events = mark.events;
    }

    /// Some of the bytes that are still here; none if they are not.
    pub fn bytes(&self, range: std::ops::Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// Ends the batch and takes out the rest.
    pub fn close(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(b"]}");
        self.bytes
    }

    /// Writes one event: `write` appends it and says whether it stays. One that does not stay
    /// leaves no trace.
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

/// How far a batch had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    bytes: usize,
    events: usize,
}

/// Whether an event that was written into a batch stays there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It stays.
    Event,
    /// It is taken back.
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
}
