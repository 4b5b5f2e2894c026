//! Translates an address in PostHog's answer to the address on the site's host.

use url::Url;

use crate::posthog::{Host, Scheme};

use super::path_names::PathNames;
use super::path_prefix::PathPrefix;

/// The hosts of a project, and the prefix and names under which one `posthog` route serves them.
#[derive(Debug, Clone)]
pub struct HostPrefix {
    /// The prefix, without a slash at its end.
    prefix: String,
    /// The API host, and the host for assets.
    hosts: [Host; 2],
    names: Option<PathNames>,
}

impl HostPrefix {
    /// Returns the translation for this project's hosts below `prefix`, with these names.
    pub fn new(prefix: &PathPrefix, host: &Host, names: Option<&PathNames>) -> Self {
        Self {
            prefix: prefix.to_string().trim_end_matches('/').to_owned(),
            hosts: [host.clone(), host.assets()],
            names: names.cloned(),
        }
    }

    /// Returns the `Location` on the site's host, with the prefix and the neutral names. Returns `None`
    /// if the address is not on the project's hosts below their base path; the caller then leaves it
    /// unchanged.
    ///
    /// `requested` is the path and query of the request to PostHog, without the host's own base path. A
    /// relative address is resolved against it (RFC 9110, 10.2.2).
    pub fn location(&self, requested: &str, location: &str) -> Option<String> {
        let api = &self.hosts[0];
        let scheme = match api.scheme() {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let base = format!(
            "{scheme}://{}{}{requested}",
            api.authority(),
            api.base_path()
        );
        let resolved = Url::parse(&base).ok()?.join(location).ok()?;
        let host = self.hosts.iter().find(|host| is_of(&resolved, host))?;
        let path = resolved.path().strip_prefix(host.base_path())?;
        if !path.is_empty() && !path.starts_with('/') {
            return None;
        }
        let mut real = path.to_owned();
        if let Some(query) = resolved.query() {
            real.push('?');
            real.push_str(query);
        }
        let shown = match &self.names {
            Some(names) => names.to_neutral(&real),
            None => real.as_str().into(),
        };
        let mut location = format!("{}{shown}", self.prefix);
        if let Some(fragment) = resolved.fragment() {
            location.push('#');
            location.push_str(fragment);
        }
        Some(location)
    }
}

/// Returns whether an address is on this host. The scheme may differ, and the port may be missing:
/// a PostHog that has its own proxy may not know those of its public address.
fn is_of(url: &Url, host: &Host) -> bool {
    let name = url.host_str().unwrap_or_default();
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let same_port = match url.port() {
        None => true,
        Some(port) => port == host.port(),
    };
    matches!(url.scheme(), "http" | "https") && name == host.name() && same_port
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "k3v9x2mnq7";
    const KEY: &str = "phc_abcdefghijklmnop";

    fn below(prefix: &str, host: &str, names: Option<&PathNames>) -> HostPrefix {
        let yaml = format!(
            "projects: {{p: {{host: us, api_key: phc_test}}}}\nroutes:\n  - path: {prefix}\n    \
             posthog: {{project: p}}\n"
        );
        let (config, _) =
            crate::Config::parse(&yaml, &crate::config::Environment::new(".")).unwrap();
        HostPrefix::new(&config.routes[0].path, &host.parse().unwrap(), names)
    }

    #[test]
    fn an_address_of_posthogs_keeps_the_prefix_of_the_route() {
        let route = below("/ph/", "us", None);
        for (requested, location, expected) in [
            ("/e", "/e/", Some("/ph/e/")),
            ("/e?x=1", "/e/?x=1#f", Some("/ph/e/?x=1#f")),
            ("/i/v0/e", "e/", Some("/ph/i/v0/e/")),
            ("/i/v0/e/", "../../flags/", Some("/ph/i/flags/")),
            ("/e", "?again=1", Some("/ph/e?again=1")),
            ("/e", "../../..", Some("/ph/")),
            ("/e", "https://us.i.posthog.com/e/", Some("/ph/e/")),
            ("/e", "http://us.i.posthog.com/e/", Some("/ph/e/")),
            ("/e", "https://US.I.posthog.com:443", Some("/ph/")),
            ("/e", "//us.i.posthog.com/e/", Some("/ph/e/")),
            (
                "/static/array.js",
                "https://us-assets.i.posthog.com/static/1/array.js?v=1",
                Some("/ph/static/1/array.js?v=1"),
            ),
            ("/e", "https://us.i.posthog.com:8443/e/", None),
            ("/e", "https://us.posthog.com/login", None),
            ("/e", "https://shop.example/", None),
            ("/e", "mailto:a@us.i.posthog.com", None),
            ("/e", "https://", None),
        ] {
            assert_eq!(
                route.location(requested, location).as_deref(),
                expected,
                "{requested} -> {location}"
            );
        }
    }

    #[test]
    fn a_host_below_a_path_and_a_route_of_the_whole_host_are_counted_in() {
        let own = below("/a/b/", "http://[::1]:8000/hog", None);
        for (location, expected) in [
            ("/hog/e/", Some("/a/b/e/")),
            ("e/", Some("/a/b/e/")),
            ("http://[::1]:8000/hog/e/", Some("/a/b/e/")),
            ("http://[::1]:8000/hog", Some("/a/b")),
            // The route can only request paths below the base path.
            ("/login", None),
            ("/hogwash", None),
            ("http://[::1]:8001/hog/e/", None),
        ] {
            assert_eq!(
                own.location("/e", location).as_deref(),
                expected,
                "{location}"
            );
        }
        let whole = below("/", "eu", None);
        assert_eq!(whole.location("/e", "/e/").as_deref(), Some("/e/"));
    }

    #[test]
    fn an_address_of_posthog_is_neutral_on_a_route_with_neutral_names() {
        let names = PathNames::new(SEED, KEY).unwrap();
        let route = below("/k3v9/", "us", Some(&names));
        let real = format!("/array/{KEY}/config.js?token={KEY}");
        let shown = route.location("/static/array.js", &real).unwrap();
        assert_eq!(shown, format!("/k3v9{}", names.to_neutral(&real)));
        assert!(!shown.contains("array") && !shown.contains(KEY), "{shown}");
        let restored = names.to_real(shown.strip_prefix("/k3v9").unwrap());
        assert_eq!(restored, real);
    }
}
