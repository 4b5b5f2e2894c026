//! The keys of the YAML, section by section.

/// The top level.
pub(super) const FILE: &[&str] = &[
    "listen",
    "admin",
    "health",
    "trusted_proxies",
    "projects",
    "routes",
    "mapping",
    "privacy",
    "rules",
    "limits",
    "delivery",
    "server",
];
/// An `admin` that is more than an address.
pub(super) const ADMIN: &[&str] = &["address", "live", "token"];
/// An entry of `listen` that is more than an address.
pub(super) const LISTENER: &[&str] = &[
    "address",
    "tls",
    "health",
    "proxy_protocol",
    "h2c",
    "redirect",
];
/// Its `tls`.
pub(super) const TLS: &[&str] = &["certificate", "key"];
/// One of `projects`.
pub(super) const PROJECT: &[&str] = &[
    "host",
    "api_key",
    "ca_file",
    "http",
    "properties",
    "delivery",
];
/// Its `delivery`.
pub(super) const PROJECT_DELIVERY: &[&str] = &["mode"];
/// One of `routes`.
pub(super) const ROUTE: &[&str] = &["host", "path", "home", "segment", "posthog", "origin"];
/// The actions among them.
pub(super) const ACTIONS: &[&str] = &["segment", "posthog", "origin"];
/// A route's `segment`.
pub(super) const SEGMENT: &[&str] = &["project", "write_keys", "library", "settings", "forward"];
/// Its `library`.
pub(super) const LIBRARY: &[&str] = &[
    "folder", "url", "sha256", "keep", "previous", "script", "settings", "chunks", "calls",
];
/// Its `settings`.
pub(super) const SETTINGS: &[&str] = &[
    "key",
    "delivery_strategy",
    "http_config",
    "retry_queue",
    "consent_settings",
];
/// Its `forward`.
pub(super) const FORWARD: &[&str] = &["region", "device_mode", "write_key", "api", "cdn"];
/// A route's `posthog`.
pub(super) const POSTHOG: &[&str] = &["project", "names", "cache"];
/// A route's `origin`.
pub(super) const ORIGIN: &[&str] = &["servers", "inject", "health", "underscores", "keepalive"];
/// Its `health`.
pub(super) const HEALTH: &[&str] = &["path", "every"];
/// `mapping`.
pub(super) const MAPPING: &[&str] = &[
    "mode",
    "integrations",
    "group_type",
    "person_profiles",
    "event_uuid",
    "group_type_from",
    "device_type",
    "same_anonymous_id",
    "context_traits",
    "bookkeeping",
    "posthog_js",
    "sessions",
    "repeats",
];
/// Its `posthog_js`.
pub(super) const POSTHOG_JS: &[&str] = &["identify", "noise"];
/// Its `sessions`.
pub(super) const SESSIONS: &[&str] = &["cookie"];
/// The cookie of its `sessions`.
pub(super) const SESSION_COOKIE: &[&str] = &["name", "domain", "secret"];
/// `privacy`.
pub(super) const PRIVACY: &[&str] = &[
    "drop",
    "hash",
    "secret",
    "ip",
    "click_ids",
    "global_privacy_control",
    "do_not_track",
    "consent",
    "pseudonym",
];
/// One of `rules`.
pub(super) const RULE: &[&str] = &["event", "action", "rename"];
/// `limits`.
pub(super) const LIMITS: &[&str] = &[
    "body",
    "window",
    "event",
    "memory",
    "connections",
    "connections_per_client",
    "requests_per_client",
    "requests_per_key",
    "head_timeout",
    "body_rate",
    "body_grace",
];
/// `delivery`.
pub(super) const DELIVERY: &[&str] = &[
    "connect_timeout",
    "timeout",
    "mode",
    "linger",
    "group_size",
    "spool",
];
/// Its `spool`.
pub(super) const SPOOL: &[&str] = &["path", "nats", "max_size", "max_age"];
/// A spool's `nats`.
pub(super) const NATS: &[&str] = &[
    "url",
    "stream",
    "user",
    "password",
    "token",
    "credentials",
    "ca_file",
    "certificate",
    "key",
    "replicas",
];
/// `server`.
pub(super) const SERVER: &[&str] = &["threads", "grace", "upgrade_socket", "watch"];

/// Every section by what it is called in a message.
pub(super) const ALL: &[(&str, &[&str])] = &[
    ("the top level", FILE),
    ("an entry of `listen`", LISTENER),
    ("`admin`", ADMIN),
    ("`tls` of a listener", TLS),
    ("a project", PROJECT),
    ("`delivery` of a project", PROJECT_DELIVERY),
    ("a route", ROUTE),
    ("`segment` of a route", SEGMENT),
    ("`library` of `segment`", LIBRARY),
    ("`settings` of `segment`", SETTINGS),
    ("`forward` of `segment`", FORWARD),
    ("`posthog` of a route", POSTHOG),
    ("`origin` of a route", ORIGIN),
    ("`health` of `origin`", HEALTH),
    ("`mapping`", MAPPING),
    ("`posthog_js` of `mapping`", POSTHOG_JS),
    ("`sessions` of `mapping`", SESSIONS),
    ("`cookie` of `sessions`", SESSION_COOKIE),
    ("`privacy`", PRIVACY),
    ("a rule", RULE),
    ("`limits`", LIMITS),
    ("`delivery`", DELIVERY),
    ("`spool` of `delivery`", SPOOL),
    ("`nats` of `spool`", NATS),
    ("`server`", SERVER),
];
