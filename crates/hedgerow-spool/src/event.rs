//! One rewritten event on its way into a spool.

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use sha1::{Digest, Sha1};

use super::SpoolError;

/// A PostHog event as JSON text, with what a spool has to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpooledEvent {
    body: Bytes,
    first_arrival: SystemTime,
    dedup_key: u128,
    uuid: String,
    name: String,
}

/// When and from where the request of an event came: what capture itself would have taken from that
/// request, and cannot take from the one that brings the event out of the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// When it arrived.
    pub at: SystemTime,
    /// The client's address as `X-Forwarded-For` would have shown it to PostHog; none where no
    /// header would have been sent.
    pub from: Option<IpAddr>,
}

/// At this moment, from an address that PostHog is not told.
impl From<SystemTime> for Received {
    fn from(at: SystemTime) -> Self {
        Self { at, from: None }
    }
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
    properties: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct SeenProperties<'a> {
    #[serde(borrow, default)]
    distinct_id: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "$ip", deserialize_with = "also_null")]
    ip: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "$geoip_disable")]
    geoip_disable: Option<&'a RawValue>,
}

/// A value that is there, where plain serde takes null for one that is not.
fn also_null<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

#[derive(Deserialize)]
struct SeenBatch<'a> {
    #[serde(borrow)]
    batch: Vec<&'a RawValue>,
}

impl SpooledEvent {
    /// Takes one event as the rewriting wrote it, and when and from where its request came.
    ///
    /// What capture would have taken from that request is written into the event here: the time,
    /// if it has none of its own (posthog-ingestion 3.5), and the address, if it has no `$ip` and
    /// does not ask for no location (posthog-ingestion 2.2, 2.3). So it lands where it would have
    /// landed without the spool. Everything else stays byte for byte.
    ///
    /// # Errors
    /// [`SpoolError::NotAnEvent`] for anything but a JSON object.
    pub fn new(body: Bytes, arrived: impl Into<Received>) -> Result<Self, SpoolError> {
        let arrived = arrived.into();
        let text = std::str::from_utf8(&body).map_err(|_| SpoolError::NotAnEvent)?;
        let outer: &RawValue = serde_json::from_str(text).map_err(|_| SpoolError::NotAnEvent)?;
        if !outer.get().starts_with('{') {
            return Err(SpoolError::NotAnEvent);
        }
        // An event that says a field twice is capture's to refuse; here it is only kept.
        let Ok((seen, properties)) = look(text) else {
            return Ok(Self {
                dedup_key: digest(&[&body]),
                body,
                first_arrival: arrived.at,
                uuid: String::new(),
                name: String::new(),
            });
        };
        let stamped;
        let (timestamp, time) = match seen.timestamp {
            Some(timestamp) => (timestamp, None),
            None => {
                stamped = rfc3339(arrived.at);
                let field = format!("\"timestamp\":\"{stamped}\"");
                let stamp = Stamp::first_in(outer, text, field);
                (Cow::Borrowed(stamped.as_str()), Some(stamp))
            }
        };
        let address = match (arrived.from, seen.properties) {
            (Some(from), Some(place)) => properties.address(from, place, text),
            _ => None,
        };
        let replaced = stamp(text, [time, address]);
        let distinct_id = seen
            .distinct_id
            .or(properties.distinct_id)
            .map_or("", RawValue::get);
        let uuid = seen.uuid.unwrap_or_default();
        let name = seen.event.unwrap_or_default();
        // PostHog collapses what agrees in UTC day, name, distinct_id and uuid (posthog-ingestion
        // 3.4), so only that may be deduplicated here. Without a uuid only the same bytes are the same.
        let dedup_key = if uuid.is_empty() {
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
            first_arrival: arrived.at,
            dedup_key,
            uuid,
            name,
        })
    }

    /// Takes the events out of a batch body, `{"api_key":…,"batch":[…]}`, in their order and
    /// without copying them.
    ///
    /// # Errors
    /// [`SpoolError::NotAnEvent`] if the body is not such a batch.
    pub fn of_batch(body: &Bytes, arrived: impl Into<Received>) -> Result<Vec<Self>, SpoolError> {
        let arrived = arrived.into();
        let events = events_of(body)?.into_iter();
        events.map(|event| Self::new(event, arrived)).collect()
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
    pub fn dedup_key(&self) -> u128 {
        self.dedup_key
    }
}

/// The events of a batch body, in their order and without copying them.
///
/// # Errors
/// [`SpoolError::NotAnEvent`] if the body is not `{"api_key":…,"batch":[…]}`.
pub fn events_of(body: &Bytes) -> Result<Vec<Bytes>, SpoolError> {
    let batch: SeenBatch<'_> = serde_json::from_slice(body).map_err(|_| SpoolError::NotAnEvent)?;
    let events = batch.batch.into_iter();
    Ok(events
        .map(|event| body.slice_ref(event.get().as_bytes()))
        .collect())
}

fn look(text: &str) -> Result<(Seen<'_>, SeenProperties<'_>), serde_json::Error> {
    let seen: Seen<'_> = serde_json::from_str(text)?;
    let properties = match seen.properties {
        Some(properties) if properties.get().starts_with('{') => {
            serde_json::from_str(properties.get())?
        }
        _ => SeenProperties::default(),
    };
    Ok((seen, properties))
}

