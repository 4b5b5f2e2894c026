//! All sections of the YAML. The reader accepts their keys, and `hedgerow schema` prints them. The file
//! that reads a section also lists its keys; the reader itself defines the accepted words and bounds.

use std::sync::LazyLock;

use super::acme::{ACME, EXTERNAL_ACCOUNT};
use super::admin::ADMIN;
use super::delivery::{DELIVERY, PROJECT_DELIVERY};
use super::library::LIBRARY;
use super::limits::LIMITS;
use super::listeners::{LISTENER, TLS};
use super::mapping::{MAPPING, POSTHOG_JS};
use super::origin_route::{HEALTH, ORIGIN};
use super::posthog_route::POSTHOG;
use super::privacy::PRIVACY;
use super::projects::PROJECT;
use super::routes::ROUTE;
use super::rules::RULE;
use super::segment_route::{FORWARD, SEGMENT, SETTINGS};
use super::server::SERVER;
use super::sessions::{SESSIONS, SESSION_COOKIE};
use super::shape::{KeyType, SectionSchema, Sections, ADDRESS, ADDRESS_OR_OFF, NETWORK, PLAIN};
use super::spool;

/// The top level.
pub(super) const FILE: SectionSchema = SectionSchema {
    name: "The top level",
    label: "the top level",
    at: "",
    required: &["routes"],
    keys: &[
        (
            "listen",
            KeyType::OneOrMore(&KeyType::AnyOf(&[ADDRESS, KeyType::Section("listen")])),
        ),
        (
            "admin",
            KeyType::AnyOf(&[ADDRESS, KeyType::Off, KeyType::Section("admin")]),
        ),
        ("health", ADDRESS_OR_OFF),
        (
            "trusted_proxies",
            KeyType::AnyOf(&[
                KeyType::OneOrMore(&NETWORK),
                KeyType::ListOf(&NETWORK, 0, 0),
                KeyType::Nothing,
            ]),
        ),
        (
            "projects",
            KeyType::AnyOf(&[
                KeyType::MapOf(&KeyType::Section("projects"), 0),
                KeyType::Nothing,
            ]),
        ),
        (
            "routes",
            KeyType::ListOf(&KeyType::Section("routes"), 1, 1000),
        ),
        ("mapping", KeyType::Optional("mapping")),
        ("privacy", KeyType::Optional("privacy")),
        (
            "rules",
            KeyType::AnyOf(&[
                KeyType::ListOf(&KeyType::Section("rules"), 0, 256),
                KeyType::Nothing,
            ]),
        ),
        ("limits", KeyType::Optional("limits")),
        ("delivery", KeyType::Optional("delivery")),
        ("server", KeyType::Optional("server")),
    ],
    ..PLAIN
};

/// Every section.
pub(super) fn sections() -> Sections {
    static ALL: LazyLock<Vec<&'static SectionSchema>> = LazyLock::new(|| {
        let spools = spool::SECTIONS.iter();
        SECTIONS.iter().chain(spools).copied().collect()
    });
    &ALL
}

/// All sections except those of a spool, which are built from the spool's kinds.
const SECTIONS: &[&SectionSchema] = &[
    &FILE,
    &LISTENER,
    &ADMIN,
    &TLS,
    &ACME,
    &EXTERNAL_ACCOUNT,
    &PROJECT,
    &PROJECT_DELIVERY,
    &ROUTE,
    &SEGMENT,
    &LIBRARY,
    &SETTINGS,
    &FORWARD,
    &POSTHOG,
    &ORIGIN,
    &HEALTH,
    &MAPPING,
    &POSTHOG_JS,
    &SESSIONS,
    &SESSION_COOKIE,
    &PRIVACY,
    &RULE,
    &LIMITS,
    &DELIVERY,
    &SERVER,
];
