//! `hedgerow init`: a complete configuration with fresh neutral paths (adblock 6).

use super::names::{Names, NamesError};

/// What `init` cannot guess.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitOptions {
    /// The project's host: `us`, `eu` or a URL.
    pub host: String,
    /// The site's own server, when Hedgerow stands in front of it.
    pub origin: Option<String>,
    /// The host name that visitors use; without one every host is served.
    pub domain: Option<String>,
    /// Whether posthog-js is served as well.
    pub posthog_js: PostHogJs,
    /// The folder `dist/umd` of the npm package `@segment/analytics-next`.
    pub analytics_js: String,
}

impl Default for InitOptions {
    fn default() -> Self {
        Self {
            host: "us".to_owned(),
            origin: None,
            domain: None,
            posthog_js: PostHogJs::Served,
            analytics_js: DEFAULT_ANALYTICS_JS.to_owned(),
        }
    }
}

/// Where npm puts analytics.js.
pub const DEFAULT_ANALYTICS_JS: &str = "node_modules/@segment/analytics-next/dist/umd";

/// Whether posthog-js is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostHogJs {
    /// Replay, flags, surveys and autocapture work.
    Served,
    /// Only Segment's calls.
    LeftOut,
}

/// The file, commented, ending with a newline. `random` are [`super::names::ENOUGH_RANDOM_BYTES`]
/// bytes from the system's generator.
///
/// # Errors
/// When there are too few random bytes.
pub fn init(options: &InitOptions, random: &[u8]) -> Result<String, NamesError> {
    let mut names = Names::new(random);
    let prefix = names.prefix()?;
    let write_key = names.prefix()?;
    let [script, settings, chunks, calls, posthog] = [
        names.name()?,
        names.name()?,
        names.name()?,
        names.name()?,
        names.name()?,
    ];
    let seed = format!("{}{}", names.prefix()?, names.prefix()?);
    let host_line = options.domain.as_ref().map_or(String::new(), |domain| {
        format!("host: {}\n    ", quoted(domain))
    });
    let mut text = format!(
        "# Hedgerow: Segment's traffic in, PostHog's events out, on the site's own host.
#
# Before it starts it needs
#   POSTHOG_API_KEY     the project's key (Settings, Project, in PostHog; it starts with phc_)
#   analytics.js        npm install @segment/analytics-next
#
#   hedgerow check -c FILE      tells every mistake in this file
#   hedgerow run -c FILE        serves
#   hedgerow snippet -c FILE    prints what goes on the page

# Where requests come in. With TLS: {{address: 0.0.0.0:443, tls: {{certificate: FILE, key: FILE}}}}
listen:
  - 0.0.0.0:8080

# Health, metrics and the live view; keep it off the public network.
admin: off

# Whose X-Forwarded-For is believed: the addresses of a load balancer in front of this, if any.
trusted_proxies: []

projects:
  main:
    host: {host}
    api_key: env:POSTHOG_API_KEY

# The first route that matches has the request.
#
# The names below were made for this installation alone: a blocker's list that knows one
# installation knows no other. To change them, run `hedgerow init` again, put its routes in front of
# these, change the page, and take these out after a month or so, when no cached page asks for them.
routes:
",
        host = quoted(&options.host),
    );
    if options.posthog_js == PostHogJs::Served {
        text.push_str(&format!(
            "  # posthog-js: replay, feature flags, surveys, autocapture.
  - {host_line}path: /{prefix}/{posthog}/
    posthog:
      project: main
      names: {seed}        # its paths get other names, made from this

"
        ));
    }
    text.push_str(&format!(
        "  # Segment's calls and analytics.js itself. Segment's own paths work below this prefix too.
  - {host_line}path: /{prefix}/
    segment:
      project: main
      write_keys: [{write_key}]   # what pages and SDKs send; add the keys of existing ones
      library:
        folder: {folder}
        script: {script}         # /{prefix}/{script}.js
        settings: {settings}
        chunks: {chunks}
        calls: {calls}          # /{prefix}/{calls}/t and so on
      # Left out: the page sends no key, which saves a preflight where this is another host than
      # the page's. The keys above must then be `any`.
      settings: {{key: sent}}
",
        folder = quoted(&options.analytics_js),
    ));
    if let Some(origin) = &options.origin {
        text.push_str(&format!(
            "
  # The site itself.
  - {host_line}path: /
    origin: {origin}
",
            origin = quoted(origin),
        ));
    }
    text.push_str(DEFAULTS);
    Ok(text)
}

