//! A short form of the v1 endpoint. It checks requests strictly and returns a result for each event
//! (posthog-ingestion 1.10).

use std::collections::HashSet;
use std::io::Read;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};
use http::header::HeaderName;
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{json, Map, Value};
use uuid::Uuid;

use super::refusal::check_token;
use super::service::Capture;
use super::shape::{Historical, RawEvent};
use super::store::{RequestFacts, StoredEvent, UuidOrigin};
use super::time::{self, EventTime};
use super::v0::Queued;
use crate::handler::{Request, Response};

const WIRE_LIMIT: usize = 10 << 20;
const INFLATED_LIMIT: usize = 50 << 20;
const MESSAGE_LIMIT: usize = 1_000_000;

/// The headers that a v1 request needs in addition to its authorization.
const HEADERS: [&str; 5] = [
    "posthog-sdk-info",
    "posthog-attempt",
    "posthog-request-id",
    "posthog-request-timestamp",
    "user-agent",
];

struct Error(StatusCode, &'static str, String);

impl Error {
    fn bad(code: &'static str, description: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, code, description.into())
    }
}

#[derive(Deserialize)]
struct V1Envelope<'a> {
    created_at: String,
    historical_migration: Option<bool>,
    #[serde(borrow)]
    batch: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    event: String,
    uuid: String,
    #[serde(default)]
    distinct_id: String,
    timestamp: String,
    session_id: Option<String>,
    window_id: Option<String>,
    #[serde(default)]
    options: EventOptions,
    #[serde(default)]
    properties: Map<String, Value>,
}

#[derive(Default, Deserialize)]
struct EventOptions {
    process_person_profile: Option<bool>,
    cookieless_mode: Option<bool>,
    disable_skew_correction: Option<bool>,
}

impl Capture {
    pub(super) fn take_v1(&self, request: &Request, number: u64, poison: Option<&str>) -> Response {
        let (status, answer) = match self.store_v1(request, number, poison) {
            Ok(results) => (StatusCode::OK, json!({ "results": results })),
            Err(Error(status, error, description)) => (
                status,
                json!({"error": error, "error_description": description, "error_uri": null}),
            ),
        };
        let answer = Response::new(status, "application/json", answer.to_string());
        let request_id = HeaderName::from_static("posthog-request-id");
        match request.headers.get(&request_id) {
            Some(value) => answer.with(request_id, value.clone()),
            None => answer,
        }
    }

    fn store_v1(
        &self,
        request: &Request,
        number: u64,
        poison: Option<&str>,
    ) -> Result<Map<String, Value>, Error> {
        let token = bearer(request)?;
        let sent_at = context(request)?;
        let body = body_of(request)?;
        let parsing =
            |error: serde_json::Error| Error::bad("request_parsing_error", error.to_string());
        let envelope: V1Envelope<'_> = serde_json::from_slice(&body).map_err(parsing)?;
        if DateTime::parse_from_rfc3339(&envelope.created_at).is_err() {
            return Err(Error::bad("request_parsing_error", "created_at"));
        }
        if envelope.batch.is_empty() {
            return Err(Error::bad("empty_batch", "the batch holds no event"));
        }
        let mut events = Vec::with_capacity(envelope.batch.len());
        let mut seen = HashSet::new();
        for raw in envelope.batch {
            let event: Event = serde_json::from_str(raw.get()).map_err(parsing)?;
            let uuid = Uuid::try_parse(&event.uuid)
                .map_err(|_| Error::bad("invalid_event_uuid", "a uuid cannot be read"))?;
            if !seen.insert(uuid) {
                return Err(Error::bad("duplicate_event_uuid", uuid.to_string()));
            }
            if poison == Some(event.event.as_str()) {
                return Err(Error::bad("invalid_event", "poisoned on purpose"));
            }
            events.push((event, uuid, raw.get().to_owned()));
        }
        let facts = Arc::new(RequestFacts {
            historical: match envelope.historical_migration {
                Some(true) => Historical::Yes,
                _ => Historical::No,
            },
            events: events.len(),
            ..RequestFacts::of(request, number, self.now())
        });
        let mut results = Map::new();
        let mut stored = Vec::new();
        for (event, uuid, raw) in events {
            let result = match process(event, uuid, raw, &token, sent_at, &facts) {
                Ok(event) => {
                    stored.push(event);
                    json!({"result": "ok"})
                }
                Err(details) => json!({"result": "drop", "details": details}),
            };
            results.insert(uuid.to_string(), result);
        }
        self.store.accept(stored);
        Ok(results)
    }
}

fn bearer(request: &Request) -> Result<String, Error> {
    let unauthorized = |code| Error(StatusCode::UNAUTHORIZED, code, String::new());
    let authorization = request
        .header("authorization")
        .ok_or_else(|| unauthorized("missing_authorization"))?;
    let token = match authorization.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token,
        _ => return Err(unauthorized("invalid_authorization")),
    };
    match check_token(token) {
        Ok(token) => Ok(token.to_owned()),
        Err(_) => Err(unauthorized("invalid_api_token")),
    }
}

