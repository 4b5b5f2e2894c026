//! One entry: its content, and its form for a page.

use std::sync::OnceLock;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{json, Value};

use crate::delivery::Refusal;
use crate::masked;
use crate::rewrite::MessageOutcome;
use crate::segment::Kind;

use super::{pretty, redact, Visibility};
use crate::admin::advice;
use crate::admin::requests::RejectedRequest;

/// The most bytes of one side of an entry; a longer one is cut and marked.
pub(super) const SIDE_LIMIT: usize = 32 << 10;

/// The most characters of a name in a row.
const NAME: usize = 120;

/// The origin of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MessageOrigin<'a> {
    /// The project's name; empty if it is not known.
    pub project: &'a str,
    /// Host and path of the route; empty if it is not known.
    pub route: &'a str,
    /// The call of its request, such as `track` or `batch`.
    pub call: &'a str,
}

/// One message, or a request that became none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveEntry {
    /// Its number, from 1.
    pub number: u64,
    /// When it was recorded.
    pub at: DateTime<Utc>,
    /// Whose it is.
    pub project: String,
    /// Over which route it came.
    pub route: String,
    /// The call of its request.
    pub call: String,
    /// The Segment message, as it was in its body.
    pub came: String,
    /// Its outcome here.
    pub left: RewriteResult,
    /// Where each property of the event came from, as `convert --explain` has it.
    pub explanation: Option<String>,
    /// Its outcome after that.
    pub outcome: FinalOutcome,
    /// When that was known.
    pub settled: Option<DateTime<Utc>>,
    /// Grows with each new entry and each change of one: the state that a page has seen.
    pub version: u64,
    brief: OnceLock<RowSummary>,
}

/// The outcome of a message here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RewriteResult {
    /// It left as this PostHog event (JSON text).
    Event(String),
    /// It was left out on purpose: the code, and the reason.
    LeftOut(&'static str, String),
    /// It was refused: the code, and the reason.
    Refused(&'static str, String),
    /// It never became a message: the request was answered with this status and code.
    Rejected(&'static str, &'static str),
}

/// Where a message is in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinalOutcome {
    /// On its way to PostHog, or not known.
    UnderWay,
    /// PostHog has it.
    Delivered,
    /// It waits in the spool.
    InSpool,
    /// PostHog did not accept it, for this reason, and its client got 503 and retries.
    SentAgain(String),
    /// PostHog rejected it for good.
    RefusedByPostHog(Refusal),
    /// It was left out or refused here.
    DroppedHere,
    /// Its request was refused with this code, behind the message.
    DroppedWith(&'static str),
}

impl FinalOutcome {
    fn word(&self) -> &'static str {
        match self {
            Self::UnderWay => "under_way",
            Self::Delivered => "delivered",
            Self::InSpool => "in_spool",
            Self::SentAgain(_) => "sent_again",
            Self::RefusedByPostHog(_) => "refused_by_posthog",
            Self::DroppedHere | Self::DroppedWith(_) => "dropped_here",
        }
    }
}

/// The part of the two sides that a row shows, without keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct RowSummary {
    call: Option<String>,
    name: Option<String>,
    becomes: Option<String>,
    person: Option<String>,
}

impl LiveEntry {
    /// The entry of a message. Its number is given by the ring.
    pub(super) fn of_message(
        of: MessageOrigin<'_>,
        at: DateTime<Utc>,
        (shown, came): (Visibility, &[u8]),
        fate: MessageOutcome<'_>,
        explanation: Option<&[u8]>,
    ) -> Self {
        let event = match fate {
            MessageOutcome::Event(event) => Some(event),
            _ => None,
        };
        let redacted = match shown {
            Visibility::Shown => None,
            Visibility::Redacted => Some(redact::redacted(came, event)),
        };
        let came = redacted.as_deref().map_or(came, str::as_bytes);
        let brief = OnceLock::new();
        if came.len() > SIDE_LIMIT || event.is_some_and(|event| event.len() > SIDE_LIMIT) {
            // Text that is cut cannot be parsed later.
            let _ = brief.set(RowSummary::of(came, event));
        }
        let left = match fate {
            MessageOutcome::Event(event) => RewriteResult::Event(cut(event)),
            MessageOutcome::LeftOut(omission) => {
                RewriteResult::LeftOut(omission.code(), omission.to_string())
            }
            MessageOutcome::Refused(fault) => {
                RewriteResult::Refused(fault.code(), fault.to_string())
            }
        };
        Self {
            number: 0,
            at,
            project: of.project.to_owned(),
            route: of.route.to_owned(),
            call: of.call.to_owned(),
            came: cut(came),
            outcome: match &left {
                RewriteResult::Event(_) => FinalOutcome::UnderWay,
                RewriteResult::LeftOut(..)
                | RewriteResult::Refused(..)
                | RewriteResult::Rejected(..) => FinalOutcome::DroppedHere,
            },
            left,
            explanation: explanation.map(cut),
            settled: None,
            version: 0,
            brief,
        }
    }

