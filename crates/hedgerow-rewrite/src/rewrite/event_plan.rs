//! Decides what a message becomes. First it follows PostHog's own Segment destination (mapping, section
//! 1), then it makes the repairs that capture needs (posthog-ingestion 1.7 and 3). All of this happens
//! before a byte is written.

use super::identity::Id;
use super::json::{inner, is_blank, is_truthy, name, Shape, Value};
use super::mapping::{Mapping, Mode, PersonProfiles, SameAnonymousId, SecondIdentify};
use super::message_source::MessageSource;
use super::moment::moment;
use super::normalise::{HappenedAt, Settled};
use super::outcome::{Fault, NoEvent, Omission};
use super::rules::{decide, Rule, RuleAction, PERSON_EVENTS};
use super::time::Reading;
use super::time::Timestamp;
use crate::posthog::NESTING_LIMIT;
use crate::segment::Kind;

/// A value of the output, before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'p> {
    /// Nothing, not even a key.
    Absent,
    /// A value that is copied from the message unchanged.
    Raw(Value),
    /// A number of the message, as a string of its digits.
    Digits(Value),
    /// A name that PostHog defines.
    Name(&'static str),
    /// A text that differs from the one in the message: a changed id, or the new name of an event.
    Spelled(&'p str),
}

impl<'p> Piece<'p> {
    pub(super) fn is_absent(self) -> bool {
        matches!(self, Self::Absent)
    }

    fn from(value: Option<Value>) -> Self {
        value.map_or(Self::Absent, Self::Raw)
    }

    /// Returns an id in the form that PostHog receives.
    pub(super) fn of(id: &'p Id) -> Self {
        match id.spelled() {
            Some(spelled) => Self::Spelled(spelled),
            None => Self::from(id.value()),
        }
    }

    /// Turns a number into a string. PostHog would convert a number that is an id, or drop the event
    /// (posthog-ingestion 3.2 and 4.2); as a string it keeps digits beyond a double's precision.
    pub(super) fn digits(self) -> Self {
        match self {
            Self::Raw(value) if value.shape == Shape::Number => Self::Digits(value),
            other => other,
        }
    }

    /// Returns the decoded text, if the value is written as a string.
    pub(super) fn text<'s>(self, text: &'s [u8]) -> Option<std::borrow::Cow<'s, str>>
    where
        'p: 's,
    {
        match self {
            Self::Raw(value) if value.is_string() => Some(value.decode(text)),
            Self::Digits(value) => Some(String::from_utf8_lossy(value.of(text))),
            Self::Name(name) => Some(name.into()),
            Self::Spelled(id) => Some(id.into()),
            _ => None,
        }
    }
}

/// An event that is decided but not yet written.
#[derive(Debug)]
pub(super) struct EventPlan<'p> {
    pub(super) kind: Kind,
    pub(super) event: Piece<'p>,
    pub(super) timestamp: HappenedAt,
    pub(super) distinct_id: Piece<'p>,
    /// The `$anon_distinct_id` of an identify call. If absent, the event keeps the sender's own property,
    /// if there is one.
    pub(super) anon_distinct_id: Piece<'p>,
    /// The field of the message that holds the distinct id.
    pub(super) distinct_id_from: &'static str,
    /// The `alias` of an alias call.
    pub(super) alias: Piece<'p>,
    /// The field of the message that holds the alias.
    pub(super) alias_from: &'static str,
    /// A time that could not be used; the event keeps it as a property.
    pub(super) unusable_time: Option<Value>,
}

/// Whether posthog-js has added to the message. Then posthog-js itself has identified the user to
/// PostHog (posthog-ingestion, section 7).
fn sent_by_posthog_js(source: MessageSource<'_>) -> bool {
    let properties = &source.message.properties;
    let lib = properties.named(name!("$lib"));
    lib.is_some_and(|lib| lib.of(source.text) == b"\"web\"")
}

