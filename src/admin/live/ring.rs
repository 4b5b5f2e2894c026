//! Stores the entries in the order in which they arrived, up to a limit in number and bytes. An entry is
//! found by its number or by the uuid of its event.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::entry::{FinalOutcome, LiveEntry, RewriteResult};

/// The text of an event's uuid.
type Uuid = [u8; 36];

/// The entries.
#[derive(Debug)]
pub(super) struct Ring {
    most: usize,
    most_bytes: usize,
    bytes: usize,
    /// The number of the newest entry.
    last: u64,
    /// The number of new entries and changes of entries so far.
    version: u64,
    /// The entries, oldest first. Their numbers have no gaps.
    entries: VecDeque<Arc<LiveEntry>>,
    /// The number of the newest entry with each uuid.
    by_uuid: HashMap<Uuid, u64>,
}

impl Ring {
    pub(super) fn new(most: usize, most_bytes: usize) -> Self {
        Self {
            most,
            most_bytes,
            bytes: 0,
            last: 0,
            version: 0,
            entries: VecDeque::new(),
            by_uuid: HashMap::new(),
        }
    }

    /// Adds an entry, drops the oldest entries above the limits, and returns the number of the new entry.
    pub(super) fn add(&mut self, mut entry: LiveEntry) -> u64 {
        self.last += 1;
        self.version += 1;
        (entry.number, entry.version) = (self.last, self.version);
        if let Some(uuid) = uuid_of(&entry) {
            self.by_uuid.insert(uuid, entry.number);
        }
        self.bytes += entry.size();
        self.entries.push_back(Arc::new(entry));
        while self.entries.len() > self.most || self.bytes > self.most_bytes {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(oldest.size());
            if let Some(uuid) = uuid_of(&oldest) {
                if self.by_uuid.get(&uuid) == Some(&oldest.number) {
                    self.by_uuid.remove(&uuid);
                }
            }
        }
        self.last
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Arc<LiveEntry>> {
        self.entries.iter()
    }

    fn index(&self, number: u64) -> Option<usize> {
        let first = self.entries.front()?.number;
        usize::try_from(number.checked_sub(first)?).ok()
    }

    pub(super) fn get(&self, number: u64) -> Option<&Arc<LiveEntry>> {
        self.entries.get(self.index(number)?)
    }

    /// Returns the number of an event's entry. It compares only the uuid, because the spool may have
    /// changed the rest of the event.
    pub(super) fn number_of(&self, project: &str, event: &[u8]) -> Option<u64> {
        let number = *self.by_uuid.get(&uuid(event)?)?;
        let entry = self.get(number)?;
        (entry.project == project).then_some(number)
    }

    /// Sets the outcome of an entry.
    pub(super) fn change(&mut self, number: u64, outcome: FinalOutcome, now: DateTime<Utc>) {
        let index = self.index(number);
        if let Some(entry) = index.and_then(|index| self.entries.get_mut(index)) {
            self.version += 1;
            let entry = Arc::make_mut(entry);
            entry.outcome = outcome;
            entry.final_at = Some(now);
            entry.version = self.version;
        }
    }
}

fn uuid_of(entry: &LiveEntry) -> Option<Uuid> {
    match &entry.result {
        RewriteResult::Event(event) => uuid(event.as_bytes()),
        _ => None,
    }
}

/// Returns the uuid of an event. It is the first key of the event.
fn uuid(event: &[u8]) -> Option<Uuid> {
    let text = event.strip_prefix(b"{\"uuid\":\"")?.get(..36)?;
    text.try_into().ok()
}
