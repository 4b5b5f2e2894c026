//! One rewritten event on its way into a spool.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha1::{Digest, Sha1};

use super::SpoolError;

/// A PostHog event as JSON text, with what a spool has to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpooledEvent {
    body: Bytes,
    first_arrival: SystemTime,
    collapse: u128,
    uuid: String,
    name: String,
}

#[derive(Deserialize, Default)]
struct Seen<'a> {
    #[serde(borrow, default)]
    uuid: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    distinct_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    properties: Option<SeenProperties<'a>>,
}

#[derive(Deserialize)]
struct SeenProperties<'a> {
    #[serde(borrow, default)]
    distinct_id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct SeenBatch<'a> {
    #[serde(borrow)]
    batch: Vec<&'a RawValue>,
}

impl SpooledEvent {
    /// Takes one event as the rewriting wrote it, and the time at which its request arrived.
    ///
    /// An event without a timestamp gets that time here: capture would stamp it with the time of
    /// the replay (posthog-ingestion 3.5). Everything else stays byte for byte.
    ///
    /// # Errors
    /// [`SpoolError::NotAnEvent`] for anything but a JSON object.
    pub fn new(body: Bytes, first_arrival: SystemTime) -> Result<Self, SpoolError> {
        let text = std::str::from_utf8(&body).map_err(|_| SpoolError::NotAnEvent)?;
        let outer: &RawValue = serde_json::from_str(text).map_err(|_| SpoolError::NotAnEvent)?;
        let Some(inner) = outer.get().strip_prefix('{') else {
            return Err(SpoolError::NotAnEvent);
        };
        // An event that says a field twice is capture's to refuse; here it is only kept.
        let Ok(seen) = serde_json::from_str::<Seen<'_>>(text) else {
            return Ok(Self {
                collapse: digest(&[&body]),
                body,
                first_arrival,
                uuid: String::new(),
                name: String::new(),
            });
        };
        let stamped;
        let (timestamp, replaced) = match seen.timestamp {
            Some(timestamp) => (timestamp, None),
            None => {
                stamped = rfc3339(first_arrival);
                let comma = if inner.trim_start().starts_with('}') {
                    ""
                } else {
                    ","
                };
                let replaced = format!("{{\"timestamp\":\"{stamped}\"{comma}{inner}");
                (Cow::Borrowed(stamped.as_str()), Some(replaced))
            }
        };
        let distinct_id = seen
            .distinct_id
            .or(seen
                .properties
                .and_then(|properties| properties.distinct_id))
            .map_or("", RawValue::get);
        let uuid = seen.uuid.unwrap_or_default();
        let name = seen.event.unwrap_or_default();
        // PostHog collapses what agrees in UTC day, name, distinct_id and uuid (posthog-ingestion
        // 3.4), so only that may be collapsed here. Without a uuid only the same bytes are the same.
        let collapse = if uuid.is_empty() {
            digest(&[text.as_bytes()])
        } else {
            let day = timestamp.get(..10).unwrap_or(&timestamp);
            digest(&[
                uuid.as_bytes(),
                name.as_bytes(),
                distinct_id.as_bytes(),
                day.as_bytes(),
            ])
        };
        let (uuid, name) = (uuid.into_owned(), name.into_owned());
        Ok(Self {
            body: replaced.map_or(body, Bytes::from),
            first_arrival,
            collapse,
            uuid,
            name,
        })
    }

    /// Takes the events out of a batch body, `{"api_key":…,"batch":[…]}`, in their order and
    /// without copying them.
    ///
    /// # Errors
    /// [`SpoolError::NotAnEvent`] if the body is not such a batch.
    pub fn of_batch(body: &Bytes, first_arrival: SystemTime) -> Result<Vec<Self>, SpoolError> {
        let batch: SeenBatch<'_> =
            serde_json::from_slice(body).map_err(|_| SpoolError::NotAnEvent)?;
        batch
            .batch
            .into_iter()
            .map(|event| Self::new(body.slice_ref(event.get().as_bytes()), first_arrival))
            .collect()
    }

    /// The event's JSON text.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// When its request arrived, to the millisecond once it has been stored.
    pub fn first_arrival(&self) -> SystemTime {
        self.first_arrival
    }

    /// The event's `uuid` as it stands in it, or nothing.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// The event's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Equal for two events exactly if PostHog would collapse them (posthog-ingestion 3.4).
    pub fn collapse(&self) -> u128 {
        self.collapse
    }
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