impl<'p> EventPlan<'p> {
    /// Decides as the reference does (mapping 1.5 to 1.7).
    #[inline(always)]
    pub(super) fn reference(source: &MessageSource<'_>, settled: &'p Settled<'_>) -> Self {
        let MessageSource { text, message, .. } = *source;
        let user_id = settled.user_id.if_truthy(text);
        let (id, distinct_id_from) = match user_id {
            Some(id) => (id, "userId"),
            None => (&settled.anonymous_id, "anonymousId"),
        };
        let mut plan = Self {
            kind: settled.kind,
            event: Piece::Absent,
            timestamp: settled.time,
            distinct_id: Piece::of(id),
            distinct_id_from,
            anon_distinct_id: Piece::Absent,
            alias: Piece::Absent,
            alias_from: "previousId",
            unusable_time: settled.unusable_time,
        };
        match settled.kind {
            Kind::Track => plan.event = Piece::from(message.event()),
            Kind::Page => {
                // The default name; an `event` key replaces it, whatever its value.
                let event = message.event();
                plan.event = event.map_or(Piece::Name("$pageview"), Piece::Raw);
            }
            Kind::Screen => plan.event = Piece::Name("$screen"),
            Kind::Identify if user_id.is_some() => {
                plan.event = Piece::Name("$identify");
                if let Some(id) = settled.anonymous_id.if_truthy(text) {
                    plan.anon_distinct_id = Piece::of(id);
                }
            }
            Kind::Identify => plan.event = Piece::Name("$set"),
            Kind::Group => plan.event = Piece::Name("$groupidentify"),
            Kind::Alias => {
                plan.event = Piece::Name("$create_alias");
                plan.alias = Piece::of(&settled.previous_id);
            }
        }
        plan
    }

    /// Changes what the enriched mode decides differently (mapping 5.4). Returns the reason if it leaves
    /// the message out.
    pub(super) fn enrich(
        &mut self,
        source: MessageSource<'_>,
        settled: &'p Settled<'_>,
        mapping: &Mapping,
    ) -> Result<(), NoEvent> {
        let text = source.text;
        if !self.kind.is_event_call() {
            self.check_profiles(source, mapping)?;
        }
        if self.event == Piece::Name("$identify") {
            let same =
                self.anon_distinct_id.digits().text(text) == self.distinct_id.digits().text(text);
            if same && mapping.same_anonymous_id == SameAnonymousId::Drop {
                self.anon_distinct_id = Piece::Absent;
            }
            if mapping.posthog_js.identify == SecondIdentify::Set && sent_by_posthog_js(source) {
                self.event = Piece::Name("$set");
                self.anon_distinct_id = Piece::Absent;
            }
        }
        if self.kind == Kind::Alias && self.alias.is_absent() {
            // Segment calls `previousId` optional; its default is the anonymous visitor (mapping 5.4).
            let visitor = Piece::of(&settled.anonymous_id);
            let merges = !visitor.is_absent()
                && visitor.digits().text(text) != self.distinct_id.digits().text(text);
            if merges {
                self.alias = visitor;
                self.alias_from = "anonymousId";
            } else if source.message.previous_id().is_some_and(is_no_id) {
                return Err(Fault::PreviousIdNotText.into());
            }
        }
        Ok(())
    }

    /// Repairs what capture or the pipeline after it would refuse. Returns an error if no repair is
    /// possible.
    pub(super) fn check(&mut self, source: MessageSource<'_>) -> Result<(), NoEvent> {
        let text = source.text;
        self.check_event(text)?;
        self.check_distinct_id(text)?;
        self.check_merge(text)?;
        check_depth(source)?;
        check_cookieless(self.kind, source)
    }

    /// Applies the site's own rules. A rule can rename the event or leave it out.
    pub(super) fn follow_rules(
        &mut self,
        source: MessageSource<'_>,
        rules: &'p [Rule],
    ) -> Result<(), NoEvent> {
        let Some(event) = self.event.text(source.text) else {
            return Ok(());
        };
        match decide(rules, &event, self.kind) {
            Some(RuleAction::Drop) => Err(Omission::Rule.into()),
            Some(RuleAction::Rename(name)) => {
                self.event = Piece::Spelled(name);
                Ok(())
            }
            Some(RuleAction::Keep) | None => Ok(()),
        }
    }

    /// Whether PostHog changes persons or groups because of the event. PostHog drops such an event if it
    /// has `$process_person_profile: false` (posthog-ingestion 4.4).
    pub(super) fn changes_persons(&self, source: MessageSource<'_>) -> bool {
        // The names of such events begin with a dollar sign; the sender's own names rarely do.
        if let Piece::Raw(value) = self.event {
            let is_plain = value.shape == Shape::Plain;
            if is_plain && !inner(value.of(source.text)).starts_with(b"$") {
                return false;
            }
        }
        let event = self.event.text(source.text);
        event.is_some_and(|event| PERSON_EVENTS.contains(&event.as_ref()))
    }

