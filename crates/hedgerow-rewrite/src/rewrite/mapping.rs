//! How messages are mapped: the settings of `mapping:` in the configuration.

use super::privacy::Privacy;
use super::rules::Rule;

/// How messages are mapped; the same for every request of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Which properties the events get.
    pub mode: Mode,
    /// Whether a message's `integrations` can keep it from PostHog.
    pub integrations: Integrations,
    /// The type that groups get.
    pub group_type: String,
    /// Whether a group call may name its own type.
    pub group_type_from: GroupTypeFrom,
    /// Which events create person profiles.
    pub person_profiles: PersonProfiles,
    /// How the uuid of an event is computed.
    pub event_uuid: EventUuidForm,
    /// Which `$device_type` phones get.
    pub device_type: DeviceTypes,
    /// What happens to an anonymous id that is equal to the user id.
    pub same_anonymous_id: SameAnonymousId,
    /// Which calls set person properties from `context.traits`.
    pub context_traits: ContextTraits,
    /// Whether an event records the id of its message and when the message was sent.
    pub bookkeeping: Bookkeeping,
    /// What to do with the additions of posthog-js, on sites that run it together with analytics.js.
    pub posthog_js: PostHogJs,
    /// What happens to a message that PostHog has accepted before.
    pub repeats: Repeats,
    /// Which data about a visitor may leave the proxy (`privacy:`).
    pub privacy: Privacy,
    /// The site's own rules for its events (`rules:`).
    pub rules: Vec<Rule>,
}

impl Default for Mapping {
    fn default() -> Self {
        Self {
            mode: Mode::Enriched,
            integrations: Integrations::Respect,
            group_type: REFERENCE_GROUP_TYPE.to_owned(),
            group_type_from: GroupTypeFrom::Setting,
            person_profiles: PersonProfiles::Always,
            event_uuid: EventUuidForm::V5,
            device_type: DeviceTypes::AsSent,
            same_anonymous_id: SameAnonymousId::Keep,
            context_traits: ContextTraits::Identify,
            bookkeeping: Bookkeeping::Off,
            posthog_js: PostHogJs::default(),
            repeats: Repeats::Send,
            privacy: Privacy::default(),
            rules: Vec::new(),
        }
    }
}

impl Mapping {
    /// Returns the mapping of PostHog's own Segment destination.
    pub fn reference() -> Self {
        Self {
            mode: Mode::Reference,
            ..Self::default()
        }
    }
}

/// The type that PostHog's own Segment destination gives to every group (mapping 1.3).
pub const REFERENCE_GROUP_TYPE: &str = "segment_group";

/// Which properties the events get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Exactly those of PostHog's own Segment destination (mapping, section 1).
    Reference,
    /// Those, and the properties that PostHog's own libraries would add (mapping, section 5).
    Enriched,
}

/// Whether a message's `integrations` can keep it from PostHog (segment-tracking 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrations {
    /// A message with `PostHog: false`, or with `All: false` and no `PostHog` entry, is left out, as
    /// Segment does it.
    Respect,
    /// Every message goes to PostHog.
    Ignore,
}

/// Whether a group call may name its own type (mapping 5.5). `Traits` departs from PostHog's own
/// destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupTypeFrom {
    /// All groups have the type of [`Mapping::group_type`].
    Setting,
    /// `traits.$group_type` or `traits.groupType` names the type, if present.
    Traits,
}

/// Which events create person profiles; these events cost more (posthog-ingestion 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersonProfiles {
    /// All events, as with PostHog's own destination.
    Always,
    /// Events of users who have an id, and events that change the person's properties.
    IdentifiedOnly,
    /// No events; messages that could only change a profile or a group are left out.
    Never,
}

/// How the uuid of an event is computed. Either way every retry of a message gets the same uuid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventUuidForm {
    /// As PostHog's own destination computes it (mapping 1.2).
    V5,
    /// As PostHog recommends: the uuid contains the message's time (posthog-ingestion 3.4).
    V7,
}

/// Which `$device_type` phones get (mapping 5.2). `PostHog` departs from PostHog's own destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceTypes {
    /// Segment's `ios` and `android`.
    AsSent,
    /// PostHog's `Mobile` and `Tablet`.
    PostHog,
}

/// What happens to an anonymous id that is equal to the user id (mapping 5.4). `Drop` departs from
/// PostHog's own destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameAnonymousId {
    /// It stays in `$anon_distinct_id`.
    Keep,
    /// It is left out, because there is nothing to merge.
    Drop,
}

/// Which calls set person properties from `context.traits` (mapping 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContextTraits {
    /// Only identify calls that have no traits of their own.
    Identify,
    /// Also track, page and screen calls.
    Always,
}

/// Whether an event records the id of its message and when the message was sent (mapping 5.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bookkeeping {
    /// No.
    Off,
    /// Yes, in `segment_message_id`, `segment_original_timestamp` and `segment_sent_at`.
    On,
}

/// What happens to the additions of posthog-js, on sites that run it together with analytics.js
/// (posthog-ingestion, section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostHogJs {
    /// What happens to an identify call that posthog-js has sent to PostHog itself.
    pub identify: SecondIdentify,
    /// What happens to properties that only posthog-js uses.
    pub noise: Noise,
}

impl Default for PostHogJs {
    fn default() -> Self {
        Self {
            identify: SecondIdentify::Send,
            noise: Noise::Keep,
        }
    }
}

/// What happens to an identify call that posthog-js has sent to PostHog itself. `Set` departs from
/// PostHog's own destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondIdentify {
    /// It becomes a second `$identify` event.
    Send,
    /// It becomes a `$set` event, which keeps the traits; posthog-js's own `$identify` merges the persons.
    Set,
}

/// What happens to properties that only posthog-js uses. `Strip` departs from PostHog's own destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// They stay.
    Keep,
    /// `token`, `$sdk_debug_*` and similar properties are removed.
    Strip,
}

/// What happens to a message that PostHog has accepted before. Browsers and SDKs send some messages
/// twice (segment-tracking 2.4). If the message is sent again, its event has the same uuid, name,
/// distinct id and time, so that PostHog recognises the duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    /// It is sent again.
    Send,
    /// It is left out, as long as this process remembers the first one.
    Suppress,
}
