//! What a message becomes: the decisions of PostHog's own Segment destination (mapping, section
//! 1), and then the repairs that capture needs (posthog-ingestion 1.7 and 3), all of them before a
//! byte is written.

use super::json::{is_blank, is_truthy, unescape, Shape, Value};
use super::message::Message;
use super::normalise::{Settled, Source, Time};
use super::{Fault, Omission, Verdict};
use crate::posthog::NESTING_LIMIT;
use crate::segment::Kind;

/// A value of the output, before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// Nothing, not even a key.
    Absent,
    /// As it stands in the message.
    Raw(Value),
    /// A number of the message, as a string of its digits.
    Digits(Value),
    /// One of PostHog's own names.
    Name(&'static str),
}

impl Piece {
    fn from(value: Option<Value>) -> Self {
        value.map_or(Self::Absent, Self::Raw)
    }

    /// Numbers become strings: PostHog would do it to ids, or drop the event (posthog-ingestion
    /// 3.2 and 4.2), and digits beyond a double's precision survive.
    fn digits(self) -> Self {
        match self {
            Self::Raw(value) if value.shape == Shape::Number => Self::Digits(value),
            other => other,
        }
    }

    /// What it says as a text, if it is a string once written.
    fn says(self, text: &[u8]) -> Option<std::borrow::Cow<'_, str>> {
        match self {
            Self::Raw(value) if value.is_string() => Some(unescape(value.of(text))),
            Self::Digits(value) => Some(String::from_utf8_lossy(value.of(text))),
            Self::Name(name) => Some(name.into()),
            _ => None,
        }
    }
}

/// One event, decided and not yet written.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    pub(super) event: Piece,
    pub(super) timestamp: Time,
    pub(super) distinct_id: Piece,
    /// `$anon_distinct_id` of an identify; absent means that the caller's own, if any, stays.
    pub(super) anon_distinct_id: Piece,
    /// `alias` of an alias.
    pub(super) alias: Piece,
    /// A time that could not be used, kept as a property.
    pub(super) unusable_time: Option<Value>,
}

/// Whether JavaScript takes an optional value for true.
fn truthy(value: Option<Value>, text: &[u8]) -> Option<Value> {
    value.filter(|value| is_truthy(*value, text))
}

impl Plan {
    /// The reference's decisions (mapping 1.5 to 1.7).
    pub(super) fn reference(source: Source<'_>, settled: &Settled<'_>) -> Self {
        let Source { text, message, .. } = source;
        let user_id = truthy(settled.user_id, text);
        let event = match settled.kind {
            Kind::Track => Piece::from(message.event),
            // A default that any `event` key replaces.
            Kind::Page => message.event.map_or(Piece::Name("$pageview"), Piece::Raw),
            Kind::Screen => Piece::Name("$screen"),
            Kind::Identify if user_id.is_some() => Piece::Name("$identify"),
            Kind::Identify => Piece::Name("$set"),
            Kind::Group => Piece::Name("$groupidentify"),
            Kind::Alias => Piece::Name("$create_alias"),
        };
        let anon_distinct_id = match settled.kind {
            Kind::Identify if user_id.is_some() => Piece::from(truthy(settled.anonymous_id, text)),
            _ => Piece::Absent,
        };
        Self {
            kind: settled.kind,
            event,
            timestamp: settled.time,
            distinct_id: Piece::from(user_id.or(settled.anonymous_id)),
            anon_distinct_id,
            alias: match settled.kind {
                Kind::Alias => Piece::from(message.previous_id),
                _ => Piece::Absent,
            },
            unusable_time: settled.unusable_time,
        }
    }

    /// Repairs what capture or the pipeline behind it would refuse, or says why it cannot be.
    pub(super) fn check(&mut self, source: Source<'_>) -> Result<(), Verdict> {
        let text = source.text;
        self.check_event(text)?;
        self.check_distinct_id(text)?;
        self.check_merge(text)?;
        check_depth(source)?;
        check_cookieless(self.kind, source)
    }

    fn check_event(&mut self, text: &[u8]) -> Result<(), Verdict> {
        match self.event {
            Piece::Name(_) => return Ok(()),
            Piece::Raw(value) if value.is_string() && value.of(text) != b"\"\"" => return Ok(()),
            _ => {}
        }
        if self.kind == Kind::Page {
            // Only the `event` key of a page call can bring it here, and it is a page view still.
            self.event = Piece::Name("$pageview");
            return Ok(());
        }
        match self.event {
            Piece::Raw(value) if !value.is_string() && value.shape != Shape::Null => {
                Err(Fault::EventNotText.into())
            }
            _ => Err(Fault::MissingEvent.into()),
        }
    }

    fn check_distinct_id(&mut self, text: &[u8]) -> Result<(), Verdict> {
        self.distinct_id = self.distinct_id.digits();
        match self.distinct_id {
            Piece::Absent => Err(Fault::MissingDistinctId.into()),
            Piece::Raw(value) if value.shape == Shape::Null || is_blank(value, text) => {
                Err(Fault::MissingDistinctId.into())
            }
            _ => Ok(()),
        }
    }

    /// What merges two persons must be text on both sides, or the event is dropped behind capture.
    fn check_merge(&mut self, text: &[u8]) -> Result<(), Verdict> {
        self.anon_distinct_id = match self.anon_distinct_id.digits() {
            Piece::Raw(value) if !value.is_string() => Piece::Absent,
            piece => piece,
        };
        self.alias = self.alias.digits();
        if let Piece::Raw(value) = self.alias {
            if !value.is_string() && value.shape != Shape::Null {
                return Err(Fault::PreviousIdNotText.into());
            }
        }
        let alias = self.alias.says(text);
        if alias.is_some() && alias == self.distinct_id.says(text) {
            // What analytics.js sends for a second `alias` (segment-tracking 2.2).
            return Err(Omission::SelfAlias.into());
        }
        Ok(())
    }
}

/// Around a property stand the event's properties, the event, the array and the envelope.
const AROUND_PROPERTIES: usize = 4;

fn check_depth(source: Source<'_>) -> Result<(), Verdict> {
    let Message {
        properties, traits, ..
    } = source.message;
    let depth = |value: &Option<Value>| value.map_or(0, |value| usize::from(value.depth));
    // Properties and context lose a level of their own when their entries move out of them.
    let deepest = depth(&properties.value)
        .max(depth(&source.context.value))
        .saturating_sub(1)
        .max(depth(traits));
    if deepest + AROUND_PROPERTIES > NESTING_LIMIT {
        return Err(Fault::TooDeep.into());
    }
    Ok(())
}

/// Capture refuses a whole batch for a `$cookieless_mode` that is not a boolean; what the sender
/// meant by it cannot be guessed.
fn check_cookieless(kind: Kind, source: Source<'_>) -> Result<(), Verdict> {
    if matches!(kind, Kind::Group | Kind::Alias) {
        return Ok(());
    }
    let properties = &source.message.properties;
    match properties.get(source.text, "$cookieless_mode") {
        Some(mode) if !matches!(mode.shape, Shape::True | Shape::False) => {
            Err(Fault::CookielessNotBoolean.into())
        }
        _ => Ok(()),
    }
}
