//! The content of one message of the stream: a run of events from one append, in their order.
//!
//! A message holds several events, because the events within one message always keep their order. If
//! two messages are published one after the other, a change of the stream's leader can lose the first
//! and keep the second.

use std::time::SystemTime;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::event::SpooledEvent;
use crate::event::{milliseconds, time_of};

/// The header with the arrival of the first event, in milliseconds since 1970.
pub(super) const FIRST_ARRIVAL: &str = "Hedgerow-First-Arrival";

/// The header of a dead letter with PostHog's status.
pub(super) const STATUS: &str = "Hedgerow-Status";
/// The header of a dead letter with the reason for PostHog's refusal.
pub(super) const REASON: &str = "Hedgerow-Reason";

/// A message before it is published.
pub(super) struct Run {
    /// A JSON array of the events. The texts of the events are unchanged.
    pub(super) payload: Bytes,
    /// The message id. The same events always have the same id, so the stream drops a message that it
    /// has received recently.
    pub(super) id: String,
    pub(super) first_arrival: i64,
    pub(super) events: u64,
    pub(super) bytes: u64,
}

/// Divides events into runs of at most `limit` bytes. An event that is larger is a run of its own.
pub(super) fn runs(events: &[SpooledEvent], limit: usize) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut rest = events;
    while !rest.is_empty() {
        let mut bytes = 2;
        let mut fits = 0;
        for event in rest {
            bytes += event.body().len() + 1;
            if fits > 0 && bytes > limit {
                break;
            }
            fits += 1;
        }
        let (run, later) = rest.split_at(fits);
        runs.extend(pack(run));
        rest = later;
    }
    runs
}

fn pack(events: &[SpooledEvent]) -> Option<Run> {
    let first = events.first()?;
    let mut payload = Vec::with_capacity(events.iter().map(|event| event.body().len() + 1).sum());
    let mut dedup_key = 0_u128;
    let mut separator = b'[';
    for event in events {
        payload.push(separator);
        payload.extend_from_slice(event.body());
        separator = b',';
        // The rotation makes the order count, and keeps two equal events from cancelling out.
        dedup_key = dedup_key.rotate_left(7) ^ event.dedup_key();
    }
    payload.push(b']');
    Some(Run {
        bytes: payload.len() as u64,
        payload: payload.into(),
        id: format!("{}:{dedup_key:032x}", events.len()),
        first_arrival: milliseconds(first.first_arrival()),
        events: events.len() as u64,
    })
}

/// Returns the payload of a message that holds only this event.
pub(super) fn alone(event: &[u8]) -> Bytes {
    [b"[", event, b"]"].concat().into()
}

/// Returns the events of a message, or `None` if the payload is not a JSON array.
pub(super) fn unpack(payload: &Bytes) -> Option<Vec<Bytes>> {
    let texts: Vec<&RawValue> = serde_json::from_slice(payload).ok()?;
    Some(
        texts
            .into_iter()
            .map(|text| payload.slice_ref(text.get().as_bytes()))
            .collect(),
    )
}

/// Returns the time in a header's text.
pub(super) fn arrival(text: &str) -> Option<SystemTime> {
    text.parse().ok().map(time_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_hold_every_event_once_in_order_and_keep_to_the_limit() {
        let events: Vec<SpooledEvent> = [1, 50, 400, 3, 2, 90, 90]
            .iter()
            .enumerate()
            .map(|(number, size)| {
                let text = format!(
                    "{{\"uuid\":\"{number}\",\"timestamp\":\"t\",\"p\": \"{}\"}}",
                    "x".repeat(*size)
                );
                SpooledEvent::new(text.into(), time_of(5)).unwrap()
            })
            .collect();
        for limit in [0, 100, 200, 300, 10_000] {
            let runs = runs(&events, limit);
            let back: Vec<Bytes> = runs
                .iter()
                .flat_map(|run| unpack(&run.payload).unwrap())
                .collect();
            let bodies: Vec<Bytes> = events.iter().map(|event| event.body().clone()).collect();
            assert_eq!(back, bodies, "{limit}");
            for run in &runs {
                assert!(run.events == 1 || run.payload.len() <= limit, "{limit}");
            }
        }
        assert!(runs(&[], 10).is_empty());
        assert!(unpack(&Bytes::from_static(b"hello")).is_none());
    }

    #[test]
    fn the_same_run_has_the_same_id_and_another_order_another() {
        let event = |uuid: &str| {
            SpooledEvent::new(
                format!("{{\"uuid\":\"{uuid}\",\"timestamp\":\"t\"}}").into(),
                time_of(5),
            )
            .unwrap()
        };
        let id = |uuids: &[&str]| {
            let events: Vec<SpooledEvent> = uuids.iter().map(|uuid| event(uuid)).collect();
            runs(&events, 10_000)[0].id.clone()
        };
        assert_eq!(id(&["a", "b"]), id(&["a", "b"]));
        assert_ne!(id(&["a", "b"]), id(&["b", "a"]));
        assert_ne!(id(&["a", "a"]), id(&["a", "a", "a"]));
    }
}
