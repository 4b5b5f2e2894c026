//! The v0 events endpoints: one handler for every path and every shape.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::payload;
use super::query::{CaptureQuery, Success};
use super::refusal::{check_token, CaptureRefusal};
use super::service::Capture;
use super::shape::{self, CaptureBody, RawEvent};
use super::store::{RequestFacts, StoredEvent, UuidOrigin};
use super::time::{self, EventTime};
use crate::handler::{Request, Response};

/// The most bytes of one event in the queue (posthog-ingestion 5.1).
const MESSAGE_LIMIT: usize = 1_000_000;

impl Capture {
    pub(super) fn take_v0(&self, request: &Request, number: u64, poison: Option<&str>) -> Response {
        match self.store_v0(request, number, poison) {
            Ok(Success::Nothing) => Response::empty(StatusCode::NO_CONTENT),
            Ok(Success::Body) => {
                Response::new(StatusCode::OK, "application/json", r#"{"status":"Ok"}"#)
            }
            Err(refusal) => Response::new(
                refusal.status(),
                "text/plain; charset=utf-8",
                refusal.to_string(),
            ),
        }
    }

    fn store_v0(
        &self,
        request: &Request,
        number: u64,
        poison: Option<&str>,
    ) -> Result<Success, CaptureRefusal> {
        if request.body.len() > payload::WIRE_LIMIT {
            return Err(CaptureRefusal::TooLarge("request body"));
        }
        let query = CaptureQuery::parse(request.query.as_deref())?;
        let text = payload::decode(request, &query)?;
        let mut body = shape::parse(&text, &request.path)?;
        let token = token_of(&body)?;
        let now = self.now();
        let sent_at = match body.sent_at.as_deref() {
            Some(text) => time::parse_moment(text),
            None => query.sent_at,
        };
        body.events
            .retain(|(event, _)| event.event != "$performance_event");
        let facts = Arc::new(RequestFacts {
            sent_at: body.sent_at,
            historical: body.historical,
            events: body.events.len(),
            ..RequestFacts::of(request, number, now)
        });
        let mut stored = Vec::with_capacity(body.events.len());
        for (event, raw) in body.events {
            if poison == Some(event.event.as_str()) {
                return Err(CaptureRefusal::Poisoned);
            }
            stored.push(self.process(event, raw, &token, sent_at, &facts)?);
        }
        self.store.accept(stored);
        Ok(query.success)
    }

    fn process(
        &self,
        event: RawEvent,
        raw: String,
        token: &str,
        sent_at: Option<DateTime<Utc>>,
        facts: &Arc<RequestFacts>,
    ) -> Result<StoredEvent, CaptureRefusal> {
        if event.event.is_empty() {
            return Err(CaptureRefusal::EmptyName);
        }
        event.check_cookieless_mode()?;
        let distinct_id = event.distinct_id()?;
        let ignores_sent_at = event.properties.get("$ignore_sent_at") == Some(&Value::Bool(true));
        let timestamp = time::compute(
            facts.at,
            EventTime {
                timestamp: event.timestamp.as_deref(),
                offset: event.offset,
                sent_at: sent_at.filter(|_| !ignores_sent_at),
            },
        );
        let (uuid, uuid_origin) = match event.uuid {
            Some(uuid) => (uuid, UuidOrigin::Sender),
            None => (self.next_uuid(timestamp), UuidOrigin::Capture),
        };
        let queued = Queued::new(&event, &distinct_id, uuid, token, timestamp, facts);
        if queued.size() > MESSAGE_LIMIT {
            return Err(CaptureRefusal::TooLarge("event rejected by the queue"));
        }
        Ok(StoredEvent {
            number: 0,
            token: token.to_owned(),
            event: event.event,
            distinct_id,
            uuid,
            uuid_origin,
            timestamp_sent: event.timestamp,
            timestamp,
            properties: event.properties,
            set: event.set,
            set_once: event.set_once,
            raw,
            request: Arc::clone(facts),
        })
    }
}

/// Returns the token of a request (posthog-ingestion 1.3).
fn token_of(body: &CaptureBody) -> Result<String, CaptureRefusal> {
    let token = match &body.token {
        Some(token) => token.as_str(),
        None => {
            let mut tokens: BTreeSet<&str> = body
                .events
                .iter()
                .filter_map(|(event, _)| event.own_token())
                .collect();
            match (tokens.pop_first(), tokens.pop_first()) {
                (None, _) => return Err(CaptureRefusal::NoToken),
                (Some(token), None) => token,
                (Some(_), Some(_)) => return Err(CaptureRefusal::SeveralTokens),
            }
        }
    };
    check_token(token)
        .map(str::to_owned)
        .map_err(CaptureRefusal::Token)
}

/// The message that capture puts into its queue. It contains the event as a string inside an envelope, so
/// each quote needs two bytes or more (posthog-ingestion 5.1).
#[derive(Serialize)]
pub(super) struct Queued<'a> {
    uuid: Uuid,
    distinct_id: &'a str,
    ip: String,
    data: String,
    now: String,
    sent_at: Option<&'a str>,
    token: &'a str,
    event: &'a str,
    timestamp: String,
}

impl<'a> Queued<'a> {
    pub(super) fn new(
        event: &'a RawEvent,
        distinct_id: &'a str,
        uuid: Uuid,
        token: &'a str,
        timestamp: DateTime<Utc>,
        facts: &'a RequestFacts,
    ) -> Self {
        Self {
            uuid,
            distinct_id,
            ip: facts
                .peer
                .map(|peer| peer.ip().to_string())
                .unwrap_or_default(),
            data: serde_json::to_string(event).unwrap_or_default(),
            now: facts.at.to_rfc3339_opts(SecondsFormat::Micros, true),
            sent_at: facts.sent_at.as_deref(),
            token,
            event: &event.event,
            timestamp: timestamp.to_rfc3339_opts(SecondsFormat::Micros, true),
        }
    }

    pub(super) fn size(&self) -> usize {
        // Serializing strings cannot fail. If it did, the largest size would reject the event.
        serde_json::to_vec(self).map_or(usize::MAX, |bytes| bytes.len())
    }
}
