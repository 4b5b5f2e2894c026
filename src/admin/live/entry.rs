//! One entry of the live view: its content, and its JSON for the page.

use std::sync::OnceLock;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{json, Value};

use crate::delivery::Refusal;
use crate::masked;
use crate::rewrite::MessageOutcome;
use crate::segment::Kind;

use super::visibility::Visibility;
use super::{pretty, redact};
use crate::admin::advice;
use crate::admin::requests::RejectedRequest;

/// The maximum number of bytes of one side of an entry. A longer side is cut, and the cut is marked.
pub(super) const SIDE_LIMIT: usize = 32 << 10;

/// The maximum number of characters of a name in a row.
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

/// One message, or a request that produced no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveEntry {
    /// The number of the entry, from 1.
    pub number: u64,
    /// The time at which the entry was recorded.
    pub at: DateTime<Utc>,
    /// The name of the project; empty if it is not known.
    pub project: String,
    /// Host and path of the route; empty if it is not known.
    pub route: String,
    /// The call of its request.
    pub call: String,
    /// The Segment message, as the body contained it.
    pub original: String,
    /// The result of the rewriting.
    pub result: RewriteResult,
    /// The origin of each property of the event, as `convert --explain` prints it.
    pub explanation: Option<String>,
    /// The outcome after the rewriting.
    pub outcome: FinalOutcome,
    /// The time at which the final outcome replaced the first one, if it has.
    pub final_at: Option<DateTime<Utc>>,
    /// The version of the entry. Each new entry and each change of an entry gets the next version, so that
    /// a page can request everything after the last version that it has seen.
    pub version: u64,
    summary: OnceLock<RowSummary>,
}

/// The result of rewriting a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RewriteResult {
    /// The message was converted into this PostHog event (JSON text).
    Event(String),
    /// The message was dropped on purpose: the code, and the reason.
    LeftOut(&'static str, String),
    /// The message was refused: the code, and the reason.
    Refused(&'static str, String),
    /// The request produced no message: it was answered with this status and code.
    Rejected(&'static str, &'static str),
}

/// The final outcome of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinalOutcome {
    /// The event is on its way to PostHog, or its outcome is not known.
    UnderWay,
    /// PostHog has accepted the event.
    Delivered,
    /// The event waits in the spool.
    InSpool,
    /// PostHog did not accept the event, for this reason. The client got 503 and retries.
    SentAgain(String),
    /// PostHog rejected the event for good.
    RefusedByPostHog(Refusal),
    /// Hedgerow dropped or refused the message.
    DroppedHere,
    /// Hedgerow refused the request with this code, because of an error after the message.
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

/// The parts of the two sides that a row shows. Keys are masked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct RowSummary {
    call: Option<String>,
    name: Option<String>,
    becomes: Option<String>,
    person: Option<String>,
}

impl LiveEntry {
    /// Creates the entry of a message. The ring sets its number.
    pub(super) fn of_message(
        of: MessageOrigin<'_>,
        at: DateTime<Utc>,
        (visibility, original): (Visibility, &[u8]),
        message_outcome: MessageOutcome<'_>,
        explanation: Option<&[u8]>,
    ) -> Self {
        let event = match message_outcome {
            MessageOutcome::Event(event) => Some(event),
            _ => None,
        };
        let redacted = match visibility {
            Visibility::Shown => None,
            Visibility::Redacted => Some(redact::redacted(original, event)),
        };
        let original = redacted.as_deref().map_or(original, str::as_bytes);
        let summary = OnceLock::new();
        if original.len() > SIDE_LIMIT || event.is_some_and(|event| event.len() > SIDE_LIMIT) {
            // Cut text cannot be parsed later, so the summary is read now.
            let _ = summary.set(RowSummary::of(original, event));
        }
        let result = match message_outcome {
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
            original: cut(original),
            outcome: match &result {
                RewriteResult::Event(_) => FinalOutcome::UnderWay,
                RewriteResult::LeftOut(..)
                | RewriteResult::Refused(..)
                | RewriteResult::Rejected(..) => FinalOutcome::DroppedHere,
            },
            result,
            explanation: explanation.map(cut),
            final_at: None,
            version: 0,
            summary,
        }
    }