impl SeenProperties<'_> {
    /// The address that capture would have put into the event.
    fn address(&self, from: IpAddr, properties: &RawValue, text: &str) -> Option<Stamp> {
        let is_given = |value: Option<&RawValue>| value.is_some_and(is_truthy);
        if !properties.get().starts_with('{') || is_given(self.ip) || is_given(self.geoip_disable) {
            return None;
        }
        Some(match self.ip {
            Some(useless) => Stamp {
                place: place(useless, text),
                written: format!("\"{from}\""),
            },
            None => Stamp::first_in(properties, text, format!("\"$ip\":\"{from}\"")),
        })
    }
}

/// As PostHog's JavaScript reads a value (posthog-ingestion 2.2).
fn is_truthy(value: &RawValue) -> bool {
    match value.get() {
        "null" | "false" | "\"\"" => false,
        text => text.parse::<f64>().ok() != Some(0.0),
    }
}

/// A place in an event's text, and what is written there.
struct Stamp {
    place: Range<usize>,
    written: String,
}

impl Stamp {
    /// A field before all others of an object.
    fn first_in(object: &RawValue, text: &str, mut field: String) -> Self {
        let behind = place(object, text).start + 1;
        let rest = object.get().get(1..).unwrap_or_default();
        if !rest.trim_start().starts_with('}') {
            field.push(',');
        }
        Self {
            place: behind..behind,
            written: field,
        }
    }
}

/// Where a value that was found in a text stands in it.
fn place(value: &RawValue, text: &str) -> Range<usize> {
    let start = (value.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    start..start + value.get().len()
}

/// The text with its stamps, of which the outer one begins first; none where there are none.
fn stamp(text: &str, stamps: [Option<Stamp>; 2]) -> Option<String> {
    let mut out = String::new();
    let mut from = 0;
    for stamp in stamps.into_iter().flatten() {
        out.reserve(text.len() + 64);
        out.push_str(text.get(from..stamp.place.start)?);
        out.push_str(&stamp.written);
        from = stamp.place.end;
    }
    if from == 0 {
        return None;
    }
    out.push_str(text.get(from..)?);
    Some(out)
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

    /// What becomes of an event with these properties that came from an address.
    fn from(address: &str, properties: &str) -> String {
        let text = format!("{{\"timestamp\":\"t\",\"properties\":{properties},\"uuid\":\"a\"}}");
        let arrived = Received {
            at: time_of(0),
            from: Some(address.parse().unwrap()),
        };
        let kept = SpooledEvent::new(Bytes::from(text), arrived).unwrap();
        let kept = String::from_utf8(kept.body().to_vec()).unwrap();
        let kept = kept.strip_prefix("{\"timestamp\":\"t\",\"properties\":");
        kept.unwrap()
            .strip_suffix(",\"uuid\":\"a\"}")
            .unwrap()
            .to_owned()
    }

    #[test]
    fn an_event_gets_the_address_that_capture_would_have_taken_from_its_request() {
        let at = "203.0.113.7";
        for (properties, expected) in [
            ("{}", r#"{"$ip":"203.0.113.7"}"#),
            (" { } ", r#" {"$ip":"203.0.113.7" } "#),
            (r#"{"a":1.50}"#, r#"{"$ip":"203.0.113.7","a":1.50}"#),
            (r#"{"a":1,"$ip":null}"#, r#"{"a":1,"$ip":"203.0.113.7"}"#),
            (r#"{"$ip":"","b":2}"#, r#"{"$ip":"203.0.113.7","b":2}"#),
            (r#"{"$ip":0.0}"#, r#"{"$ip":"203.0.113.7"}"#),
            (r#"{"$ip":false}"#, r#"{"$ip":"203.0.113.7"}"#),
            (
                r#"{"$geoip_disable":false}"#,
                r#"{"$ip":"203.0.113.7","$geoip_disable":false}"#,
            ),
            // An address of its own, or none at all, is the sender's decision.
            (r#"{"$ip":"1.2.3.4"}"#, r#"{"$ip":"1.2.3.4"}"#),
            (r#"{"$ip":"0.0.0.0"}"#, r#"{"$ip":"0.0.0.0"}"#),
            (r#"{"$geoip_disable":true}"#, r#"{"$geoip_disable":true}"#),
            (
                r#"{"$ip":null,"$geoip_disable":1}"#,
                r#"{"$ip":null,"$geoip_disable":1}"#,
            ),
            (r#""none""#, r#""none""#),
            // A name within a value, or twice, is not the event's address.
            (
                r#"{"a":{"$ip":"1.2.3.4"}}"#,
                r#"{"$ip":"203.0.113.7","a":{"$ip":"1.2.3.4"}}"#,
            ),
        ] {
            assert_eq!(from(at, properties), expected, "{properties}");
        }
        assert_eq!(from("2001:db8::7", "{}"), r#"{"$ip":"2001:db8::7"}"#);
    }

    #[test]
    fn time_and_address_are_stamped_at_once() {
        let arrived = Received {
            at: time_of(1_000),
            from: Some("203.0.113.7".parse().unwrap()),
        };
        let text = Bytes::from_static(br#" {"uuid":"a","properties":{"x":1}} "#);
        let kept = SpooledEvent::new(text, arrived).unwrap();
        assert_eq!(
            std::str::from_utf8(kept.body()).unwrap(),
            r#" {"timestamp":"1970-01-01T00:00:01.000Z","uuid":"a","properties":{"$ip":"203.0.113.7","x":1}} "#
        );
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
                event(base).dedup_key() == event(&other).dedup_key(),
                same,
                "{what}"
            );
        }
        let without = r#"{"event":"x","timestamp":"2026-11-23T10:00:00Z","n":1}"#;
        assert_ne!(
            event(without).dedup_key(),
            event(&without.replace("1}", "2}")).dedup_key()
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
