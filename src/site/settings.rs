//! The settings that analytics.js and the mobile SDKs request (segment-tracking 3.3).

use std::fmt;

use bytes::Bytes;
use serde_json::{json, Map, Value};
use thiserror::Error;

use super::layout::Layout;

/// The integration that contains the host for events. analytics.js needs no other.
const SEGMENT: &str = "Segment.io";

/// The part of the settings that is the same for every host and write key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether the page gets the write key.
    pub key_form: KeyForm,
    /// `deliveryStrategy` in the form that analytics.js reads: `{"strategy":"batching","config":{…}}`.
    pub delivery_strategy: Option<Value>,
    /// `httpConfig`: the numbers for retry and back-off (segment-tracking 3.3).
    pub http_config: Option<Value>,
    /// `retryQueue`: false turns the queue of failed events off.
    pub retry_queue: Option<bool>,
    /// `consentSettings`, passed through: `{"allCategories":[…],"hasUnmappedDestinations":…}`.
    pub consent_settings: Option<Value>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            key_form: KeyForm::Sent,
            delivery_strategy: None,
            http_config: None,
            retry_queue: None,
            consent_settings: None,
        }
    }
}

/// Whether the page gets a write key to send with its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// `apiKey` is present: analytics.js from 1.84 on sends an `Authorization` header, and with it
    /// a preflight if the proxy is on another host than the page.
    Sent,
    /// `apiKey` is omitted: no header, no preflight. The route must determine the project
    /// (segment-tracking 1.6).
    LeftOut,
}

/// The scheme by which the page reaches Hedgerow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageProtocol {
    /// Without encryption; only for tests on a local machine.
    Http,
    /// TLS.
    Https,
}

impl PageProtocol {
    /// Returns the scheme's name, as the settings contain it and as it is before `://`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The host to which the visitor's browser sent a request: a name or an address, with a port if the
/// request names one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestHost(String);

/// The `Host` header is not valid in an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected a host name or address of at most 255 characters, with or without a port")]
pub struct RequestHostError;

impl RequestHost {
    /// Checks a `Host` header or `:authority`. The settings repeat the client's value, so only
    /// values that can be part of an address are accepted.
    ///
    /// # Errors
    /// [`RequestHostError`] if it is empty, too long, or not a valid host with or without a port.
    pub fn new(host: &str) -> Result<Self, RequestHostError> {
        let (name, port) = match host.strip_prefix('[') {
            Some(rest) => match rest.split_once(']') {
                Some((name, "")) => (name, None),
                Some((name, port)) => (name, Some(port.strip_prefix(':').ok_or(RequestHostError)?)),
                None => return Err(RequestHostError),
            },
            None => match host.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (host, None),
            },
        };
        let valid_name = if host.starts_with('[') {
            name.parse::<std::net::Ipv6Addr>().is_ok()
        } else {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        };
        let valid_port = port.is_none_or(|port| {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
        });
        if valid_name && valid_port && host.len() <= 255 {
            Ok(Self(host.to_ascii_lowercase()))
        } else {
            Err(RequestHostError)
        }
    }

    /// Returns the host in lower case, with its port if it has one.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Settings {
    /// Returns the settings for a write key and a host. Every address in them leads to Hedgerow. They
    /// contain only Segment's own integration, because analytics.js would request destination code
    /// for any other.
    ///
    /// `write_key` is the key that events get, which may differ from the alias in the path. The
    /// caller serves the settings with [`Settings::HEADERS`].
    pub fn render(
        &self,
        layout: &Layout,
        write_key: &str,
        host: &RequestHost,
        protocol: PageProtocol,
    ) -> Bytes {
        let mut settings = Map::new();
        self.point_home(&mut settings, layout, write_key, host, protocol);
        Bytes::from(Value::Object(settings).to_string())
    }

