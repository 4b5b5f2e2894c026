//! The events that arrived at the stand-in for PostHog, and their comparison with the acknowledged
//! ones.

use std::collections::hash_map::Entry;
use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use hedgerow::demo::capture::{Capture, StoredEvent, UuidOrigin};

use super::crowd::{Sent, When};

/// The first arrival of an event.
struct FirstArrival {
    uuid: String,
    at: u64,
    timestamp: DateTime<Utc>,
    /// The timestamp as it was sent: capture corrects some timestamps in the future.
    sent: Option<DateTime<Utc>>,
    poison: bool,
}

/// All events that arrived, by person and number.
#[derive(Default)]
pub struct ArrivedEvents {
    read: u64,
    first: HashMap<(usize, usize), FirstArrival>,
    duplicates: usize,
    wrong: Vec<String>,
    shifts: Vec<TimeDelta>,
}

impl ArrivedEvents {
    /// The largest error of the proxy's clock in the run.
    #[allow(dead_code)]
    pub fn forgive(&mut self, shifts: Vec<TimeDelta>) {
        self.shifts = shifts;
    }

    /// Records what has arrived since the last call.
    pub fn read(&mut self, capture: &Capture) {
        for event in capture.since(self.read) {
            assert_eq!(event.number, self.read, "the stand-in forgot events");
            self.read += 1;
            self.note(&event);
        }
    }

    /// The number of different events that have arrived.
    pub fn events(&self) -> usize {
        self.first.len()
    }

    fn note(&mut self, event: &Arc<StoredEvent>) {
        let client = event.distinct_id.strip_prefix("u-");
        let client = client.and_then(|text| text.parse::<usize>().ok());
        let number = event.properties.get("number");
        let number = number.and_then(serde_json::Value::as_u64);
        let (Some(client), Some(number)) = (client, number) else {
            self.wrong.push(format!("no client sent {}", event.raw));
            return;
        };
        if event.uuid_origin != UuidOrigin::Sender {
            self.wrong.push(format!("no uuid: {}", event.raw));
        }
        let seen = FirstArrival {
            uuid: event.uuid.to_string(),
            at: event.number,
            timestamp: event.timestamp,
            sent: event
                .timestamp_sent
                .as_deref()
                .and_then(|text| text.parse().ok()),
            poison: event.event == "Poison",
        };
        match self.first.entry((client, number as usize)) {
            Entry::Vacant(entry) => {
                entry.insert(seen);
            }
            Entry::Occupied(entry) => {
                self.duplicates += 1;
                if entry.get().uuid != seen.uuid {
                    let text = format!("u-{client} {number} came again with another uuid");
                    self.wrong.push(text);
                }
            }
        }
    }

    /// Compares the two: every event arrives once, with its time, in its person's order. Prints
    /// every mismatch.
    pub fn close(mut self, sent: &[Sent]) -> Closed {
        let mut lost = 0;
        let mut last: HashMap<usize, u64> = HashMap::new();
        let mut uuids = HashMap::new();
        // In `sent`, a person's events are in the order of their acknowledgements.
        for Sent {
            client,
            number,
            when,
        } in sent
        {
            let Some(first) = self.first.remove(&(*client, *number)) else {
                lost += 1;
                self.wrong.push(format!("lost: u-{client} {number}"));
                continue;
            };
            let right = match when {
                When::Said(at) => first.timestamp == *at,
                When::Arrived(from, to) => {
                    // Events carry milliseconds.
                    let slack = TimeDelta::milliseconds(1);
                    let within = |time| *from - slack <= time && time <= *to;
                    let sent = first.sent.unwrap_or(first.timestamp);
                    within(first.timestamp) || self.shifts.iter().any(|by| within(sent - *by))
                }
            };
            if !right {
                let text = format!("u-{client} {number} at {}, not {when:?}", first.timestamp);
                self.wrong.push(text);
            }
            if let Some(other) = uuids.insert(first.uuid.clone(), (*client, *number)) {
                let text = format!("u-{client} {number} has the uuid of {other:?}");
                self.wrong.push(text);
            }
            // Events that PostHog rejected for a while come later, by `requeue`.
            if !first.poison {
                let before = last.insert(*client, first.at);
                if before.is_some_and(|before| before > first.at) {
                    let text = format!("u-{client} {number} came before the one before it");
                    self.wrong.push(text);
                }
            }
        }
        for (client, number) in self.first.keys() {
            self.wrong
                .push(format!("never acknowledged: u-{client} {number}"));
        }
        for line in self.wrong.iter().take(50) {
            println!("{line}");
        }
        Closed {
            arrived: self.read,
            duplicates: self.duplicates,
            lost,
            wrong: self.wrong.len(),
        }
    }
}

/// The last line of the comparison.
#[derive(Debug)]
pub struct Closed {
    pub arrived: u64,
    pub duplicates: usize,
    pub lost: usize,
    pub wrong: usize,
}