    /// The entry of a request that became no message.
    pub(super) fn of_request(at: DateTime<Utc>, request: &RejectedRequest<'_>) -> Self {
        let line = format!("{} {}", request.method, request.path);
        let line = masked::text(&line).into_owned();
        let came = json!({
            "request": line,
            "route": request.route,
            "call": request.asked.word(),
            "write_key": request.key,
        });
        Self {
            number: 0,
            at,
            project: String::new(),
            route: request.route.to_owned(),
            call: request.asked.word().to_owned(),
            came: cut(came.to_string().as_bytes()),
            left: RewriteResult::Rejected(request.answered.status(), request.answered.code()),
            explanation: None,
            outcome: FinalOutcome::DroppedHere,
            settled: None,
            version: 0,
            brief: OnceLock::from(RowSummary {
                name: Some(shortened(&line)),
                ..RowSummary::default()
            }),
        }
    }

    /// An entry for a terminal only.
    pub fn alone(number: u64, at: DateTime<Utc>, came: &[u8], fate: MessageOutcome<'_>) -> Self {
        let came = (Visibility::Shown, came);
        Self {
            number,
            ..Self::of_message(MessageOrigin::default(), at, came, fate, None)
        }
    }

    /// How much it holds, roughly.
    pub(super) fn size(&self) -> usize {
        let left = match &self.left {
            RewriteResult::Event(text)
            | RewriteResult::LeftOut(_, text)
            | RewriteResult::Refused(_, text) => text.len(),
            RewriteResult::Rejected(..) => 0,
        };
        let explanation = self.explanation.as_ref().map_or(0, String::len);
        self.came.len() + left + explanation + size_of::<Self>()
    }

    /// Whether a text appears in one of the two sides, ignoring case.
    pub(super) fn contains(&self, text: &str) -> bool {
        let left = match &self.left {
            RewriteResult::Event(text)
            | RewriteResult::LeftOut(_, text)
            | RewriteResult::Refused(_, text) => text,
            RewriteResult::Rejected(_, code) => *code,
        };
        let text = text.to_lowercase();
        [self.came.as_str(), left]
            .iter()
            .any(|side| side.to_lowercase().contains(&text))
    }

