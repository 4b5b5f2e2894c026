//! What each key takes, section by section. Words and bounds are not here: the reader's own are
//! used.

use super::Shape::{self, *};
use crate::config::schema;

/// A section of the YAML.
pub(super) struct SectionShape {
    /// What it is called among the definitions, and above its table in docs/configuration.md.
    pub name: &'static str,
    /// The keys that the reader knows.
    pub keys: &'static [&'static str],
    /// Where the example of everything has it.
    pub at: &'static str,
    /// The keys without which it means nothing.
    pub required: &'static [&'static str],
    /// Exactly one of each of these is given.
    pub one_of: &'static [&'static [&'static str]],
    /// The first is not given without the second.
    pub needs: &'static [(&'static str, &'static str)],
    /// Not both are given.
    pub excludes: &'static [(&'static str, &'static str)],
    /// What each key takes.
    pub shapes: &'static [(&'static str, Shape)],
}

const PLAIN: SectionShape = SectionShape {
    name: "",
    keys: &[],
    at: "",
    required: &[],
    one_of: &[],
    needs: &[],
    excludes: &[],
    shapes: &[],
};

/// An address and a port; IPv6 in brackets.
const ADDRESS: Shape = Pattern(r"^(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]{1,5}$");
const ADDRESS_OR_OFF: Shape = AnyOf(&[ADDRESS, Off]);
/// A path that requests have.
const PATH: Shape = Pattern("^/");
/// A server: scheme and authority.
const SERVER: Shape = Pattern("^https?://[^/]+/?$");
const NETWORK: Shape = Pattern(r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$");
const PROJECT_NAME: Shape = Text;
/// A name, path or word, `env:NAME` and `file:PATH` among them.
const SECRET: Shape = Text;
const SHA256: &str = "^[0-9A-Fa-f]{64}$";

/// Every section, in the order of the reference page.
pub(super) const SECTIONS: &[SectionShape] = &[
    SectionShape {
        name: "The top level",
        keys: schema::FILE,
        at: "",
        required: &["routes"],
        shapes: &[
            ("listen", OneOrMore(&AnyOf(&[ADDRESS, Section("listen")]))),
            ("admin", AnyOf(&[ADDRESS, Off, Section("admin")])),
            ("health", ADDRESS_OR_OFF),
            (
                "trusted_proxies",
                AnyOf(&[OneOrMore(&NETWORK), ListOf(&NETWORK, 0, 0), Nothing]),
            ),
            (
                "projects",
                AnyOf(&[MapOf(&Section("projects"), 0), Nothing]),
            ),
            ("routes", ListOf(&Section("routes"), 1, 1000)),
            ("mapping", Optional("mapping")),
            ("privacy", Optional("privacy")),
            (
                "rules",
                AnyOf(&[ListOf(&Section("rules"), 0, 256), Nothing]),
            ),
            ("limits", Optional("limits")),
            ("delivery", Optional("delivery")),
            ("server", Optional("server")),
        ],
        ..PLAIN
    },
    SectionShape {
        name: "admin",
        keys: schema::ADMIN,
        at: "admin",
        required: &["address"],
        shapes: &[("address", ADDRESS), ("live", Read), ("token", SECRET)],
        ..PLAIN
    },
    SectionShape {
        name: "listen",
        keys: schema::LISTENER,
        at: "listen[0]",
        required: &["address"],
        excludes: &[("h2c", "tls"), ("redirect", "tls")],
        shapes: &[
            ("address", ADDRESS),
            ("tls", OneOrMore(&Section("tls"))),
            ("health", Pattern("^/.")),
            (
                "proxy_protocol",
                AnyOf(&[OneOrMore(&NETWORK), ListOf(&NETWORK, 0, 0), Nothing]),
            ),
            ("h2c", Read),
            ("redirect", Pattern("^https(:[0-9]{1,5})?$")),
        ],
        ..PLAIN
    },
    SectionShape {
        name: "tls",
        keys: schema::TLS,
        at: "listen[0].tls",
        required: &["certificate", "key"],
        shapes: &[("certificate", Text), ("key", Text)],
        ..PLAIN
    },
    SectionShape {
        name: "projects",
        keys: schema::PROJECT,
        at: "projects.shop",
        required: &["host", "api_key"],
        shapes: &[
            ("host", Pattern("^(us|eu|https?://.+)$")),
            ("api_key", SECRET),
            ("ca_file", Text),
            ("http", Read),
            ("properties", AnyOf(&[MapOf(&Value, 63), Nothing])),
            ("delivery", Optional("delivery of a project")),
        ],
        ..PLAIN
    },
    SectionShape {
        name: "delivery of a project",
        keys: schema::PROJECT_DELIVERY,
        at: "projects.shop.delivery",
        shapes: &[("mode", Read)],
        ..PLAIN
    },
    SectionShape {
        name: "routes",
        keys: schema::ROUTE,
        at: "routes[0]",
        required: &["path"],
        one_of: &[schema::ACTIONS],
        excludes: &[("home", "origin")],
        shapes: &[
            ("host", Text),
            ("path", PATH),
            ("home", Pattern("^https?://[^/]+/?$")),
            ("segment", Section("segment")),
            ("posthog", AnyOf(&[PROJECT_NAME, Section("posthog")])),
            ("origin", AnyOf(&[OneOrMore(&SERVER), Section("origin")])),
        ],
        ..PLAIN
    },
    SectionShape {
        name: "segment",
        keys: schema::SEGMENT,
        at: "routes[0].segment",
        shapes: &[
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
    },
    SectionShape {
        name: "library",
        keys: schema::LIBRARY,
        at: "routes[0].segment.library",
        required: &["script", "settings", "chunks", "calls"],
        one_of: &[&["folder", "url"]],
        needs: &[
            ("url", "sha256"),
            ("url", "keep"),
            ("sha256", "url"),
            ("keep", "url"),
        ],
        shapes: &[
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
    },
    SectionShape {
        name: "settings",
        keys: schema::SETTINGS,
        at: "routes[0].segment.settings",
        shapes: &[
            ("key", Read),
            ("delivery_strategy", Mapping),
            ("http_config", Mapping),
            ("retry_queue", Read),
            ("consent_settings", Mapping),
        ],
        ..PLAIN
    },
    SectionShape {
        name: "forward",
        keys: schema::FORWARD,
        at: "routes[0].segment.forward",
        shapes: &[
            ("region", Read),
            ("device_mode", Read),
            ("write_key", SECRET),
            ("api", Text),
            ("cdn", Text),
        ],
        ..PLAIN
    },
    SectionShape {
        name: "posthog",
        keys: schema::POSTHOG,
        at: "routes[1].posthog",
        required: &["project"],
        shapes: &[("project", PROJECT_NAME), ("names", Text), ("cache", Read)],
        ..PLAIN
    },
    SectionShape {
        name: "origin",
        keys: schema::ORIGIN,
        at: "routes[2].origin",
        required: &["servers"],
        shapes: &[
            ("servers", OneOrMore(&SERVER)),
            ("inject", PATH),
            ("health", AnyOf(&[Off, Section("health")])),
            ("underscores", Read),
            ("keepalive", AnyOf(&[Read, Off])),
        ],
        ..PLAIN
    },
    SectionShape {
        name: "health",
        keys: schema::HEALTH,
        at: "routes[2].origin.health",
        shapes: &[("path", PATH), ("every", Read)],
        ..PLAIN
    },
    SectionShape {
        name: "mapping",
        keys: schema::MAPPING,
        at: "mapping",
        shapes: &[
            ("mode", Read),
            ("integrations", Read),
            ("group_type", Text),
            ("person_profiles", Read),
            ("event_uuid", Read),
            ("group_type_from", Read),
            ("device_type", Read),
            ("same_anonymous_id", Read),
            ("context_traits", Read),
            ("bookkeeping", Read),
            ("posthog_js", Optional("posthog_js")),
            (
                "sessions",
                AnyOf(&[
                    Words(&["off", "page", "cookie"]),
                    Section("sessions"),
                    Nothing,
                ]),
            ),
            ("repeats", Read),
        ],
        ..PLAIN
    },
    SectionShape {
        name: "posthog_js",
        keys: schema::POSTHOG_JS,
        at: "mapping.posthog_js",
        shapes: &[("identify", Read), ("noise", Read)],
        ..PLAIN
    },
    SectionShape {
        name: "sessions",
        keys: schema::SESSIONS,
        at: "mapping.sessions",
        required: &["cookie"],
        shapes: &[("cookie", Optional("cookie"))],
        ..PLAIN
    },
    SectionShape {
        name: "cookie",
        keys: schema::SESSION_COOKIE,
        at: "mapping.sessions.cookie",
        shapes: &[
            ("name", Pattern("^[A-Za-z0-9_.-]+$")),
            ("domain", Pattern("^[A-Za-z0-9.-]+$")),
            ("secret", AnyOf(&[SECRET, ListOf(&SECRET, 1, 8)])),
        ],
        ..PLAIN
    },
    SectionShape {
        name: "privacy",
        keys: schema::PRIVACY,
        at: "privacy",
        shapes: &[
            ("drop", AnyOf(&[Text, ListOf(&Text, 0, 128), Nothing])),
            ("hash", AnyOf(&[Text, ListOf(&Text, 0, 128), Nothing])),
            ("secret", SECRET),
            ("ip", Read),
            ("click_ids", Read),
            ("global_privacy_control", Read),
            ("do_not_track", Read),
            (
                "consent",
                AnyOf(&[MapOf(&ReadAt("privacy.consent.Everything"), 64), Nothing]),
            ),
            ("pseudonym", Read),
        ],
        ..PLAIN
    },
    SectionShape {
        name: "rules",
        keys: schema::RULE,
        at: "rules[0]",
        required: &["event"],
        one_of: &[&["action", "rename"]],
        shapes: &[("event", Text), ("action", Read), ("rename", Text)],
        ..PLAIN
    },
    SectionShape {
        name: "limits",
        keys: schema::LIMITS,
        at: "limits",
        shapes: &[
            ("body", Read),
            ("window", Read),
            ("event", Read),
            ("memory", Read),
            ("connections", Read),
            ("connections_per_client", Read),
            ("requests_per_client", AnyOf(&[Read, Off])),
            ("requests_per_key", AnyOf(&[Read, Off])),
            ("head_timeout", Read),
            ("body_rate", AnyOf(&[Read, Off])),
            ("body_grace", Read),
        ],
        ..PLAIN
    },
    SectionShape {
        name: "delivery",
        keys: schema::DELIVERY,
        at: "delivery",
        shapes: &[
            ("connect_timeout", Read),
            ("timeout", Read),
            ("mode", Read),
            ("linger", Read),
            ("group_size", Read),
            ("spool", AnyOf(&[Off, Section("spool")])),
        ],
        ..PLAIN
    },
    SectionShape {
        name: "spool",
        keys: schema::SPOOL,
        at: "delivery.spool",
        one_of: &[&["path", "nats"]],
        shapes: &[
            ("path", Text),
            ("nats", Section("nats")),
            ("max_size", Read),
            ("max_age", Read),
        ],
        ..PLAIN
    },
    SectionShape {
        name: "nats",
        keys: schema::NATS,
        at: "delivery.spool.nats",
        required: &["url"],
        needs: &[
            ("user", "password"),
            ("password", "user"),
            ("certificate", "key"),
            ("key", "certificate"),
        ],
        excludes: &[
            ("user", "token"),
            ("password", "token"),
            ("credentials", "user"),
            ("credentials", "password"),
            ("credentials", "token"),
        ],
        shapes: &[
            ("url", OneOrMore(&Pattern("^(nats://|tls://|env:|file:).+"))),
            ("stream", Pattern("^[A-Za-z0-9_-]{1,64}$")),
            ("user", SECRET),
            ("password", SECRET),
            ("token", SECRET),
            ("credentials", Text),
            ("ca_file", Text),
            ("certificate", Text),
            ("key", Text),
            ("replicas", Read),
        ],
        ..PLAIN
    },
    SectionShape {
        name: "server",
        keys: schema::SERVER,
        at: "server",
        shapes: &[
            ("threads", Read),
            ("grace", Read),
            ("upgrade_socket", AnyOf(&[Text, Off, Nothing])),
            ("watch", Read),
        ],
        ..PLAIN
    },
];
