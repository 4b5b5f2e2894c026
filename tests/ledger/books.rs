//! The events that arrived at the stand-in for PostHog, and their comparison with the acknowledged
//! ones.

use std::collections::hash_map::Entry;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

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
    excuses: Option<Excuses>,
}

/// Clients whose events may overtake those before them, if they were taken in one of these times.
pub struct Excuses {
    pub clients: Range<usize>,
    pub times: Vec<(Instant, Instant)>,
}

impl Excuses {
    fn cover(&self, event: &Sent) -> bool {
        let (tried, taken) = event.taken;
        let mut times = self.times.iter();
        self.clients.contains(&event.client)
            && times.any(|(begin, end)| *begin <= taken && tried <= *end)
    }
}

impl ArrivedEvents {
    /// The largest error of the proxy's clock in the run.
    #[allow(dead_code)]
    pub fn forgive(&mut self, shifts: Vec<TimeDelta>) {
        self.shifts = shifts;
    }

    /// What may overtake is counted apart.
    #[allow(dead_code)]
    pub fn excuse(&mut self, excuses: Excuses) {
        self.excuses = Some(excuses);
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
        let mut excused = 0;
        for event in sent {
            let Sent {
                client,
                number,
                when,
                ..
            } = event;
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
                let latest = last.entry(*client).or_default();
                if *latest <= first.at {
                    *latest = first.at;
                } else if self.excuses.as_ref().is_some_and(|all| all.cover(event)) {
                    excused += 1;
                } else {
                    let text = format!("u-{client} {number} came before one before it");
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
            excused,
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
    /// Out of order, and taken when that may be.
    #[allow(dead_code)]
    pub excused: usize,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_was_taken_in_an_excused_time_may_overtake() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let now = Utc::now();
        // Taken one after the other; the second arrived first, and the third before the first.
        for (times, expected) in [
            (vec![], (2, 0)),
            (vec![(at(2), at(3))], (1, 1)),
            (vec![(at(2), at(3)), (at(6), at(9))], (0, 2)),
            (vec![(at(5), at(5))], (2, 0)),
        ] {
            let mut arrived = ArrivedEvents::default();
            let mut sent = Vec::new();
            for (number, place) in [30, 10, 20].into_iter().enumerate() {
                let first = FirstArrival {
                    uuid: number.to_string(),
                    at: place,
                    timestamp: now,
                    sent: None,
                    poison: false,
                };
                arrived.first.insert((7, number), first);
                let taken = 3 * number as u64;
                sent.push(Sent {
                    client: 7,
                    number,
                    when: When::Said(now),
                    taken: (at(taken), at(taken + 1)),
                });
            }
            arrived.excuse(Excuses {
                clients: 7..8,
                times,
            });
            let closed = arrived.close(&sent);
            assert_eq!((closed.wrong, closed.excused), expected);
        }
    }
}
