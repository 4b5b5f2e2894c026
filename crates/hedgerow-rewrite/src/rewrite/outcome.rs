//! The outcomes of messages and bodies, with stable names that a user can look up.

use thiserror::Error;

use super::json::Malformed;
use crate::segment::Kind;

/// Observes each original message and its outcome.
pub trait Watch {
    /// Called once for each message of a body, in order, counted from 0.
    fn message(&mut self, index: usize, original: &[u8], outcome: MessageOutcome<'_>);

    /// Called before [`message`](Self::message) with the same index, for a message that became an event,
    /// if [`Explanations::On`](super::Explanations::On) was asked for. The explanation is a JSON object that
    /// maps each property to its origin. A later call for the same index replaces it.
    fn explained(&mut self, _index: usize, _explanation: &[u8]) {}

    /// Called for a fact that the operator should know, other than the outcome of a message.
    fn notice(&mut self, _: Notice<'_>) {}
}

/// A fact that the operator should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// Events name a sixth group type. Reported once for each project; the sender chose the name.
    #[error(
        "events name a sixth group type; PostHog keeps the first five of a project and silently ignores every other one"
    )]
    SixthGroupType {
        /// The type.
        group_type: &'a str,
    },
    /// `sentAt` is after `batch` in a body larger than `limits.window`. The messages have already left,
    /// so it does not correct their times.
    #[error(
        "sentAt comes after batch in a body larger than limits.window, so the times of its messages \
         are not corrected"
    )]
    LateSentAt,
    /// A message's time cannot be read or used; its event gets the time of its arrival.
    #[error(
        "the time of a message cannot be read; its event gets the time of its arrival, and keeps the original text as segment_original_timestamp"
    )]
    UnreadableTime,
    /// A `sentAt` cannot be read; the times of its messages are not corrected.
    #[error("sentAt cannot be read; times are not corrected by the sender's clock")]
    UnreadableSentAt,
    /// The time of an event is more than 23 hours after its arrival (posthog-ingestion 3.5).
    #[error(
        "the time of a message is more than 23 hours ahead; PostHog puts the time of the event's arrival in its place"
    )]
    FutureTime,
    /// A group call names no group.
    #[error("a group call has no groupId; PostHog changes no group for its event")]
    GroupWithoutId,
    /// An alias call has no `previousId`, and the visitor has no id that could replace it.
    #[error("an alias call has no previousId; PostHog merges no persons for its event")]
    AliasWithoutPreviousId,
}

impl Notice<'_> {
    /// A short stable name, for counters and logs.
    pub fn code(self) -> &'static str {
        match self {
            Self::SixthGroupType { .. } => "sixth_group_type",
            Self::LateSentAt => "late_sent_at",
            Self::UnreadableTime => "unreadable_time",
            Self::UnreadableSentAt => "unreadable_sent_at",
            Self::FutureTime => "future_time",
            Self::GroupWithoutId => "group_without_id",
            Self::AliasWithoutPreviousId => "alias_without_previous_id",
        }
    }
}

/// Ignores all outcomes.
impl Watch for () {
    fn message(&mut self, _: usize, _: &[u8], _: MessageOutcome<'_>) {}
}

/// The outcome of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageOutcome<'a> {
    /// It became this PostHog event (JSON text).
    Event(&'a [u8]),
    /// It was left out on purpose; the message is valid.
    LeftOut(Omission),
    /// Capture would refuse it, and with it the whole batch.
    Refused(Fault),
}

/// Why a valid message becomes no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Omission {
    /// Its `integrations` exclude PostHog.
    #[error("its integrations exclude PostHog; `mapping.integrations: ignore` would send it")]
    Integrations,
    /// It is an alias of an id to itself, which merges nothing.
    #[error("it is an alias of an id to itself")]
    SelfAlias,
    /// `mapping.person_profiles` is `never`, and it could only change a profile or a group.
    #[error("it would only change a person, and person profiles are switched off")]
    PersonProfiles,
    /// PostHog has accepted the same message before, and `mapping.repeats` is `suppress`.
    #[error("PostHog has accepted it before")]
    Repeat,
    /// The request has `Sec-GPC: 1`, and `privacy.global_privacy_control` is `drop`.
    #[error("the visitor's browser has sent Sec-GPC: 1")]
    GlobalPrivacyControl,
    /// The request has `DNT: 1`, and `privacy.do_not_track` is `drop`.
    #[error("the visitor's browser has sent DNT: 1")]
    DoNotTrack,
    /// The visitor has not consented to a category of `privacy.consent` that is set to `drop`.
    #[error("the visitor has not consented to a category of `privacy.consent`")]
    Consent,
    /// The visitor must stay anonymous, and the message could only identify the visitor.
    #[error("it only identifies the visitor, who has to stay anonymous")]
    Anonymous,
    /// One of the site's own rules drops it.
    #[error("one of the configuration's `rules` drops it")]
    Rule,
}