fn rfc3339(time: SystemTime) -> String {
    chrono::DateTime::<chrono::Utc>::from(time).to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// Milliseconds since 1970; what lies before it counts as 0.
pub(super) fn milliseconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// The time so many milliseconds after 1970.
pub(super) fn time_of(milliseconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> SpooledEvent {
        SpooledEvent::new(Bytes::copy_from_slice(text.as_bytes()), time_of(1_000)).unwrap()
    }

    #[test]
    fn a_batch_gives_back_its_events_byte_for_byte() {
        let body = Bytes::from_static(
            br#"{"api_key":"phc_a","batch":[{"uuid":"a","timestamp":"2026-11-23T10:00:00Z","n":1.50e1},{"uuid":"b","timestamp":"2026-11-23T10:00:00Z","s":"\u00e9]}"}]}"#,
        );
        let events = SpooledEvent::of_batch(&body, time_of(0)).unwrap();
        let texts: Vec<&[u8]> = events.iter().map(|event| event.body().as_ref()).collect();
        assert_eq!(
            texts,
            [
                br#"{"uuid":"a","timestamp":"2026-11-23T10:00:00Z","n":1.50e1}"#.as_slice(),
                br#"{"uuid":"b","timestamp":"2026-11-23T10:00:00Z","s":"\u00e9]}"}"#.as_slice()
            ]
        );
    }

    #[test]
    fn an_event_without_a_timestamp_gets_that_of_its_first_arrival() {
        let stamped = event(r#"{"uuid":"a","event":"x"}"#);
        assert_eq!(
            stamped.body().as_ref(),
            br#"{"timestamp":"1970-01-01T00:00:01.000Z","uuid":"a","event":"x"}"#
        );
        assert_eq!(
            event("{}").body().as_ref(),
            br#"{"timestamp":"1970-01-01T00:00:01.000Z"}"#
        );
        let own = r#"{"uuid":"a","timestamp":"2026-11-23T10:00:00Z"}"#;
        assert_eq!(event(own).body().as_ref(), own.as_bytes());
    }

    #[test]
    fn events_collapse_exactly_when_posthog_would_collapse_them() {
        let base = r#"{"uuid":"a","event":"x","distinct_id":"p","timestamp":"2026-11-23T10:00:00Z","properties":{}}"#;
        let rows = [
            ("time of day", base.replace("10:00:00", "11:00:00"), true),
            (
                "distinct_id in properties",
                base.replace(r#""distinct_id":"p","#, "")
                    .replace("{}", r#"{"distinct_id":"p"}"#),
                true,
            ),
            ("uuid", base.replace(r#""a""#, r#""b""#), false),
            ("name", base.replace(r#""x""#, r#""y""#), false),
            ("person", base.replace(r#""p""#, r#""q""#), false),
            ("day", base.replace("11-23", "11-24"), false),
        ];
        for (what, other, same) in rows {
            assert_eq!(
                event(base).collapse() == event(&other).collapse(),
                same,
                "{what}"
            );
        }
        let without = r#"{"event":"x","timestamp":"2026-11-23T10:00:00Z","n":1}"#;
        assert_ne!(
            event(without).collapse(),
            event(&without.replace("1}", "2}")).collapse()
        );
    }

    #[test]
    fn what_is_no_event_is_not_taken() {
        for text in ["", "[]", "\"a\"", "{\"a\":1", "nul"] {
            assert!(
                SpooledEvent::new(Bytes::copy_from_slice(text.as_bytes()), time_of(0)).is_err(),
                "{text}"
            );
        }
        assert!(SpooledEvent::of_batch(&Bytes::from_static(b"{}"), time_of(0)).is_err());
    }
}
