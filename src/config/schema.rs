//! The keys of the YAML, section by section, and those that this version cannot serve yet.

/// The top level.
pub(super) const FILE: &[&str] = &[
    "listen",
    "admin",
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
/// An entry of `listen` that is more than an address.
pub(super) const LISTENER: &[&str] = &["address", "tls"];
/// Its `tls`.
pub(super) const TLS: &[&str] = &["certificate", "key"];
/// One of `projects`.
pub(super) const PROJECT: &[&str] = &["host", "api_key", "ca_file", "http", "properties"];
/// One of `routes`.
pub(super) const ROUTE: &[&str] = &["host", "path", "segment", "posthog", "origin"];
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
pub(super) const ORIGIN: &[&str] = &["servers", "inject", "health"];
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
pub(super) const LIMITS: &[&str] = &["body", "window", "event", "memory"];
/// `delivery`.
pub(super) const DELIVERY: &[&str] = &["connect_timeout", "timeout", "mode", "spool"];
/// Its `spool`.
pub(super) const SPOOL: &[&str] = &["path", "max_size", "max_age"];
/// `server`.
pub(super) const SERVER: &[&str] = &["threads", "grace"];

/// Every section by what it is called in a message.
pub(super) const ALL: &[(&str, &[&str])] = &[
    ("the top level", FILE),
    ("an entry of `listen`", LISTENER),
    ("`tls` of a listener", TLS),
    ("a project", PROJECT),
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
    ("`server`", SERVER),
];

/// A key of the contract that this version cannot serve, or not with every value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gap {
    /// Every value but this one.
    AllBut(&'static str),
}

/// All gaps. To switch one on, take its row out.
pub(super) const NOT_AVAILABLE: &[(&str, Gap)] = &[("admin", Gap::AllBut("off"))];

/// Why `key` cannot have the value `text` (a single value, or none) in this version.
pub(super) fn gap(key: &str, text: Option<&str>) -> Option<String> {
    let (_, gap) = NOT_AVAILABLE.iter().find(|(name, _)| *name == key)?;
    match (gap, text) {
        (Gap::AllBut(only), text) if text != Some(only) => Some(format!(
            "not available in this version; the only value is {only}"
        )),
        _ => None,
    }
}
