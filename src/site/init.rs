//! `hedgerow init`: a complete configuration with fresh neutral paths (adblock 6).

use super::names::{NameGenerator, NamesError};

/// The settings that `init` cannot guess.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitOptions {
    /// The project's host: `us`, `eu` or a URL.
    pub host: String,
    /// How pages reach Hedgerow.
    pub deployment: Deployment,
    /// The address and port where requests arrive.
    pub listen: String,
    /// The address and port of health, metrics and the live view, or `off`.
    pub admin: String,
    /// The write keys that pages and SDKs send already. If it is empty, `init` generates one.
    pub write_keys: Vec<String>,
    /// The host name that visitors use. If it is `None`, every host is served.
    pub domain: Option<String>,
    /// Whether posthog-js is served as well.
    pub posthog_js: PostHogJsServing,
    /// The folder `dist/umd` of the npm package `@segment/analytics-next`.
    pub analytics_js: String,
}

impl Default for InitOptions {
    fn default() -> Self {
        Self {
            host: "us".to_owned(),
            deployment: Deployment::HandedOver,
            listen: DEFAULT_LISTEN.to_owned(),
            admin: "off".to_owned(),
            write_keys: Vec::new(),
            domain: None,
            posthog_js: PostHogJsServing::Served,
            analytics_js: DEFAULT_ANALYTICS_JS.to_owned(),
        }
    }
}

/// How pages reach Hedgerow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deployment {
    /// The web server of the site hands one path over to Hedgerow.
    HandedOver,
    /// Hedgerow receives all requests of the site, passes them on to the site's own server at this
    /// URL, and adds the snippet to its pages.
    InFront(String),
    /// Hedgerow has its own host, such as `https://t.example.com`.
    OwnHost(String),
}

/// The default of `listen`: port 8080 on every address of the machine.
pub const DEFAULT_LISTEN: &str = "0.0.0.0:8080";

/// The folder where npm installs analytics.js.
pub const DEFAULT_ANALYTICS_JS: &str = "node_modules/@segment/analytics-next/dist/umd";

/// Whether Hedgerow serves posthog-js.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostHogJsServing {
    /// posthog-js is served, so that replay, flags, surveys and autocapture work.
    Served,
    /// Only Segment's calls are served.
    LeftOut,
}

