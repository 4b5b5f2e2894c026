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
    /// The type under which groups are filed.
    pub group_type: String,
    /// Whether a group call may name its own type.
    pub group_type_from: GroupTypeFrom,
    /// Which events make person profiles.
    pub person_profiles: PersonProfiles,
    /// How the uuid of an event is made.
    pub event_uuid: EventUuidForm,
    /// What `$device_type` of phones says.
    pub device_type: DeviceTypes,
    /// What happens to an anonymous id that is the user's id.
    pub same_anonymous_id: SameAnonymousId,
    /// Which calls set person properties from `context.traits`.
    pub context_traits: ContextTraits,
    /// Whether an event says when and under which id its message was sent.
    pub bookkeeping: Bookkeeping,
    /// What posthog-js, where it runs beside analytics.js, adds that is not wanted twice.
    pub posthog_js: PostHogJs,
    /// What happens to a message that PostHog has accepted before.
    pub repeats: Repeats,
    /// What may leave of a visitor (`privacy:`).
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
    /// The mapping of PostHog's own Segment destination.
    pub fn reference() -> Self {
        Self {
            mode: Mode::Reference,
            ..Self::default()
        }
    }
}

/// The type under which the reference files every group (mapping 1.3).
pub const REFERENCE_GROUP_TYPE: &str = "segment_group";

/// Which properties the events get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Exactly those of PostHog's own Segment destination (mapping, section 1).
    Reference,
    /// Those, and what PostHog's own libraries would send besides (mapping, section 5).
    Enriched,
}

/// Whether a message's `integrations` can keep it from PostHog (segment-tracking 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrations {
    /// As Segment does: `PostHog: false`, or `All: false` without a `PostHog` entry, keeps it back.
    Respect,
    /// Every message goes to PostHog.
    Ignore,
}

/// Whether a group call may name its own type (mapping 5.5). Changes what the reference does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupTypeFrom {
    /// All groups have the type of the setting.
    Setting,
    /// `traits.$group_type` or `traits.groupType` names it, where it is there.
    Traits,
}

/// Which events make person profiles, and so cost more (posthog-ingestion 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersonProfiles {
    /// All of them, as with PostHog's own destination.
    Always,
    /// Those of users who have an id, and those that change the person's properties.
    IdentifiedOnly,
    /// None; what could only change a profile or a group is left out.
    Never,
}

/// How the uuid of an event is made. Both are the same for every try of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventUuidForm {
    /// As PostHog's own destination makes it (mapping 1.2).
    V5,
    /// As PostHog recommends it: with the message's time in it (posthog-ingestion 3.4).
    V7,
}

/// What `$device_type` of phones says (mapping 5.2). Changes what the reference does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceTypes {
    /// Segment's `ios` and `android`.
    AsSent,
    /// PostHog's `Mobile` and `Tablet`.
    PostHog,
}

/// What happens to an anonymous id that is the user's id (mapping 5.4). Changes what the reference
/// does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameAnonymousId {
    /// It stays in `$anon_distinct_id`.
    Keep,
    /// It is left out: there is nothing to merge.
    Drop,
}

/// Which calls set person properties from `context.traits` (mapping 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContextTraits {
    /// Identify calls without traits of their own.
    Identify,
    /// Track, page and screen calls as well.
    Always,
}

/// Whether an event says when and under which id its message was sent (mapping 5.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bookkeeping {
    /// It does not.
    Off,
    /// In `segment_message_id`, `segment_original_timestamp` and `segment_sent_at`.
    On,
}

/// What posthog-js, where it runs beside analytics.js, adds (posthog-ingestion, section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostHogJs {
    /// What happens to an identify call that posthog-js has sent to PostHog itself.
    pub identify: SecondIdentify,
    /// What happens to properties that mean something to posthog-js only.
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

/// What happens to an identify call that posthog-js has sent to PostHog itself. Changes what the
/// reference does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondIdentify {
    /// It becomes an `$identify` as well.
    Send,
    /// It becomes a `$set`: the traits arrive, and the merge is posthog-js's.
    Set,
}

/// What happens to properties that mean something to posthog-js only. Changes what the reference
/// does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// They stay.
    Keep,
    /// `token`, `$sdk_debug_*` and the like are taken out.
    Strip,
}

/// What happens to a message that PostHog has accepted before: browsers and SDKs send some twice
/// (segment-tracking 2.4). Either way it keeps its uuid, name, distinct id and time, by which
/// PostHog knows it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    /// It is sent again.
    Send,
    /// It is left out, while this process remembers it.
    Suppress,
}
