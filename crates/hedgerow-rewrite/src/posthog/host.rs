//! The host that receives a project's events: one of PostHog's two clouds, or your own host.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

/// Whether the connection to a host is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// No encryption; for a host on the same machine or network.
    Http,
    /// TLS. The certificate is verified for the host's name.
    Https,
}

/// The API host of a project: `us`, `eu` or `http(s)://name[:port][/base]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    scheme: Scheme,
    name: String,
    /// The IP address, if `name` is one.
    address: Option<IpAddr>,
    port: u16,
    base_path: String,
    cloud: Option<Cloud>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Cloud {
    Us,
    Eu,
}

/// The hosts on which the two clouds accept events.
const US: &str = "us.i.posthog.com";
const EU: &str = "eu.i.posthog.com";

/// An error for a host that accepts no events, or that has a path which Hedgerow appends anyway.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what}: write {instead}")]
pub struct Misdirection {
    what: String,
    instead: String,
}

/// The endings of the paths of PostHog's own services. People copy them together with the host
/// (posthog-ingestion 1.1, 6.2).
const ENDPOINTS: [&str; 14] = [
    "/array",
    "/batch",
    "/capture",
    "/decide",
    "/e",
    "/engage",
    "/flags",
    "/i/v0",
    "/i/v0/ai",
    "/i/v0/e",
    "/i/v1/analytics/events",
    "/s",
    "/static",
    "/track",
];

/// The reason why a text is not a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HostError {
    /// The text is neither a cloud nor a URL.
    #[error("expected us, eu or a URL that starts with http:// or https://")]
    Scheme,
    /// The URL has no host name, or one that DNS cannot have. An empty name would also turn off TLS
    /// verification in the framework, so it must never get there.
    #[error("expected a host name or address after the scheme")]
    Name,
    /// The port is not a number from 1 to 65535.
    #[error("expected a port from 1 to 65535")]
    Port,
    /// The URL has a user name, a query or a fragment; they have no meaning here.
    #[error("expected no user name, query or fragment in the URL")]
    Extra,
}

impl Host {
    fn cloud(cloud: Cloud, name: &str) -> Self {
        Self {
            scheme: Scheme::Https,
            name: name.to_owned(),
            address: None,
            port: 443,
            base_path: String::new(),
            cloud: Some(cloud),
        }
    }

    /// Creates a host without a path from a name or an address (IPv6 without brackets), and a port.
    ///
    /// # Errors
    ///
    /// Returns [`HostError::Name`] for a name that DNS cannot have, and [`HostError::Port`] for port 0.
    pub fn new(scheme: Scheme, name: &str, port: u16) -> Result<Self, HostError> {
        if port == 0 {
            return Err(HostError::Port);
        }
        let name = name.to_ascii_lowercase();
        let address = name.parse().ok();
        let is_name = match address {
            Some(IpAddr::V6(_)) => true,
            _ => is_name(&name),
        };
        if !is_name {
            return Err(HostError::Name);
        }
        let cloud = match (scheme, name.as_str(), port) {
            (Scheme::Https, US, 443) => Some(Cloud::Us),
            (Scheme::Https, EU, 443) => Some(Cloud::Eu),
            _ => None,
        };
        Ok(Self {
            scheme,
            name,
            address,
            port,
            base_path: String::new(),
            cloud,
        })
    }

    /// Creates the host that listens on this address.
    pub fn at(scheme: Scheme, address: SocketAddr) -> Self {
        Self {
            scheme,
            name: address.ip().to_string(),
            address: Some(address.ip()),
            port: address.port(),
            base_path: String::new(),
            cloud: None,
        }
    }

    /// The scheme: plain HTTP or TLS.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host's name or address in lower case; IPv6 has no brackets. It is never empty.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host's IP address, if it was given as one. No DNS lookup is needed then.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The port that was given, or the default port of the scheme.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The prefix of every path: empty, or a path that begins with `/` and does not end with one.
    pub fn base_path(&self) -> &str {
        &self.base_path
    }

    /// Returns the `Host` header. It includes the port only if this is not the scheme's default
    /// (RFC 9110, 7.2).
    pub fn authority(&self) -> String {
        let default = match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        let name = if self.name.contains(':') {
            format!("[{}]", self.name)
        } else {
            self.name.clone()
        };
        if self.port == default {
            name
        } else {
            format!("{name}:{}", self.port)
        }
    }