/// Returns the configuration file with comments; it ends with a newline. `random` are
/// [`super::names::ENOUGH_RANDOM_BYTES`] bytes from the system's generator.
///
/// # Errors
///
/// When there are too few random bytes.
pub fn init(options: &InitOptions, random: &[u8]) -> Result<String, NamesError> {
    let mut names = NameGenerator::new(random);
    let prefix = names.prefix()?;
    let fresh_key = names.prefix()?;
    let write_keys = match options.write_keys.as_slice() {
        [] => fresh_key,
        keys => keys
            .iter()
            .map(|key| quoted(key))
            .collect::<Vec<_>>()
            .join(", "),
    };
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
    let home_line = match &options.deployment {
        Deployment::OwnHost(home) => {
            let remark = "pages send their requests to this address";
            format!("\n    home: {}    # {remark}", quoted(home))
        }
        Deployment::HandedOver | Deployment::InFront(_) => String::new(),
    };
    let reached = match &options.deployment {
        Deployment::HandedOver => format!(
            "# The web server of your site passes requests for /{prefix}/ on to Hedgerow: `hedgerow snippet` prints
# the lines for nginx.",
        ),
        Deployment::InFront(_) => {
            "# Hedgerow is in front of your site and adds the snippet to its pages.".to_owned()
        }
        Deployment::OwnHost(_) => {
            "# Hedgerow has its own host: pages send their requests to the address in `home` of the routes."
                .to_owned()
        }
    };
    // The web server that hands a path over usually runs on this machine.
    let trusted = match &options.deployment {
        Deployment::HandedOver => "[127.0.0.1, \"::1\"]",
        Deployment::InFront(_) | Deployment::OwnHost(_) => "[]",
    };
    let mut text = format!(
        "# The settings of Hedgerow, which receives Segment's calls on your own host, and sends them to PostHog.
{reached}
#
# Hedgerow needs the project API key of PostHog in the environment variable POSTHOG_API_KEY (in PostHog:
# Settings, Project; the key begins with phc_), and analytics.js: run `npm install @segment/analytics-next`
# in the folder of this file.
#
#   hedgerow check -c FILE      reports every mistake in this file
#   hedgerow run -c FILE        starts Hedgerow
#   hedgerow snippet -c FILE    prints the snippet for your pages

# The addresses on which Hedgerow accepts requests. With TLS:
#   {{address: 0.0.0.0:443, tls: {{certificate: FILE, key: FILE}}}}
# With a certificate that Hedgerow orders itself (docs/certificates.md):
#   {{address: 0.0.0.0:443, tls: {{acme: {{domains: [NAME], storage: FOLDER}}}}}}
listen:
  - {listen}

# The address for health, metrics and the live view, for example 127.0.0.1:9090. The public network must not
# reach it.
admin: {admin}

# The addresses of your web server or load balancer in front of Hedgerow. Hedgerow reads a visitor's address
# from X-Forwarded-For only if one of these has sent the request. If one is missing, PostHog gets its address
# for every visitor.
trusted_proxies: {trusted}

projects:
  main:
    host: {host}
    api_key: env:POSTHOG_API_KEY

# The first route that matches a request handles it.
#
# `init` made the names below for this installation only: a blocker's list with the names of another
# installation does not block this one. To change the names, run `hedgerow init` again, copy its routes to
# the top of this list, and put its snippet into your pages. Remove the old routes after about a month, when
# browsers have no cached page with the old names.
routes:
",
        host = quoted(&options.host),
        listen = address(&options.listen),
        admin = match options.admin.as_str() {
            "off" => "off".to_owned(),
            text => address(text),
        },
    );
    if options.posthog_js == PostHogJsServing::Served {
        text.push_str(&format!(
            "  # posthog-js: replay, feature flags, surveys, autocapture.
  - {host_line}path: /{prefix}/{posthog}/{home_line}
    posthog:
      project: main
      names: {seed}        # Hedgerow derives other names for posthog-js's paths from this

"
        ));
    }
    text.push_str(&format!(
        "  # Segment's calls and analytics.js. Segment's own paths work too: /{prefix}/v1/track and so on.
  - {host_line}path: /{prefix}/{home_line}
    segment:
      project: main
      write_keys: [{write_keys}]   # the accepted keys; add those that your pages and SDKs already send
      library:
        folder: {folder}
        script: {script}         # /{prefix}/{script}.js
        settings: {settings}
        chunks: {chunks}
        calls: {calls}          # /{prefix}/{calls}/t and so on
      # sent: events carry the write key. left_out: they do not, and `write_keys` must be `any`; if
      # Hedgerow has another host than the page, browsers then send no preflight requests.
      settings: {{key: sent}}
",
        folder = quoted(&options.analytics_js),
    ));
    if let Deployment::InFront(origin) = &options.deployment {
        text.push_str(&format!(
            "
  # The site itself: Hedgerow passes all other requests on to its server.
  - {host_line}path: /
    origin:
      servers: {origin}
      inject: /{prefix}/        # Hedgerow adds the snippet of this route to the HTML pages
",
            origin = quoted(origin),
        ));
    }
    text.push_str(DEFAULTS);
    Ok(text)
}

/// The rest of the file: all other settings with their defaults.
const DEFAULTS: &str = "
mapping:
  mode: enriched               # or reference: exactly what PostHog's own Segment destination sends
  integrations: respect        # or ignore: send a message even if its `integrations` exclude PostHog
  group_type: segment_group    # PostHog's group type for the groups of Segment's messages
  person_profiles: always      # or identified_only, or never: which events create person profiles
  event_uuid: v5               # the same id that PostHog's own Segment destination gives an event; or v7
  # page: analytics.js stores a session together with its anonymous id, in the page's own storage and under
  # the same consent. PostHog's web analytics counts only events with a session. off: events have a session
  # only if posthog-js or another library provides one.
  sessions: page

