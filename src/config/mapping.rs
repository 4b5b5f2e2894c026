//! `mapping`: how messages become events.

use super::reader::{ConfigReader, Field, Section};
use super::sessions::{self, SessionMode};
use super::shape::{KeyType, SectionSchema, PLAIN};
use crate::rewrite::{
    Bookkeeping, ContextTraits, DeviceTypes, EventUuidForm, GroupTypeFrom, Integrations, Mapping,
    Mode, Noise, PersonProfiles, Repeats, SameAnonymousId, SecondIdentify,
};

/// `mapping`.
pub(super) const MAPPING: SectionSchema = SectionSchema {
    name: "mapping",
    label: "`mapping`",
    at: "mapping",
    keys: &[
        ("mode", KeyType::Read),
        ("integrations", KeyType::Read),
        ("group_type", KeyType::Text),
        ("person_profiles", KeyType::Read),
        ("event_uuid", KeyType::Read),
        ("group_type_from", KeyType::Read),
        ("device_type", KeyType::Read),
        ("same_anonymous_id", KeyType::Read),
        ("context_traits", KeyType::Read),
        ("bookkeeping", KeyType::Read),
        ("posthog_js", KeyType::Optional("posthog_js")),
        (
            "sessions",
            KeyType::AnyOf(&[
                KeyType::Words(&["off", "page", "cookie"]),
                KeyType::Section("sessions"),
                KeyType::Nothing,
            ]),
        ),
        ("repeats", KeyType::Read),
    ],
    ..PLAIN
};

/// `posthog_js` of `mapping`.
pub(super) const POSTHOG_JS: SectionSchema = SectionSchema {
    name: "posthog_js",
    label: "`posthog_js` of `mapping`",
    at: "mapping.posthog_js",
    keys: &[("identify", KeyType::Read), ("noise", KeyType::Read)],
    ..PLAIN
};

/// Reads `mapping`.
pub(super) fn read(reader: &mut ConfigReader<'_>, top: &Section<'_>) -> (Mapping, SessionMode) {
    let mut mapping = Mapping::default();
    let Some(section) = reader.optional_section(top, "mapping", &MAPPING) else {
        return (mapping, SessionMode::Off);
    };
    let mut choose = Chooser {
        reader,
        section: &section,
    };
    choose.set(
        "mode",
        &mut mapping.mode,
        &[("reference", Mode::Reference), ("enriched", Mode::Enriched)],
    );
    choose.set(
        "integrations",
        &mut mapping.integrations,
        &[
            ("respect", Integrations::Respect),
            ("ignore", Integrations::Ignore),
        ],
    );
    choose.set(
        "group_type_from",
        &mut mapping.group_type_from,
        &[
            ("setting", GroupTypeFrom::Setting),
            ("traits", GroupTypeFrom::Traits),
        ],
    );
    choose.set(
        "person_profiles",
        &mut mapping.person_profiles,
        &[
            ("always", PersonProfiles::Always),
            ("identified_only", PersonProfiles::IdentifiedOnly),
            ("never", PersonProfiles::Never),
        ],
    );
    choose.set(
        "event_uuid",
        &mut mapping.event_uuid,
        &[("v5", EventUuidForm::V5), ("v7", EventUuidForm::V7)],
    );
    choose.set(
        "device_type",
        &mut mapping.device_type,
        &[
            ("as_sent", DeviceTypes::AsSent),
            ("posthog", DeviceTypes::PostHog),
        ],
    );
    choose.set(
        "same_anonymous_id",
        &mut mapping.same_anonymous_id,
        &[
            ("keep", SameAnonymousId::Keep),
            ("drop", SameAnonymousId::Drop),
        ],
    );
    choose.set(
        "context_traits",
        &mut mapping.context_traits,
        &[
            ("identify", ContextTraits::Identify),
            ("always", ContextTraits::Always),
        ],
    );
    choose.set(
        "bookkeeping",
        &mut mapping.bookkeeping,
        &[("off", Bookkeeping::Off), ("on", Bookkeeping::On)],
    );
    choose.set(
        "repeats",
        &mut mapping.repeats,
        &[("send", Repeats::Send), ("suppress", Repeats::Suppress)],
    );
    if let Some(group_type) = group_type(reader, &section) {
        mapping.group_type = group_type;
    }
    if let Some(posthog_js) = reader.optional_section(&section, "posthog_js", &POSTHOG_JS) {
        let mut choose = Chooser {
            reader,
            section: &posthog_js,
        };
        choose.set(
            "identify",
            &mut mapping.posthog_js.identify,
            &[("send", SecondIdentify::Send), ("set", SecondIdentify::Set)],
        );
        choose.set(
            "noise",
            &mut mapping.posthog_js.noise,
            &[("keep", Noise::Keep), ("strip", Noise::Strip)],
        );
    }
    let sessions = sessions::read(reader, &section);
    if mapping.mode == Mode::Reference {
        warn_about_enriched_only_switches(reader, &section);
    }
    (mapping, sessions)
}

fn warn_about_enriched_only_switches(reader: &mut ConfigReader<'_>, section: &Section<'_>) {
    for key in ["sessions", "repeats"] {
        let field = section.get(key);
        let does_something = |field: &&Field<'_>| !field.is_off() && field.text() != Some("send");
        if let Some(field) = field.filter(does_something).cloned() {
            reader.warn(&field, "has no effect in `mode: reference`");
        }
    }
}

/// Reads keys whose values are words.
struct Chooser<'c, 'r, 's> {
    reader: &'c mut ConfigReader<'r>,
    section: &'c Section<'s>,
}

impl Chooser<'_, '_, '_> {
    fn set<T: Copy>(&mut self, key: &str, to: &mut T, words: &[(&str, T)]) {
        if let Some(chosen) = self.reader.choice(self.section, key, words) {
            *to = chosen;
        }
    }
}

fn group_type(reader: &mut ConfigReader<'_>, section: &Section<'_>) -> Option<String> {
    let field = section.get("group_type")?;
    let text = reader.text(field, "the name of a group type")?;
    if text.is_empty() || text.len() > 200 || text.contains(char::is_control) {
        reader.wrong(
            field,
            "expected the name of a group type, at most 200 bytes",
        );
        return None;
    }
    Some(text.to_owned())
}