    /// Returns what is probably wrong with the host and what to write instead. PostHog's app and its
    /// assets have hosts of their own (posthog-ingestion 6.1), and Hedgerow itself appends paths to the
    /// host.
    pub fn misdirection(&self) -> Option<Misdirection> {
        let misdirection = |what: String, instead: &str| {
            Some(Misdirection {
                what,
                instead: format!("`{instead}`"),
            })
        };
        let name = self.name.as_str();
        let region = match name {
            _ if name.starts_with("eu") => "eu",
            _ if name.starts_with("us") => "us",
            _ => "us` or `eu",
        };
        let is_posthogs = name == "posthog.com" || name.ends_with(".posthog.com");
        let is_ingestion = name.ends_with(".i.posthog.com") && !name.contains("-assets.");
        if is_posthogs && !is_ingestion {
            let what = match name.contains("-assets.") {
                true => "the files of posthog-js, which accepts no events",
                false => "PostHog's app, which accepts no events",
            };
            return misdirection(format!("{name} has {what}"), region);
        }
        let is_cloud = matches!(name, "us.i.posthog.com" | "eu.i.posthog.com");
        if is_cloud && self.cloud.is_none() {
            let what = format!("{name} needs https on port 443");
            return misdirection(what, region);
        }
        if is_cloud && !self.base_path.is_empty() {
            let what = format!("leave out the path {}", self.base_path);
            return misdirection(what, region);
        }
        let path = self.base_path.to_ascii_lowercase();
        let endings = ENDPOINTS.iter().filter(|ending| path.ends_with(*ending));
        let ending = endings.max_by_key(|ending| ending.len())?;
        let kept = self.base_path.len() - ending.len();
        let instead = Self {
            base_path: self.base_path.get(..kept)?.to_owned(),
            ..self.clone()
        };
        misdirection(
            format!("Hedgerow appends PostHog's own paths to the host: leave out {ending}"),
            &instead.to_string(),
        )
    }

    /// Returns the host of posthog-js's assets: PostHog's clouds serve them from a separate host
    /// (posthog-ingestion 6.1).
    pub fn assets(&self) -> Self {
        match self.cloud {
            Some(Cloud::Us) => Self::cloud(Cloud::Us, "us-assets.i.posthog.com"),
            Some(Cloud::Eu) => Self::cloud(Cloud::Eu, "eu-assets.i.posthog.com"),
            None => self.clone(),
        }
    }

    /// Returns the name and the host of PostHog's other cloud; `None` for any other host, or one with a
    /// path.
    pub fn other_cloud(&self) -> Option<(&'static str, Self)> {
        if !self.base_path.is_empty() {
            return None;
        }
        Some(match self.cloud? {
            Cloud::Us => ("eu", Self::cloud(Cloud::Eu, EU)),
            Cloud::Eu => ("us", Self::cloud(Cloud::Us, US)),
        })
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        match text {
            "us" => return Ok(Self::cloud(Cloud::Us, US)),
            "eu" => return Ok(Self::cloud(Cloud::Eu, EU)),
            _ => {}
        }
        let (scheme, rest) = if let Some(rest) = text.strip_prefix("https://") {
            (Scheme::Https, rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (Scheme::Http, rest)
        } else {
            return Err(HostError::Scheme);
        };
        if rest.contains(['?', '#', '@']) {
            return Err(HostError::Extra);
        }
        let (authority, base) = match rest.split_once('/') {
            Some((authority, base)) => (authority, base.trim_matches('/')),
            None => (rest, ""),
        };
        let (name, port) = split_port(authority)?;
        let port = match port {
            None if scheme == Scheme::Http => 80,
            None => 443,
            Some(port) => match port.parse::<u16>() {
                Ok(port) if port > 0 => port,
                _ => return Err(HostError::Port),
            },
        };
        if !base.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(HostError::Name);
        }
        let host = Self::new(scheme, name, port)?;
        Ok(match base {
            "" => host,
            base => Self {
                base_path: format!("/{base}"),
                ..host
            },
        })
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), HostError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (name, after) = rest.split_once(']').ok_or(HostError::Name)?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((name, Some(port))),
            None if after.is_empty() => Ok((name, None)),
            None => Err(HostError::Name),
        };
    }
    Ok(match authority.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (authority, None),
    })
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(
            formatter,
            "{scheme}://{}{}",
            self.authority(),
            self.base_path
        )
    }
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
