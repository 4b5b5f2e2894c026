//! The host that a request names.

use std::fmt;
use std::str::FromStr;

/// A host name or address in lower case, without a port. An IPv6 address has no brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteHost(String);

impl SiteHost {
    /// Creates a host from a name or address, with or without a port.
    ///
    /// # Errors
    ///
    /// Returns a message if the text is not one host.
    pub(super) fn new(text: &str) -> Result<Self, &'static str> {
        if text.contains("://") || text.contains('/') {
            return Err("expected only a host name, without scheme and path");
        }
        if text.contains('*') {
            return Err("expected one host name; a route without `host` matches every host");
        }
        let name = if text.parse::<std::net::Ipv6Addr>().is_ok() {
            text
        } else {
            name(text)
        };
        let is_address = name.parse::<std::net::Ipv6Addr>().is_ok();
        let is_name = !name.is_empty()
            && name.len() <= 253
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        if !name.is_ascii() {
            return Err("expected the name as browsers send it: xn--…, in ASCII characters");
        }
        if !is_address && !is_name {
            return Err("expected a host name such as shop.example.com");
        }
        Ok(Self(name.to_ascii_lowercase()))
    }

    /// Whether a request's authority names this host, with or without a port.
    pub fn matches(&self, authority: &str) -> bool {
        name(authority).eq_ignore_ascii_case(&self.0)
    }
}

impl FromStr for SiteHost {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl fmt::Display for SiteHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Returns the name in an authority, without the port, the brackets and a dot at the end.
pub(super) fn name(authority: &str) -> &str {
    let authority = authority.trim();
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    let name = authority.split(':').next().unwrap_or(authority);
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_port_and_final_dot_do_not_matter() {
        for (host, authority, expected) in [
            ("shop.example.com", "SHOP.example.com:8080", true),
            ("Shop.Example.Com:443", "shop.example.com.", true),
            ("shop.example.com", "example.com", false),
            ("shop.example.com", "xshop.example.com", false),
            ("shop.example.com", "", false),
            ("::1", "[::1]:80", true),
            ("[::1]", "[::1]", true),
            ("127.0.0.1", "127.0.0.1:80", true),
        ] {
            let host = SiteHost::new(host).unwrap();
            assert_eq!(host.matches(authority), expected, "{host} {authority}");
        }
    }

    #[test]
    fn an_invalid_host_is_refused() {
        for text in [
            "",
            ":80",
            ".",
            "https://a",
            "a/b",
            "*.a",
            "a b",
            "[]",
            "bücher.de",
        ] {
            assert!(SiteHost::new(text).is_err(), "{text}");
        }
        let error = SiteHost::new("bücher.de").unwrap_err();
        assert!(error.contains("xn--"), "{error}");
        for text in ["a b", "[]"] {
            let error = SiteHost::new(text).unwrap_err();
            assert!(error.contains("such as"), "{error}");
        }
    }
}