    /// The headers for the settings: JSON that every origin may read (pages request it without
    /// credentials), and that caches keep for five minutes, or for a day while Hedgerow is
    /// unreachable.
    pub const HEADERS: [(&'static str, &'static str); 5] = [
        ("content-type", "application/json; charset=utf-8"),
        ("cache-control", "public, max-age=300, stale-if-error=86400"),
        ("access-control-allow-origin", "*"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("x-content-type-options", "nosniff"),
    ];

    /// The `Cache-Control` that permits only the browser to keep the settings.
    pub const PRIVATE: &'static str = "private, max-age=300, stale-if-error=86400";

    fn point_home(
        &self,
        root: &mut Map<String, Value>,
        layout: &Layout,
        write_key: &str,
        host: &RequestHost,
        protocol: PageProtocol,
    ) {
        // The host has no scheme, because in its standard mode analytics.js puts one before it.
        let api_host = format!("{host}{}", layout.calls_path());
        let mut integrations = take(root, "integrations");
        let mut segment = take(&mut integrations, SEGMENT);
        segment.insert("apiHost".to_owned(), json!(api_host));
        segment.insert("protocol".to_owned(), json!(protocol.name()));
        match self.key_form {
            KeyForm::Sent => segment.insert("apiKey".to_owned(), json!(write_key)),
            KeyForm::LeftOut => segment.remove("apiKey"),
        };
        let chosen = [
            ("deliveryStrategy", self.delivery_strategy.clone()),
            ("httpConfig", self.http_config.clone()),
            ("retryQueue", self.retry_queue.map(Value::Bool)),
        ];
        for (name, value) in chosen {
            if let Some(value) = value {
                segment.insert(name.to_owned(), value);
            }
        }
        integrations.insert(SEGMENT.to_owned(), Value::Object(segment));
        root.insert("integrations".to_owned(), Value::Object(integrations));
        // Without a rate of 0 the page sends its own metrics every 30 seconds. It reports errors at any
        // rate, so the host is set too.
        let mut metrics = take(root, "metrics");
        metrics.insert("sampleRate".to_owned(), json!(0));
        metrics.insert("host".to_owned(), json!(api_host));
        metrics.insert("protocol".to_owned(), json!(protocol.name()));
        root.insert("metrics".to_owned(), Value::Object(metrics));
        if let Some(consent) = &self.consent_settings {
            root.insert("consentSettings".to_owned(), consent.clone());
        }
    }
}

/// What happens to a Segment account's device-mode destinations, whose code runs in the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceMode {
    /// They stay. The page requests the code that Segment hosts below Hedgerow's prefix
    /// (`/next-integrations/…`), and each destination's own hosts directly.
    Kept,
    /// They are removed: the page requests nothing from other hosts.
    Removed,
}

/// Changes a real account's settings, as Segment's CDN sent them, so that Segment's addresses lead to
/// Hedgerow.
///
/// Values of the account that Hedgerow does not set stay: plan, consent, edge functions, integrations
/// (segment-tracking 3.3). [`DeviceMode::Removed`] removes some of them. Values of Hedgerow's own
/// configuration replace the account's. Returns `None` if `account` is not a settings object; the
/// caller then serves [`Settings::render`].
pub fn merge_account(
    account: Value,
    settings: &Settings,
    device_mode: DeviceMode,
    layout: &Layout,
    write_key: &str,
    host: &RequestHost,
    protocol: PageProtocol,
) -> Option<Value> {
    let Value::Object(mut root) = account else {
        return None;
    };
    let Some(Value::Object(integrations)) = root.get_mut("integrations") else {
        return None;
    };
    if device_mode == DeviceMode::Removed {
        integrations.retain(|name, _| name == SEGMENT);
        // Plug-ins and middleware belong to destinations in the page, and load their own code.
        for name in [
            "remotePlugins",
            "middlewareSettings",
            "enabledMiddleware",
            "edgeFunction",
        ] {
            root.remove(name);
        }
    } else if let Some(Value::Array(plugins)) = root.get_mut("remotePlugins") {
        let base = format!("{}://{host}{}", protocol.name(), layout.prefix());
        for plugin in plugins {
            if let Some(Value::String(url)) = plugin.get_mut("url") {
                if let Some(home) = from_segments_cdn(url) {
                    *url = format!("{base}{home}");
                }
            }
        }
    }
    settings.point_home(&mut root, layout, write_key, host, protocol);
    Some(Value::Object(root))
}

/// Returns the path of an address on Segment's CDN.
fn from_segments_cdn(url: &str) -> Option<&str> {
    [
        "https://cdn.segment.com",
        "https://cdn.segment.build",
        "https://cdn.segment.io",
    ]
    .iter()
    .find_map(|cdn| url.strip_prefix(cdn))
    .filter(|path| path.starts_with('/'))
}

