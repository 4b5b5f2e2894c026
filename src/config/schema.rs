//! The keys of the YAML, section by section: what the reader accepts, and what `hedgerow schema`
//! prints about it. Words and bounds come from the reader.

pub(super) use super::route_schema::{
    FORWARD, HEALTH, LIBRARY, ORIGIN, POSTHOG, SEGMENT, SETTINGS,
};
use super::shape::{KeyType, KeyType::*, SectionSchema, PLAIN};

/// An address and a port; IPv6 in brackets.
const ADDRESS: KeyType = Pattern(r"^(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]{1,5}$");
const ADDRESS_OR_OFF: KeyType = AnyOf(&[ADDRESS, Off]);
/// A path that requests have.
pub(super) const PATH: KeyType = Pattern("^/");
/// A server: scheme and authority.
pub(super) const SERVER_URL: KeyType = Pattern("^https?://[^/]+/?$");
const NETWORK: KeyType = Pattern(r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$");
/// A name that can be proven over HTTP or TLS.
const DOMAIN: KeyType = Pattern(r"^[^*:/\s]+$");
pub(super) const PROJECT_NAME: KeyType = Text;
/// A name, path or word, `env:NAME` and `file:PATH` among them.
pub(super) const SECRET: KeyType = Text;

/// The actions among the keys of a route.
pub(super) const ACTIONS: &[&str] = &["segment", "posthog", "origin"];

/// The top level.
pub(super) const FILE: SectionSchema = SectionSchema {
    name: "The top level",
    label: "the top level",
    at: "",
    required: &["routes"],
    keys: &[
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
};

/// An entry of `listen` that is more than an address.
pub(super) const LISTENER: SectionSchema = SectionSchema {
    name: "listen",
    label: "an entry of `listen`",
    at: "listen[0]",
    required: &["address"],
    excludes: &[("h2c", "tls"), ("redirect", "tls")],
    keys: &[
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
};

/// An `admin` that is more than an address.
pub(super) const ADMIN: SectionSchema = SectionSchema {
    name: "admin",
    label: "`admin`",
    at: "admin",
    required: &["address"],
    keys: &[("address", ADDRESS), ("live", Read), ("token", SECRET)],
    ..PLAIN
};

/// Its `tls`.
pub(super) const TLS: SectionSchema = SectionSchema {
    name: "tls",
    label: "`tls` of a listener",
    at: "listen[0].tls",
    one_of: &[&["certificate", "acme"]],
    needs: &[("certificate", "key"), ("key", "certificate")],
    keys: &[
        ("certificate", Text),
        ("key", Text),
        ("acme", Section("acme")),
    ],
    ..PLAIN
};

/// Its `acme`.
pub(super) const ACME: SectionSchema = SectionSchema {
    name: "acme",
    label: "`acme` of `tls`",
    at: "listen[0].tls.acme",
    required: &["storage"],
    keys: &[
        ("domains", OneOrMore(&DOMAIN)),
        ("email", Pattern("^[^@ ]+@[^@ ]+$")),
        (
            "directory",
            Pattern("^(letsencrypt|letsencrypt-staging|https://.+)$"),
        ),
        ("storage", Text),
        ("challenge", OneOrMore(&Words(&["tls-alpn-01", "http-01"]))),
        ("ca_file", Text),
        ("external_account", Section("external_account")),
    ],
    ..PLAIN
};

/// The `external_account` of `acme`.
pub(super) const EXTERNAL_ACCOUNT: SectionSchema = SectionSchema {
    name: "external_account",
    label: "`external_account` of `acme`",
    at: "listen[0].tls.acme.external_account",
    required: &["key_id", "hmac_key"],
    keys: &[("key_id", SECRET), ("hmac_key", SECRET)],
    ..PLAIN
};

/// One of `projects`.
pub(super) const PROJECT: SectionSchema = SectionSchema {
    name: "projects",
    label: "a project",
    at: "projects.shop",
    required: &["host", "api_key"],
    keys: &[
        ("host", Pattern("^(us|eu|https?://.+)$")),
        ("api_key", SECRET),
        ("ca_file", Text),
        ("http", Read),
        ("properties", AnyOf(&[MapOf(&Value, 63), Nothing])),
        ("delivery", Optional("delivery of a project")),
    ],
    ..PLAIN
};

/// Its `delivery`.
pub(super) const PROJECT_DELIVERY: SectionSchema = SectionSchema {
    name: "delivery of a project",
    label: "`delivery` of a project",
    at: "projects.shop.delivery",
    keys: &[("mode", Read)],
    ..PLAIN
};

/// One of `routes`.
pub(super) const ROUTE: SectionSchema = SectionSchema {
    name: "routes",
    label: "a route",
    at: "routes[0]",
    required: &["path"],
    one_of: &[ACTIONS],
    excludes: &[("home", "origin")],
    keys: &[
        ("host", Text),
        ("path", PATH),
        ("home", Pattern("^https?://[^/]+/?$")),
        ("segment", Section("segment")),
        ("posthog", AnyOf(&[PROJECT_NAME, Section("posthog")])),
        (
            "origin",
            AnyOf(&[OneOrMore(&SERVER_URL), Section("origin")]),
        ),
    ],
    ..PLAIN
};

/// `mapping`.
pub(super) const MAPPING: SectionSchema = SectionSchema {
    name: "mapping",
    label: "`mapping`",
    at: "mapping",
    keys: &[
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
};

/// Its `posthog_js`.
pub(super) const POSTHOG_JS: SectionSchema = SectionSchema {
    name: "posthog_js",
    label: "`posthog_js` of `mapping`",
    at: "mapping.posthog_js",
    keys: &[("identify", Read), ("noise", Read)],
    ..PLAIN
};

/// Its `sessions`.
pub(super) const SESSIONS: SectionSchema = SectionSchema {
    name: "sessions",
    label: "`sessions` of `mapping`",
    at: "mapping.sessions",
    required: &["cookie"],
    keys: &[("cookie", Optional("cookie"))],
    ..PLAIN
};

/// The cookie of its `sessions`.
pub(super) const SESSION_COOKIE: SectionSchema = SectionSchema {
    name: "cookie",
    label: "`cookie` of `sessions`",
    at: "mapping.sessions.cookie",
    keys: &[
        ("name", Pattern("^[A-Za-z0-9_.-]+$")),
        ("domain", Pattern("^[A-Za-z0-9.-]+$")),
        ("secret", AnyOf(&[SECRET, ListOf(&SECRET, 1, 8)])),
    ],
    ..PLAIN
};

/// `privacy`.
pub(super) const PRIVACY: SectionSchema = SectionSchema {
    name: "privacy",
    label: "`privacy`",
    at: "privacy",
    keys: &[
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
};

/// One of `rules`.
pub(super) const RULE: SectionSchema = SectionSchema {
    name: "rules",
    label: "a rule",
    at: "rules[0]",
    required: &["event"],
    one_of: &[&["action", "rename"]],
    keys: &[("event", Text), ("action", Read), ("rename", Text)],
    ..PLAIN
};

/// `limits`.
pub(super) const LIMITS: SectionSchema = SectionSchema {
    name: "limits",
    label: "`limits`",
    at: "limits",
    keys: &[
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
};

/// `delivery`.
pub(super) const DELIVERY: SectionSchema = SectionSchema {
    name: "delivery",
    label: "`delivery`",
    at: "delivery",
    keys: &[
        ("connect_timeout", Read),
        ("timeout", Read),
        ("mode", Read),
        ("linger", Read),
        ("group_size", Read),
        ("spool", AnyOf(&[Off, Section("spool")])),
    ],
    ..PLAIN
};

/// Its `spool`.
pub(super) const SPOOL: SectionSchema = SectionSchema {
    name: "spool",
    label: "`spool` of `delivery`",
    at: "delivery.spool",
    one_of: &[&["path", "nats"]],
    keys: &[
        ("path", Text),
        ("nats", Section("nats")),
        ("max_size", Read),
        ("max_age", Read),
    ],
    ..PLAIN
};

/// A spool's `nats`.
pub(super) const NATS: SectionSchema = SectionSchema {
    name: "nats",
    label: "`nats` of `spool`",
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
    keys: &[
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
};

/// `server`.
pub(super) const SERVER: SectionSchema = SectionSchema {
    name: "server",
    label: "`server`",
    at: "server",
    keys: &[
        ("threads", Read),
        ("grace", Read),
        ("upgrade_socket", AnyOf(&[Text, Off, Nothing])),
        ("watch", Read),
    ],
    ..PLAIN
};

/// Every section.
pub(super) const SECTIONS: &[&SectionSchema] = &[
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
    &SPOOL,
    &NATS,
    &SERVER,
];
