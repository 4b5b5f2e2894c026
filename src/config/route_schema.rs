//! The keys of a route's actions.

use super::schema::{PATH, PROJECT_NAME, SECRET, SERVER_URL};
use super::shape::{KeyType::*, SectionSchema, PLAIN};

const SHA256: &str = "^[0-9A-Fa-f]{64}$";

/// A route's `segment`.
pub(super) const SEGMENT: SectionSchema = SectionSchema {
    name: "segment",
    label: "`segment` of a route",
    at: "routes[0].segment",
    keys: &[
        ("project", PROJECT_NAME),
        (
            "write_keys",
            AnyOf(&[
                Words(&["any"]),
                ListOf(&SECRET, 1, 0),
                MapOf(&AnyOf(&[PROJECT_NAME, Nothing]), 0),
            ]),
        ),
        ("library", Optional("library")),
        ("settings", Optional("settings")),
        (
            "forward",
            AnyOf(&[Words(&["true", "false"]), Section("forward")]),
        ),
    ],
    ..PLAIN
};

/// Its `library`.
pub(super) const LIBRARY: SectionSchema = SectionSchema {
    name: "library",
    label: "`library` of `segment`",
    at: "routes[0].segment.library",
    required: &["script", "settings", "chunks", "calls"],
    one_of: &[&["folder", "url"]],
    needs: &[
        ("url", "sha256"),
        ("url", "keep"),
        ("sha256", "url"),
        ("keep", "url"),
    ],
    keys: &[
        ("folder", Text),
        ("url", Pattern("^https?://.+/.+")),
        ("sha256", Pattern(SHA256)),
        ("keep", Text),
        ("previous", AnyOf(&[Text, ListOf(&Text, 0, 8), Nothing])),
        ("script", Text),
        ("settings", Text),
        ("chunks", Text),
        ("calls", Text),
    ],
    ..PLAIN
};

/// Its `settings`.
pub(super) const SETTINGS: SectionSchema = SectionSchema {
    name: "settings",
    label: "`settings` of `segment`",
    at: "routes[0].segment.settings",
    keys: &[
        ("key", Read),
        ("delivery_strategy", Mapping),
        ("http_config", Mapping),
        ("retry_queue", Read),
        ("consent_settings", Mapping),
    ],
    ..PLAIN
};

/// Its `forward`.
pub(super) const FORWARD: SectionSchema = SectionSchema {
    name: "forward",
    label: "`forward` of `segment`",
    at: "routes[0].segment.forward",
    keys: &[
        ("region", Read),
        ("device_mode", Read),
        ("write_key", SECRET),
        ("api", Text),
        ("cdn", Text),
    ],
    ..PLAIN
};

/// A route's `posthog`.
pub(super) const POSTHOG: SectionSchema = SectionSchema {
    name: "posthog",
    label: "`posthog` of a route",
    at: "routes[1].posthog",
    required: &["project"],
    keys: &[("project", PROJECT_NAME), ("names", Text), ("cache", Read)],
    ..PLAIN
};

/// A route's `origin`.
pub(super) const ORIGIN: SectionSchema = SectionSchema {
    name: "origin",
    label: "`origin` of a route",
    at: "routes[2].origin",
    required: &["servers"],
    keys: &[
        ("servers", OneOrMore(&SERVER_URL)),
        ("inject", PATH),
        ("health", AnyOf(&[Off, Section("health")])),
        ("underscores", Read),
        ("keepalive", AnyOf(&[Read, Off])),
    ],
    ..PLAIN
};

/// Its `health`.
pub(super) const HEALTH: SectionSchema = SectionSchema {
    name: "health",
    label: "`health` of `origin`",
    at: "routes[2].origin.health",
    keys: &[("path", PATH), ("every", Read)],
    ..PLAIN
};