/// Removes an object from another and returns it. If the value is missing, or is not an object,
/// returns an empty object.
fn take(parent: &mut Map<String, Value>, name: &str) -> Map<String, Value> {
    match parent.remove(name) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout::new("/k3v9x2mn/", "fq7dk2", "sz4mwp", "ch8tvn", "qn5rzd").unwrap()
    }

    fn host(text: &str) -> RequestHost {
        RequestHost::new(text).unwrap()
    }

    #[test]
    fn minimal_settings_point_home_and_turn_telemetry_off() {
        let bytes = Settings::default().render(
            &layout(),
            "KEY",
            &host("shop.example.com:8443"),
            PageProtocol::Https,
        );
        let home = "shop.example.com:8443/k3v9x2mn/qn5rzd";
        assert_eq!(
            serde_json::from_slice::<Value>(&bytes).unwrap(),
            json!({
                "integrations": {"Segment.io": {"apiKey": "KEY", "apiHost": home, "protocol": "https"}},
                "metrics": {"sampleRate": 0, "host": home, "protocol": "https"},
            })
        );
    }

    #[test]
    fn the_form_without_a_preflight_has_no_key_and_every_option_is_passed_on() {
        let settings = Settings {
            key_form: KeyForm::LeftOut,
            delivery_strategy: Some(json!({"strategy": "batching", "config": {"size": 5}})),
            http_config: Some(json!({"backoffConfig": {"maxRetryCount": 3}})),
            retry_queue: Some(false),
            consent_settings: Some(json!({"allCategories": ["ads"]})),
        };
        let bytes = settings.render(&layout(), "KEY", &host("a.test"), PageProtocol::Http);
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            value["integrations"]["Segment.io"],
            json!({
                "apiHost": "a.test/k3v9x2mn/qn5rzd",
                "protocol": "http",
                "deliveryStrategy": {"strategy": "batching", "config": {"size": 5}},
                "httpConfig": {"backoffConfig": {"maxRetryCount": 3}},
                "retryQueue": false,
            })
        );
        assert_eq!(value["consentSettings"], json!({"allCategories": ["ads"]}));
        assert!(!bytes.windows(3).any(|window| window == b"KEY"));
    }

    fn account() -> Value {
        json!({
            "integrations": {
                "Segment.io": {"apiKey": "KEY", "apiHost": "api.segment.io/v1", "addBundledMetadata": true},
                "Other": {"id": 1},
            },
            "metrics": {"sampleRate": 0.1},
            "plan": {"track": {"__default": {"enabled": true}}},
            "remotePlugins": [
                {"name": "Other", "url": "https://cdn.segment.com/next-integrations/actions/other/1.js"},
                {"name": "Own", "url": "https://cdn.other.example/own.js"},
            ],
            "middlewareSettings": {"routingRules": []},
        })
    }

    fn merged(device_mode: DeviceMode) -> Value {
        merge_account(
            account(),
            &Settings::default(),
            device_mode,
            &layout(),
            "KEY",
            &host("a.test"),
            PageProtocol::Https,
        )
        .unwrap()
    }

    #[test]
    fn an_accounts_settings_keep_their_values_and_point_to_this_host() {
        let value = merged(DeviceMode::Kept);
        let segment = &value["integrations"]["Segment.io"];
        assert_eq!(segment["apiHost"], "a.test/k3v9x2mn/qn5rzd");
        assert_eq!(segment["addBundledMetadata"], true);
        assert_eq!(value["integrations"]["Other"], json!({"id": 1}));
        assert_eq!(value["metrics"]["sampleRate"], 0);
        assert_eq!(value["plan"], account()["plan"]);
        assert_eq!(
            value["remotePlugins"][0]["url"],
            "https://a.test/k3v9x2mn/next-integrations/actions/other/1.js"
        );
        assert_eq!(
            value["remotePlugins"][1]["url"],
            "https://cdn.other.example/own.js"
        );
    }

    #[test]
    fn without_device_mode_no_other_host_is_left_in_an_accounts_settings() {
        let value = merged(DeviceMode::Removed);
        assert_eq!(value["integrations"].as_object().unwrap().len(), 1);
        assert_eq!(value["plan"], account()["plan"]);
        let text = value.to_string();
        for gone in [
            "remotePlugins",
            "middlewareSettings",
            "segment.com",
            "api.segment.io",
            "other",
        ] {
            assert!(!text.contains(gone), "{gone} is left in {text}");
        }
    }

    #[test]
    fn an_invalid_settings_object_is_not_merged() {
        for answer in [
            json!(null),
            json!("x"),
            json!([]),
            json!({}),
            json!({"integrations": 3}),
        ] {
            let merged = merge_account(
                answer.clone(),
                &Settings::default(),
                DeviceMode::Kept,
                &layout(),
                "KEY",
                &host("a.test"),
                PageProtocol::Https,
            );
            assert_eq!(merged, None, "{answer}");
        }
    }

    #[test]
    fn an_invalid_host_never_reaches_the_settings() {
        for bad in [
            "",
            ":80",
            "a b",
            "a/b",
            "a\"b",
            "a:b",
            "a:",
            "a:99999",
            "a:+1",
            "[::1",
            "[x]",
            "[::1]x",
            "ä",
            "user@a",
            &"a".repeat(256),
        ] {
            assert_eq!(RequestHost::new(bad), Err(RequestHostError), "{bad:?}");
        }
        for good in ["a.test", "a.test:8080", "127.0.0.1", "[::1]:80", "[::1]"] {
            assert_eq!(host(good).as_str(), good);
        }
        assert_eq!(host("Shop.Example").as_str(), "shop.example");
    }
}