/// The rest of the file: every default, written out.
const DEFAULTS: &str = "
mapping:
  mode: enriched               # reference: exactly what PostHog's Segment destination sends
  integrations: respect        # ignore: events go to PostHog whatever their `integrations` say
  group_type: segment_group
  person_profiles: always      # always | identified_only | never
  event_uuid: v5               # v5: the id that PostHog's Segment destination gives the event

limits:
  body: 10MiB
  window: 1MiB
  event: 900kB

delivery:
  connect_timeout: 3s
  timeout: 15s
  spool: off                   # or {path: spool/, max_size: 1GiB, max_age: 7d}

server:
  threads: 2
  grace: 5s
";

/// A text as a YAML scalar: JSON's strings are YAML's double-quoted ones.
fn quoted(text: &str) -> String {
    let plain = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_'))
        && text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && !matches!(
            text,
            "on" | "off" | "yes" | "no" | "true" | "false" | "null"
        );
    if plain {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::{forbidden_word, ENOUGH_RANDOM_BYTES};
    use super::super::Layout;
    use super::*;
    use serde_json::Value;

    fn random(seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        (0..ENOUGH_RANDOM_BYTES)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 24) as u8
            })
            .collect()
    }

    fn parsed(options: &InitOptions, seed: u64) -> Value {
        let text = init(options, &random(seed)).unwrap();
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn the_file_is_yaml_with_every_section_and_the_flags_values() {
        let options = InitOptions {
            host: "https://ph.example.com:8443".to_owned(),
            origin: Some("http://127.0.0.1:3000".to_owned()),
            domain: Some("shop.example.com".to_owned()),
            posthog_js: PostHogJs::Served,
            analytics_js: "/opt/a folder: \"x\" #1".to_owned(),
        };
        let file = parsed(&options, 1);
        assert_eq!(
            file["projects"]["main"]["host"],
            "https://ph.example.com:8443"
        );
        assert_eq!(file["projects"]["main"]["api_key"], "env:POSTHOG_API_KEY");
        let routes = file["routes"].as_array().unwrap();
        assert_eq!(routes.len(), 3);
        assert!(routes
            .iter()
            .all(|route| route["host"] == "shop.example.com"));
        assert_eq!(routes[0]["posthog"]["project"], "main");
        assert_eq!(
            routes[1]["segment"]["library"]["folder"],
            "/opt/a folder: \"x\" #1"
        );
        assert_eq!(routes[2]["origin"], "http://127.0.0.1:3000");
        for section in ["listen", "admin", "mapping", "limits", "delivery", "server"] {
            assert!(!file[section].is_null(), "{section}");
        }
    }

    #[test]
    fn without_posthog_js_and_origin_there_is_one_route() {
        let options = InitOptions {
            posthog_js: PostHogJs::LeftOut,
            ..InitOptions::default()
        };
        let file = parsed(&options, 2);
        let routes = file["routes"].as_array().unwrap();
        assert_eq!(routes.len(), 1);
        assert!(routes[0].get("host").is_none());
        assert_eq!(
            routes[0]["segment"]["library"]["folder"],
            DEFAULT_ANALYTICS_JS
        );
    }

    #[test]
    fn two_hundred_installations_share_no_name_and_no_address_says_what_it_is() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let file = parsed(&InitOptions::default(), seed);
            let routes = file["routes"].as_array().unwrap();
            let (posthog, segment) = (&routes[0], &routes[1]);
            let prefix = segment["path"].as_str().unwrap();
            assert_eq!(prefix.len(), 10, "{prefix}");
            assert!(posthog["path"].as_str().unwrap().starts_with(prefix));
            let library = &segment["segment"]["library"];
            let name = |part: &str| library[part].as_str().unwrap().to_owned();
            let layout = Layout::new(
                prefix,
                &name("script"),
                &name("settings"),
                &name("chunks"),
                &name("calls"),
            )
            .unwrap();
            let write_key = segment["segment"]["write_keys"][0].as_str().unwrap();
            for address in [
                layout.script_path(),
                layout.settings_path(write_key),
                layout.calls_path(),
                posthog["path"].as_str().unwrap().to_owned(),
            ] {
                assert_eq!(forbidden_word(&address), None, "{address}");
            }
            for part in ["script", "settings", "chunks", "calls"] {
                assert!(seen.insert(name(part)), "{part} twice");
            }
            assert!(seen.insert(prefix.to_owned()));
        }
    }

    #[test]
    fn values_that_yaml_would_read_as_something_else_are_quoted() {
        for text in [
            "off", "1e3", "a: b", "#x", "", "~", "- a", "a #b", "null", "@x", "\t",
        ] {
            let back: Value = serde_saphyr::from_str(&format!("key: {}", quoted(text))).unwrap();
            assert_eq!(back["key"], *text);
        }
    }
}