/// Checks the mandatory headers and returns the sender's time.
fn context(request: &Request) -> Result<DateTime<Utc>, Error> {
    let missing: Vec<&str> = HEADERS
        .into_iter()
        .filter(|name| request.header(*name).is_none())
        .collect();
    if !missing.is_empty() {
        return Err(Error::bad("missing_required_headers", missing.join(", ")));
    }
    let media_type = request.header("content-type").unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        let code = "unsupported_content_type";
        return Err(Error(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            code,
            String::new(),
        ));
    }
    let header = |name| request.header(name).unwrap_or_default();
    let attempt = header("posthog-attempt").parse::<u32>().unwrap_or_default();
    let moment = DateTime::parse_from_rfc3339(header("posthog-request-timestamp"));
    match moment {
        Ok(moment) if attempt > 0 && Uuid::try_parse(header("posthog-request-id")).is_ok() => {
            Ok(moment.to_utc())
        }
        _ => Err(Error::bad("invalid_headers", String::new())),
    }
}

fn body_of(request: &Request) -> Result<Vec<u8>, Error> {
    let too_large = || {
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        Error(status, "payload_too_large", String::new())
    };
    if request.body.len() > WIRE_LIMIT {
        return Err(too_large());
    }
    let body = &request.body[..];
    let read = |decoder: &mut dyn Read| {
        let mut inflated = Vec::new();
        decoder
            .take(INFLATED_LIMIT as u64 + 1)
            .read_to_end(&mut inflated)
            .map(|_| inflated)
    };
    let inflated = match request.header("content-encoding") {
        None | Some("") | Some("identity") => Ok(body.to_vec()),
        Some("gzip") => read(&mut GzDecoder::new(body)),
        // The standard requires the zlib format, but some senders send raw deflate.
        Some("deflate") => {
            read(&mut ZlibDecoder::new(body)).or_else(|_| read(&mut DeflateDecoder::new(body)))
        }
        Some(_) => {
            let code = "unsupported_content_encoding";
            return Err(Error(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                code,
                String::new(),
            ));
        }
    };
    let inflated = inflated.map_err(|_| Error::bad("request_decoding_error", ""))?;
    if inflated.len() > INFLATED_LIMIT {
        return Err(too_large());
    }
    Ok(inflated)
}

/// Returns the event to store, or the reason to drop it.
fn process(
    event: Event,
    uuid: Uuid,
    raw: String,
    token: &str,
    sent_at: DateTime<Utc>,
    facts: &Arc<RequestFacts>,
) -> Result<StoredEvent, &'static str> {
    let distinct_id = event.distinct_id.trim();
    if event.event.is_empty() {
        return Err("missing_event_name");
    }
    if event.event.len() > 200 {
        return Err("event_name_too_long");
    }
    if distinct_id.is_empty() {
        return Err("missing_distinct_id");
    }
    if distinct_id.len() > 200 {
        return Err("distinct_id_too_large");
    }
    if DateTime::parse_from_rfc3339(&event.timestamp).is_err() {
        return Err("invalid_event_timestamp");
    }
    if event.event == "$performance_event" {
        return Err("dropped_performance_event");
    }
    let skewed = event.options.disable_skew_correction != Some(true);
    let timestamp = time::compute(
        facts.at,
        EventTime {
            timestamp: Some(&event.timestamp),
            offset: None,
            sent_at: Some(sent_at).filter(|_| skewed),
        },
    );
    let mut properties = event.properties;
    let texts = [
        ("$session_id", event.session_id),
        ("$window_id", event.window_id),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            properties.insert(name.to_owned(), Value::String(text));
        }
    }
    let flags = [
        (
            "$process_person_profile",
            event.options.process_person_profile,
        ),
        ("$cookieless_mode", event.options.cookieless_mode),
    ];
    for (name, flag) in flags {
        if let Some(flag) = flag {
            properties.insert(name.to_owned(), Value::Bool(flag));
        }
    }
    let library = facts.headers.get("posthog-sdk-info");
    if let Some((name, version)) = library
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once('/'))
    {
        properties.insert("$lib".to_owned(), name.into());
        properties.insert("$lib_version".to_owned(), version.into());
    }
    let queued = RawEvent {
        token: None,
        distinct_id: None,
        uuid: Some(uuid),
        event: event.event,
        properties,
        timestamp: Some(event.timestamp),
        offset: None,
        set: None,
        set_once: None,
    };
    if Queued::new(&queued, distinct_id, uuid, token, timestamp, facts).size() > MESSAGE_LIMIT {
        return Err("event_too_big");
    }
    Ok(StoredEvent {
        number: 0,
        token: token.to_owned(),
        event: queued.event,
        distinct_id: distinct_id.to_owned(),
        uuid,
        uuid_origin: UuidOrigin::Sender,
        timestamp_sent: queued.timestamp,
        timestamp,
        properties: queued.properties,
        set: None,
        set_once: None,
        raw,
        request: Arc::clone(facts),
    })
}