impl Omission {
    /// A short stable name, for counters and logs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Integrations => "integrations",
            Self::SelfAlias => "self_alias",
            Self::PersonProfiles => "person_profiles",
            Self::Repeat => "repeat",
            Self::GlobalPrivacyControl => "global_privacy_control",
            Self::DoNotTrack => "do_not_track",
            Self::Consent => "consent",
            Self::Anonymous => "anonymous",
            Self::Rule => "rule",
        }
    }
}

/// Why a message cannot become an event that PostHog accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Fault {
    /// An item of a batch that is not an object.
    #[error("the message is not an object")]
    NotAnObject,
    /// A message in a batch without a `type`, if the path names no call either.
    #[error("the message has no type")]
    MissingType,
    /// A type that is none of Segment's calls.
    #[error("the type is none of {}", Kind::names())]
    UnknownType,
    /// Neither a usable `userId` nor a usable `anonymousId`.
    #[error("neither userId nor anonymousId is usable")]
    MissingDistinctId,
    /// A track call without an event name.
    #[error("a track call needs an event name")]
    MissingEvent,
    /// An event name that is not a string.
    #[error("the event name is not a string")]
    EventNotText,
    /// A `previousId` that is neither a string nor a number.
    #[error("previousId is neither a string nor a number")]
    PreviousIdNotText,
    /// Capture refuses a `$cookieless_mode` that is not a boolean.
    #[error("$cookieless_mode is not a boolean")]
    CookielessNotBoolean,
    /// More nested arrays and objects than capture's parser accepts.
    #[error("arrays and objects are nested too deeply")]
    TooDeep,
    /// Larger than `limits.event`.
    #[error("the event is larger than limits.event")]
    TooLarge,
    /// PostHog itself refused the event for good. The rewriting never returns this.
    #[error("PostHog itself refuses the event for good")]
    RefusedByPostHog,
}

impl Fault {
    /// A short stable name, for counters and logs.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotAnObject => "not_an_object",
            Self::MissingType => "missing_type",
            Self::UnknownType => "unknown_type",
            Self::MissingDistinctId => "missing_distinct_id",
            Self::MissingEvent => "missing_event",
            Self::EventNotText => "event_not_text",
            Self::PreviousIdNotText => "previous_id_not_text",
            Self::CookielessNotBoolean => "cookieless_not_boolean",
            Self::TooDeep => "too_deep",
            Self::TooLarge => "too_large",
            Self::RefusedByPostHog => "refused_by_posthog",
        }
    }
}

/// Why a message becomes no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoEvent {
    LeftOut(Omission),
    Refused(Fault),
}

impl From<Omission> for NoEvent {
    fn from(omission: Omission) -> Self {
        Self::LeftOut(omission)
    }
}

impl From<Fault> for NoEvent {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault)
    }
}

impl NoEvent {
    pub(super) fn outcome(self) -> MessageOutcome<'static> {
        match self {
            Self::LeftOut(omission) => MessageOutcome::LeftOut(omission),
            Self::Refused(fault) => MessageOutcome::Refused(fault),
        }
    }
}

/// Why a whole body cannot be rewritten. Every error is final: the same body fails again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// The body contains only white space.
    #[error("the body is empty")]
    Empty,
    /// The body is not JSON, and cannot be repaired.
    #[error("the body is not valid JSON")]
    InvalidJson,
    /// The body is an array, a string, a number …
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// `batch` is present, but is not an array.
    #[error("batch is not an array")]
    BatchNotAnArray,
    /// `context` or `integrations` is after `batch` in a body larger than `limits.window`.
    #[error(
        "in a body larger than limits.window, context and integrations must come before batch"
    )]
    LateBatchKey,
    /// So many of its messages were refused that it cannot be an honest mistake.
    #[error("too many messages of the body were refused")]
    TooManyRefused,
    /// The body, one message or one batch-level value is larger than the limit or nested too deeply.
    #[error("the body, one message or a batch-level value is larger than the limit")]
    TooLarge,
}

impl RewriteError {
    /// A short stable name, for `code` in the response.
    pub fn code(self) -> &'static str {
        match self {
            Self::Empty => "empty_body",
            Self::InvalidJson => "invalid_json",
            Self::NotAnObject => "not_an_object",
            Self::BatchNotAnArray => "batch_not_an_array",
            Self::LateBatchKey => "late_batch_key",
            Self::TooManyRefused => "too_many_refused",
            Self::TooLarge => "too_large",
        }
    }

    /// A sentence, for `message` in the response.
    pub fn message(self) -> &'static str {
        match self {
            Self::Empty => "the body is empty",
            Self::InvalidJson => "the body is not valid JSON",
            Self::NotAnObject => "the body is not a JSON object",
            Self::BatchNotAnArray => "batch is not an array",
            Self::LateBatchKey => {
                "in a body of this size, context and integrations must come before batch"
            }
            Self::TooManyRefused => "too many messages of the body were refused",
            Self::TooLarge => {
                "the body, one message or a batch-level value is larger than the limit"
            }
        }
    }
}

impl From<Malformed> for RewriteError {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Syntax => Self::InvalidJson,
            Malformed::TooDeep => Self::TooLarge,
        }
    }
}
