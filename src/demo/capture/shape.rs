//! The shapes of a body and of an event (posthog-ingestion 1.2, 3.1).
//!
//! As in capture, serde itself checks the input, so capture rejects everything that these types reject.
//! This includes duplicate fields, null values and deep nesting.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::refusal::CaptureRefusal;

/// One event as it was sent.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct RawEvent {
    #[serde(alias = "api_key", alias = "$token", skip_serializing)]
    pub(super) token: Option<String>,
    #[serde(alias = "$distinct_id")]
    pub(super) distinct_id: Option<Value>,
    #[serde(default, deserialize_with = "uuid_or_nothing")]
    pub(super) uuid: Option<Uuid>,
    pub(super) event: String,
    #[serde(default)]
    pub(super) properties: Map<String, Value>,
    pub(super) timestamp: Option<String>,
    pub(super) offset: Option<i64>,
    #[serde(rename = "$set")]
    pub(super) set: Option<Map<String, Value>>,
    #[serde(rename = "$set_once")]
    pub(super) set_once: Option<Map<String, Value>>,
}

/// An event without a name.
#[derive(Debug, Deserialize)]
struct NamelessEvent {
    #[serde(alias = "api_key", alias = "$token")]
    token: Option<String>,
    #[serde(alias = "$distinct_id")]
    distinct_id: Option<Value>,
    #[serde(default, deserialize_with = "uuid_or_nothing")]
    uuid: Option<Uuid>,
    #[serde(default)]
    properties: Map<String, Value>,
    timestamp: Option<String>,
    offset: Option<i64>,
    #[serde(rename = "$set")]
    set: Option<Map<String, Value>>,
    #[serde(rename = "$set_once")]
    set_once: Option<Map<String, Value>>,
}

impl NamelessEvent {
    fn named(self, event: &str) -> RawEvent {
        RawEvent {
            token: self.token,
            distinct_id: self.distinct_id,
            uuid: self.uuid,
            event: event.to_owned(),
            properties: self.properties,
            timestamp: self.timestamp,
            offset: self.offset,
            set: self.set,
            set_once: self.set_once,
        }
    }
}

#[derive(Debug, Deserialize)]
struct BatchFields {
    #[serde(alias = "api_key")]
    token: String,
    #[serde(default)]
    historical_migration: Option<bool>,
    sent_at: Option<String>,
    batch: Vec<RawEvent>,
}

/// The shapes in the order in which they are tried.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum BodyShape {
    Array(Vec<RawEvent>),
    Batch(BatchFields),
    One(Box<RawEvent>),
    Nameless(Box<NamelessEvent>),
}

fn uuid_or_nothing<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Uuid>, D::Error> {
    match Option::<String>::deserialize(from)? {
        Some(text) if !text.is_empty() => Uuid::try_parse(&text)
            .map(Some)
            .map_err(|_| serde::de::Error::custom("invalid UUID")),
        _ => Ok(None),
    }
}

/// A body that fits one of the shapes.
#[derive(Debug)]
pub(super) struct CaptureBody {
    /// The envelope's token.
    pub(super) token: Option<String>,
    /// The envelope's `sent_at`.
    pub(super) sent_at: Option<String>,
    /// The envelope's `historical_migration`.
    pub(super) historical: Historical,
    /// The events, at least one, each with its JSON text.
    pub(super) events: Vec<(RawEvent, String)>,
}

/// Whether a batch is an import of old events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Historical {
    /// Live traffic.
    No,
    /// `historical_migration: true`.
    Yes,
}

/// Parses a body. An event without a name is accepted only if `path` is `/engage`.
pub(super) fn parse(text: &str, path: &str) -> Result<CaptureBody, CaptureRefusal> {
    let shape: BodyShape =
        serde_json::from_str(text).map_err(|error| CaptureRefusal::Parse(error.to_string()))?;
    let whole = || vec![text.trim().to_owned()];
    let (token, sent_at, historical, events, texts) = match shape {
        BodyShape::Array(events) => (None, None, Historical::No, events, array_texts(text)?),
        BodyShape::Batch(envelope) => (
            Some(envelope.token),
            envelope.sent_at,
            match envelope.historical_migration {
                Some(true) => Historical::Yes,
                _ => Historical::No,
            },
            envelope.batch,
            batch_texts(text)?,
        ),
        BodyShape::One(event) => (None, None, Historical::No, vec![*event], whole()),
        BodyShape::Nameless(event) if path.trim_end_matches('/') == "/engage" => {
            let event = event.named("$identify");
            (None, None, Historical::No, vec![event], whole())
        }
        BodyShape::Nameless(_) => return Err(CaptureRefusal::Hydrate),
    };
    if events.is_empty() {
        return Err(CaptureRefusal::EmptyBatch);
    }
    Ok(CaptureBody {
        token,
        sent_at,
        historical,
        events: events.into_iter().zip(texts).collect(),
    })
}

/// Returns the JSON text of each event with digits and spaces unchanged, so that tests can compare it.
fn array_texts(text: &str) -> Result<Vec<String>, CaptureRefusal> {
    let raw: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|error| CaptureRefusal::Parse(error.to_string()))?;
    Ok(raw.into_iter().map(|raw| raw.get().to_owned()).collect())
}

fn batch_texts(text: &str) -> Result<Vec<String>, CaptureRefusal> {
    #[derive(Deserialize)]
    struct BatchTexts<'a> {
        #[serde(borrow)]
        batch: Vec<&'a RawValue>,
    }
    let raw: BatchTexts<'_> =
        serde_json::from_str(text).map_err(|error| CaptureRefusal::Parse(error.to_string()))?;
    let texts = raw.batch.into_iter();
    Ok(texts.map(|raw| raw.get().to_owned()).collect())
}

impl RawEvent {
    /// Returns the token of this event, for a body without an envelope (posthog-ingestion 1.3).
    pub(super) fn own_token(&self) -> Option<&str> {
        match &self.token {
            Some(token) => Some(token),
            None => self.properties.get("token").and_then(Value::as_str),
        }
    }

    /// Returns the id as capture stores it (posthog-ingestion 3.2).
    pub(super) fn distinct_id(&self) -> Result<String, CaptureRefusal> {
        let given = match &self.distinct_id {
            None | Some(Value::Null) => self.properties.get("distinct_id"),
            given => given.as_ref(),
        };
        let text = match given {
            None | Some(Value::Null) => return Err(CaptureRefusal::MissingDistinctId),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        if text.trim().is_empty() {
            return Err(CaptureRefusal::MissingDistinctId);
        }
        Ok(text.replace('\0', "\u{fffd}").chars().take(200).collect())
    }

    /// Returns an error if `$cookieless_mode` is not a boolean, as capture does.
    pub(super) fn check_cookieless_mode(&self) -> Result<(), CaptureRefusal> {
        match self.properties.get("$cookieless_mode") {
            None | Some(Value::Bool(_)) => Ok(()),
            Some(_) => Err(CaptureRefusal::CookielessMode),
        }
    }
}