    /// Creates the entry of a request that produced no message.
    pub(super) fn of_request(at: DateTime<Utc>, request: &RejectedRequest<'_>) -> Self {
        let line = format!("{} {}", request.method, request.path);
        let line = masked::text(&line).into_owned();
        let original = json!({
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
            original: cut(original.to_string().as_bytes()),
            result: RewriteResult::Rejected(request.answered.status(), request.answered.code()),
            explanation: None,
            outcome: FinalOutcome::DroppedHere,
            final_at: None,
            version: 0,
            summary: OnceLock::from(RowSummary {
                name: Some(shortened(&line)),
                ..RowSummary::default()
            }),
        }
    }

    /// Creates an entry that is only printed on a terminal.
    pub fn alone(
        number: u64,
        at: DateTime<Utc>,
        original: &[u8],
        message_outcome: MessageOutcome<'_>,
    ) -> Self {
        let original = (Visibility::Shown, original);
        Self {
            number,
            ..Self::of_message(
                MessageOrigin::default(),
                at,
                original,
                message_outcome,
                None,
            )
        }
    }

    /// Returns the approximate size in memory, in bytes.
    pub(super) fn size(&self) -> usize {
        let result = match &self.result {
            RewriteResult::Event(text)
            | RewriteResult::LeftOut(_, text)
            | RewriteResult::Refused(_, text) => text.len(),
            RewriteResult::Rejected(..) => 0,
        };
        let explanation = self.explanation.as_ref().map_or(0, String::len);
        self.original.len() + result + explanation + size_of::<Self>()
    }

    /// Returns whether one of the two sides contains a text, ignoring case.
    pub(super) fn contains(&self, text: &str) -> bool {
        let result = match &self.result {
            RewriteResult::Event(text)
            | RewriteResult::LeftOut(_, text)
            | RewriteResult::Refused(_, text) => text,
            RewriteResult::Rejected(_, code) => *code,
        };
        let text = text.to_lowercase();
        [self.original.as_str(), result]
            .iter()
            .any(|side| side.to_lowercase().contains(&text))
    }

    fn result_word(&self) -> &'static str {
        match (&self.result, &self.outcome) {
            (RewriteResult::Event(_), FinalOutcome::RefusedByPostHog(_)) => "refused",
            (RewriteResult::Event(_), _) => "event",
            (RewriteResult::LeftOut(..), _) => "left_out",
            (RewriteResult::Refused(..), _) => "refused",
            (RewriteResult::Rejected(..), _) => "rejected",
        }
    }

    fn code(&self) -> Option<&'static str> {
        match (&self.outcome, &self.result) {
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

    /// Returns the answer of PostHog, or of Hedgerow itself.
    fn answer(&self) -> Option<String> {
        match (&self.outcome, &self.result) {
            (FinalOutcome::Delivered, _) => Some("200".to_owned()),
            (FinalOutcome::RefusedByPostHog(Refusal { status, reason }), _) => {
                Some(format!("{status}: {reason}"))
            }
            (FinalOutcome::SentAgain(reason), _) => Some(reason.clone()),
            (_, RewriteResult::Rejected(status, code)) => Some(format!("{status} {code}")),
            _ => None,
        }
    }

    /// Returns the type of the message: the call of its request or, for a batch, a pixel or an unknown
    /// call, the `type` of the message itself.
    fn kind<'e>(&'e self, summary: &'e RowSummary) -> &'e str {
        match (self.call.as_str(), &summary.call) {
            ("" | "batch" | "pixel", Some(call)) => call,
            (call, _) => call,
        }
    }

    /// Returns the entry as a row of the list, without the texts of the two sides.
    pub(super) fn row(&self) -> Value {
        let summary = self.summary.get_or_init(|| {
            let event = match &self.result {
                RewriteResult::Event(event) => Some(event.as_bytes()),
                _ => None,
            };
            RowSummary::of(self.original.as_bytes(), event)
        });
        let duration = self
            .final_at
            .map(|final_at| (final_at - self.at).num_milliseconds().max(0));
        json!({
            "number": self.number,
            "at": self.at.to_rfc3339_opts(SecondsFormat::Millis, true),
            "project": self.project,
            "route": self.route,
            "call": self.kind(summary),
            "asked": self.call,
            "type": Kind::of_type(&self.call).map(Kind::name),
            "name": summary.name,
            "becomes": summary.becomes,
            "person": summary.person,
            "fate": self.result_word(),
            "outcome": self.outcome.word(),
            "code": self.code(),
            "answer": self.answer(),
            "took": duration,
        })
    }

    /// Returns the complete entry: `came` and `left` are indented JSON text or a reason, `explain` is an
    /// object from property to origin, `advice` is the text of the documentation about the code.
    pub(super) fn detail(&self) -> Value {
        let mut detail = self.row();
        let result = match &self.result {
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
            .and_then(|code| advice::of(self.result_word(), code))
            .map(|advice| json!({"says": advice.text, "document": advice.document}));
        if let Some(detail) = detail.as_object_mut() {
            for (key, value) in [
                ("came", json!(pretty::indent(&self.original))),
                ("left", json!(result)),
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
    /// Reads the summary from the two sides. A side that cannot be parsed adds nothing.
    fn of(original: &[u8], event: Option<&[u8]>) -> Self {
        let original: Value = serde_json::from_slice(original).unwrap_or_default();
        let result: Value = event
            .and_then(|event| serde_json::from_slice(event).ok())
            .unwrap_or_default();
        let text = |value: &Value, key: &str| value.get(key).and_then(short);
        // If PostHog rejected the event, `original` may be the event instead of its message.
        let properties = result
            .get("properties")
            .or_else(|| original.get("properties"));
        let person = properties.and_then(|properties| text(properties, "distinct_id"));
        Self {
            call: text(&original, "type"),
            name: text(&original, "event").or_else(|| text(&original, "name")),
            becomes: text(&result, "event"),
            person: person
                .or_else(|| text(&original, "userId"))
                .or_else(|| text(&original, "anonymousId")),
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