    fn fate(&self) -> &'static str {
        match (&self.left, &self.outcome) {
            (RewriteResult::Event(_), FinalOutcome::RefusedByPostHog(_)) => "refused",
            (RewriteResult::Event(_), _) => "event",
            (RewriteResult::LeftOut(..), _) => "left_out",
            (RewriteResult::Refused(..), _) => "refused",
            (RewriteResult::Rejected(..), _) => "rejected",
        }
    }

    fn code(&self) -> Option<&'static str> {
        match (&self.outcome, &self.left) {
            (FinalOutcome::RefusedByPostHog(_), _) => Some("refused_by_posthog"),
            (FinalOutcome::DroppedWith(code), _) => Some(code),
            (
                _,
                RewriteResult::LeftOut(code, _)
                | RewriteResult::Refused(code, _)
                | RewriteResult::Rejected(_, code),
            ) => Some(code),
            (FinalOutcome::SentAgain(_), RewriteResult::Event(_)) => Some("try_again"),
            (_, RewriteResult::Event(_)) => None,
        }
    }

    /// The answer of PostHog, or of Hedgerow itself.
    fn answer(&self) -> Option<String> {
        match (&self.outcome, &self.left) {
            (FinalOutcome::Delivered, _) => Some("200".to_owned()),
            (FinalOutcome::RefusedByPostHog(Refusal { status, reason }), _) => {
                Some(format!("{status}: {reason}"))
            }
            (FinalOutcome::SentAgain(why), _) => Some(why.clone()),
            (_, RewriteResult::Rejected(status, code)) => Some(format!("{status} {code}")),
            _ => None,
        }
    }

    /// The type of the message: by the path of its request, otherwise by the message itself.
    fn kind<'e>(&'e self, brief: &'e RowSummary) -> &'e str {
        match (self.call.as_str(), &brief.call) {
            ("" | "batch" | "pixel", Some(call)) => call,
            (call, _) => call,
        }
    }

    /// As a row of the list: everything but the two sides.
    pub(super) fn row(&self) -> Value {
        let brief = self.brief.get_or_init(|| {
            let event = match &self.left {
                RewriteResult::Event(event) => Some(event.as_bytes()),
                _ => None,
            };
            RowSummary::of(self.came.as_bytes(), event)
        });
        let took = self
            .settled
            .map(|settled| (settled - self.at).num_milliseconds().max(0));
        json!({
            "number": self.number,
            "at": self.at.to_rfc3339_opts(SecondsFormat::Millis, true),
            "project": self.project,
            "route": self.route,
            "call": self.kind(brief),
            "asked": self.call,
            "type": Kind::of_type(&self.call).map(Kind::name),
            "name": brief.name,
            "becomes": brief.becomes,
            "person": brief.person,
            "fate": self.fate(),
            "outcome": self.outcome.word(),
            "code": self.code(),
            "answer": self.answer(),
            "took": took,
        })
    }

    /// With everything: `came` and `left` are indented JSON text or a reason, `explain` is an
    /// object from property to origin, `advice` is the documents' text about the code.
    pub(super) fn detail(&self) -> Value {
        let mut detail = self.row();
        let left = match &self.left {
            RewriteResult::Event(event) => pretty::indent(event),
            RewriteResult::LeftOut(_, reason) | RewriteResult::Refused(_, reason) => reason.clone(),
            RewriteResult::Rejected(status, code) => format!("{status} {code}"),
        };
        let explain: Option<Value> = self
            .explanation
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok());
        let advice = self
            .code()
            .and_then(|code| advice::of(self.fate(), code))
            .map(|advice| json!({"says": advice.says, "document": advice.document}));
        if let Some(detail) = detail.as_object_mut() {
            for (key, value) in [
                ("came", json!(pretty::indent(&self.came))),
                ("left", json!(left)),
                ("explain", json!(explain)),
                ("advice", json!(advice)),
            ] {
                detail.insert(key.to_owned(), value);
            }
        }
        detail
    }
}

impl RowSummary {
    /// The contents of the two sides; nothing for a part that cannot be parsed.
    fn of(came: &[u8], event: Option<&[u8]>) -> Self {
        let came: Value = serde_json::from_slice(came).unwrap_or_default();
        let left: Value = event
            .and_then(|event| serde_json::from_slice(event).ok())
            .unwrap_or_default();
        let text = |value: &Value, key: &str| value.get(key).and_then(short);
        // For an event that PostHog rejected, the event replaces its message.
        let properties = left.get("properties").or_else(|| came.get("properties"));
        let person = properties.and_then(|properties| text(properties, "distinct_id"));
        Self {
            call: text(&came, "type"),
            name: text(&came, "event").or_else(|| text(&came, "name")),
            becomes: text(&left, "event"),
            person: person
                .or_else(|| text(&came, "userId"))
                .or_else(|| text(&came, "anonymousId")),
        }
    }
}

fn short(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(shortened(text)),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn shortened(text: &str) -> String {
    let text = masked::text(text);
    match text.char_indices().nth(NAME) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.into_owned(),
    }
}

fn cut(bytes: &[u8]) -> String {
    match bytes.get(..SIDE_LIMIT) {
        Some(head) if bytes.len() > SIDE_LIMIT => {
            let rest = bytes.len() - SIDE_LIMIT;
            format!("{} … {rest} more bytes", String::from_utf8_lossy(head))
        }
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}
