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
    pub came: String,
    /// The result of the rewriting.
    pub left: RewriteResult,
    /// The origin of each property of the event, as `convert --explain` prints it.
    pub explanation: Option<String>,
    /// The outcome after the rewriting.
    pub outcome: FinalOutcome,
    /// The time at which the final outcome replaced the first one, if it has.
    pub settled: Option<DateTime<Utc>>,
    /// The version of the entry. Each new entry and each change of an entry gets the next version, so that
    /// a page can request everything after the last version that it has seen.
    pub version: u64,
    brief: OnceLock<RowSummary>,
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
            // Cut text cannot be parsed later, so the summary is read now.
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

    /// Creates the entry of a request that produced no message.
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

    /// Creates an entry that is only printed on a terminal.
    pub fn alone(number: u64, at: DateTime<Utc>, came: &[u8], fate: MessageOutcome<'_>) -> Self {
        let came = (Visibility::Shown, came);
        Self {
            number,
            ..Self::of_message(MessageOrigin::default(), at, came, fate, None)
        }
    }

    /// Returns the approximate size in memory, in bytes.
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

    /// Returns whether one of the two sides contains a text, ignoring case.
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

    /// Returns the answer of PostHog, or of Hedgerow itself.
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

    /// Returns the type of the message: the call of its request or, for a batch, a pixel or an unknown
    /// call, the `type` of the message itself.
    fn kind<'e>(&'e self, brief: &'e RowSummary) -> &'e str {
        match (self.call.as_str(), &brief.call) {
            ("" | "batch" | "pixel", Some(call)) => call,
            (call, _) => call,
        }
    }

    /// Returns the entry as a row of the list, without the texts of the two sides.
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

    /// Returns the complete entry: `came` and `left` are indented JSON text or a reason, `explain` is an
    /// object from property to origin, `advice` is the text of the documentation about the code.
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
    /// Reads the summary from the two sides. A side that cannot be parsed adds nothing.
    fn of(came: &[u8], event: Option<&[u8]>) -> Self {
        let came: Value = serde_json::from_slice(came).unwrap_or_default();
        let left: Value = event
            .and_then(|event| serde_json::from_slice(event).ok())
            .unwrap_or_default();
        let text = |value: &Value, key: &str| value.get(key).and_then(short);
        // If PostHog rejected the event, `came` may be the event instead of its message.
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