limits:
  body: 10MiB                  # the largest body of a request; a larger one gets 413
  window: 1MiB                 # Hedgerow streams a larger body instead of holding it whole
  event: 900kB                 # the largest event; Hedgerow drops and counts larger ones

delivery:
  connect_timeout: 3s
  timeout: 15s                 # how long Hedgerow waits for PostHog's answer
  # Events that PostHog does not accept wait in this folder until it does. off: clients get 503 and retry.
  spool: {path: spool/, max_size: 1GiB, max_age: 7d}

server:
  threads: 2
  grace: 5s                    # how long a stopping process waits for requests in flight
";

/// Returns an address as a YAML scalar. IPv4 addresses need no quotes; everything else gets them if
/// necessary.
fn address(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b':');
    match text.bytes().all(plain) && text.starts_with(|first: char| first.is_ascii_digit()) {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// Returns a text as a YAML scalar. Where it needs quotes, it is written as a JSON string, which is
/// also a double-quoted string of YAML.
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
    use super::*;
    use crate::config::{
        Action, Config, Libraries, LibraryFiles, LibrarySource, PageHost, Reach, Route,
        SecretSource, SegmentFiles,
    };
    use crate::site::snippet::ProxyAddress;
    use std::env::VarError;
    use std::io;
    use std::path::{Path, PathBuf};

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

    /// An environment that holds a project key.
    struct TestEnvironment;

    impl SecretSource for TestEnvironment {
        fn variable(&self, _name: &str) -> Result<String, VarError> {
            Ok("phc_test".to_owned())
        }

        fn file(&self, _path: &Path) -> io::Result<Vec<u8>> {
            Err(io::ErrorKind::NotFound.into())
        }

        fn resolve(&self, path: &Path) -> PathBuf {
            path.to_owned()
        }
    }

    fn parsed(options: &InitOptions, seed: u64) -> Config {
        let text = init(options, &random(seed)).unwrap();
        match Config::parse(&text, &TestEnvironment) {
            Ok((config, warnings)) => {
                let odd: Vec<_> = warnings
                    .iter()
                    .filter(|warning| !warning.message.contains("phc_"))
                    .collect();
                assert!(odd.is_empty(), "{odd:?}");
                config
            }
            Err(problems) => panic!("{problems}\n{text}"),
        }
    }

    fn segment(route: &Route) -> &SegmentFiles {
        match &route.action {
            Action::Segment { files, .. } => files,
            other => panic!("{other:?}"),
        }
    }

    fn served(folder: PathBuf) -> Option<LibraryFiles> {
        Some(LibraryFiles {
            current: LibrarySource::Folder(folder),
            previous: Vec::new(),
        })
    }

    #[test]
    fn the_file_is_a_configuration_with_the_flags_values() {
        let options = InitOptions {
            host: "https://ph.example.com:8443".to_owned(),
            deployment: Deployment::InFront("http://127.0.0.1:3000".to_owned()),
            domain: Some("shop.example.com".to_owned()),
            posthog_js: PostHogJsServing::Served,
            listen: "[::1]:8081".to_owned(),
            admin: "127.0.0.1:9091".to_owned(),
            write_keys: vec!["null".to_owned(), "#wk:2".to_owned()],
            analytics_js: "/opt/a folder: \"x\" #1".to_owned(),
        };
        let config = parsed(&options, 1);
        let project = config.project("main").unwrap();
        assert_eq!(project.host.to_string(), "https://ph.example.com:8443");
        assert_eq!(project.api_key.expose(), "phc_test");
        let [posthog, files, origin] = config.routes.as_slice() else {
            panic!("{:?}", config.routes);
        };
        for route in &config.routes {
            let host = route.host.as_ref().unwrap().to_string();
            assert_eq!(host, "shop.example.com");
        }
        assert!(matches!(&posthog.action, Action::PostHog(js) if js.names.is_some()));
        let folder = PathBuf::from("/opt/a folder: \"x\" #1");
        assert_eq!(segment(files).library, served(folder));
        assert!(segment(files).page_key.is_some());
        assert!(matches!(&origin.action, Action::Origin(origin)
            if origin.servers[0].to_string() == "http://127.0.0.1:3000"
            && origin.inject.as_ref() == Some(&files.path)));
        assert_eq!(config.listen[0].address.to_string(), "[::1]:8081");
        assert_eq!(config.admin.unwrap().to_string(), "127.0.0.1:9091");
        assert_eq!(segment(files).page_key.as_ref().unwrap().expose(), "null");
        assert!(config.trusted_proxies.is_empty());
    }

    #[test]
    fn each_way_that_pages_take_stands_in_the_file_and_is_known_again() {
        for (deployment, reach, home) in [
            (
                Deployment::HandedOver,
                Reach::HandedOver,
                ProxyAddress::SameHost,
            ),
            (
                Deployment::InFront("http://127.0.0.1:3000".to_owned()),
                Reach::Injected,
                ProxyAddress::SameHost,
            ),
            (
                Deployment::OwnHost("https://t.example.com".to_owned()),
                Reach::OwnHost,
                ProxyAddress::OtherHost("https://t.example.com".to_owned()),
            ),
        ] {
            for posthog_js in [PostHogJsServing::Served, PostHogJsServing::LeftOut] {
                let options = InitOptions {
                    deployment: deployment.clone(),
                    posthog_js,
                    ..InitOptions::default()
                };
                let config = parsed(&options, 4);
                let host = PageHost::Unknown;
                let page = config.page(None, host, Libraries::All, None, None).unwrap();
                assert_eq!(page.home, home, "{deployment:?}");
                assert_eq!(config.reach(&page, host), reach, "{deployment:?}");
                let local = config.trusted_proxies.len();
                assert_eq!(
                    local > 0,
                    deployment == Deployment::HandedOver,
                    "{deployment:?}"
                );
            }
        }
    }

    #[test]
    fn without_posthog_js_and_origin_there_is_one_route() {
        let options = InitOptions {
            posthog_js: PostHogJsServing::LeftOut,
            ..InitOptions::default()
        };
        let config = parsed(&options, 2);
        assert_eq!(config.routes.len(), 1);
        assert!(config.routes[0].host.is_none());
        let folder = PathBuf::from(DEFAULT_ANALYTICS_JS);
        assert_eq!(segment(&config.routes[0]).library, served(folder));
    }

    #[test]
    fn two_hundred_installations_share_no_name_and_no_address_says_what_it_is() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let config = parsed(&InitOptions::default(), seed);
            let [posthog, route] = config.routes.as_slice() else {
                panic!("{:?}", config.routes);
            };
            let prefix = route.path.to_string();
            assert_eq!(prefix.len(), 10, "{prefix}");
            assert!(posthog.path.to_string().starts_with(&prefix));
            let files = segment(route);
            let layout = &files.layout;
            let write_key = files.page_key.as_ref().unwrap().expose();
            for address in [
                layout.script_path(),
                layout.settings_path(write_key),
                layout.calls_path(),
                posthog.path.to_string(),
            ] {
                assert_eq!(forbidden_word(&address), None, "{address}");
                assert!(seen.insert(address.clone()), "{address} twice");
            }
            assert!(seen.insert(prefix));
        }
    }

    #[test]
    fn values_that_yaml_would_read_as_something_else_are_quoted() {
        for text in [
            "off", "1e3", "a: b", "#x", "~", "- a", "a #b", "null", "@x", "a\tb",
        ] {
            let options = InitOptions {
                analytics_js: text.to_owned(),
                ..InitOptions::default()
            };
            let config = parsed(&options, 3);
            let folder = PathBuf::from(text);
            assert_eq!(segment(&config.routes[1]).library, served(folder));
        }
    }
}