    /// Returns an error if the event changes persons or groups and the mapping never creates profiles:
    /// PostHog would drop the event.
    pub(super) fn check_profiles(
        &self,
        source: MessageSource<'_>,
        mapping: &Mapping,
    ) -> Result<(), NoEvent> {
        let never =
            mapping.mode == Mode::Enriched && mapping.person_profiles == PersonProfiles::Never;
        if never && self.changes_persons(source) {
            return Err(Omission::PersonProfiles.into());
        }
        Ok(())
    }

    /// Returns an error if the event only states who the person is.
    pub(super) fn check_anonymous(&self, source: MessageSource<'_>) -> Result<(), NoEvent> {
        if !self.kind.is_event_call() || self.changes_persons(source) {
            return Err(Omission::Anonymous.into());
        }
        Ok(())
    }

    /// Returns the time at which the event happened, if it is known.
    pub(super) fn moment(&self, source: MessageSource<'_>) -> Option<Timestamp> {
        match self.timestamp {
            HappenedAt::Unknown => None,
            HappenedAt::At(timestamp) => Some(timestamp),
            HappenedAt::AsWritten(written) => moment(written, source.text).map(Reading::timestamp),
        }
    }

    fn check_event(&mut self, text: &[u8]) -> Result<(), NoEvent> {
        match self.event {
            Piece::Name(_) => return Ok(()),
            Piece::Raw(value) if value.is_string() && is_truthy(value, text) => return Ok(()),
            _ => {}
        }
        if self.kind == Kind::Page {
            // Only an unusable `event` key of the page call leads here; the event is still a page view.
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

    fn check_distinct_id(&mut self, text: &[u8]) -> Result<(), NoEvent> {
        self.distinct_id = self.distinct_id.digits();
        match self.distinct_id {
            Piece::Absent => Err(Fault::MissingDistinctId.into()),
            Piece::Raw(value) if value.shape == Shape::Null || is_blank(value, text) => {
                Err(Fault::MissingDistinctId.into())
            }
            _ => Ok(()),
        }
    }

    /// Checks the ids of an event that merges two persons. Both must be text, or PostHog drops the event
    /// after capture has accepted it.
    fn check_merge(&mut self, text: &[u8]) -> Result<(), NoEvent> {
        if self.anon_distinct_id.is_absent() && self.alias.is_absent() {
            return Ok(());
        }
        self.anon_distinct_id = match self.anon_distinct_id.digits() {
            Piece::Raw(value) if !value.is_string() => Piece::Absent,
            piece => piece,
        };
        self.alias = self.alias.digits();
        if let Piece::Raw(value) = self.alias {
            if is_no_id(value) {
                return Err(Fault::PreviousIdNotText.into());
            }
        }
        if self.alias.is_absent() {
            return Ok(());
        }
        let alias = self.alias.text(text);
        if alias.is_some() && alias == self.distinct_id.text(text) {
            // analytics.js sends this for a second `alias` (segment-tracking 2.2).
            return Err(Omission::SelfAlias.into());
        }
        Ok(())
    }
}

/// Whether a value cannot be an id because it is neither text, a number nor null.
fn is_no_id(value: Value) -> bool {
    !value.is_string() && !matches!(value.shape, Shape::Null | Shape::Number)
}

/// The number of containers around a property: the event's properties, the event, the array and the
/// envelope.
const AROUND_PROPERTIES: usize = 4;

fn check_depth(source: MessageSource<'_>) -> Result<(), NoEvent> {
    let depth = |value: &Option<Value>| value.map_or(0, |value| usize::from(value.depth));
    // The entries of `properties` and `context` move out of these objects, so one level is lost.
    let deepest = depth(&source.message.properties.value)
        .max(depth(&source.context.value))
        .saturating_sub(1)
        .max(depth(&source.message.traits()));
    if deepest + AROUND_PROPERTIES > NESTING_LIMIT {
        return Err(Fault::TooDeep.into());
    }
    Ok(())
}

/// Refuses a `$cookieless_mode` that is not a boolean. Capture would refuse the whole batch, and the
/// sender's intention cannot be guessed.
fn check_cookieless(kind: Kind, source: MessageSource<'_>) -> Result<(), NoEvent> {
    if !kind.has_properties() {
        return Ok(());
    }
    let properties = &source.message.properties;
    match properties.named(name!("$cookieless_mode")) {
        Some(mode) if !matches!(mode.shape, Shape::True | Shape::False) => {
            Err(Fault::CookielessNotBoolean.into())
        }
        _ => Ok(()),
    }
}
