//! Reads the session cookie from `Cookie` headers and writes it to `Set-Cookie` headers (RFC 6265).

use super::error::EdgeSessionError;
use crate::rewrite::enrich::session;

/// How the browser reached the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Over TLS, at the edge itself or at a trusted proxy before it.
    Tls,
    /// Without TLS; the browser would not store a `Secure` cookie.
    Plain,
}

/// The value and the lifetime of a cookie to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieValue {
    /// The cookie's value: 74 characters of base64.
    pub value: String,
    /// How long the browser stores the cookie, in seconds.
    pub max_age: u32,
}

/// The name of the session cookie, and the domain that shares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionCookie {
    name: String,
    domain: Option<String>,
}

/// The longest name, in bytes. Browsers store at most 4,096 bytes of name and value.
const LONGEST_NAME: usize = 128;

impl SessionCookie {
    /// Creates a cookie with this name. Without a domain, the browser sends it only to the host
    /// that answered. With a domain, all hosts of the domain share the visitor's session.
    ///
    /// # Errors
    ///
    /// Returns an error if the name or the domain is invalid, or if a `__Host-` cookie has a
    /// domain.
    pub fn new(name: &str, domain: Option<&str>) -> Result<Self, EdgeSessionError> {
        let is_plain = |text: &str, extra: &[u8], longest: usize| {
            (1..=longest).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
        };
        // Browsers ignore a leading dot.
        let is_domain = |domain: &str| {
            let domain = domain.strip_prefix('.').unwrap_or(domain);
            domain.len() <= 253 && domain.split('.').all(|label| is_plain(label, b"-", 63))
        };
        if !is_plain(name, b"-_.", LONGEST_NAME) {
            return Err(EdgeSessionError::CookieName);
        }
        if domain.is_some_and(|domain| !is_domain(domain)) {
            return Err(EdgeSessionError::CookieDomain);
        }
        let prefix = name.get(.."__Host-".len());
        let is_of_one_host = prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case("__Host-"));
        if is_of_one_host && domain.is_some() {
            return Err(EdgeSessionError::HostCookieDomain);
        }
        Ok(Self {
            name: name.to_owned(),
            domain: domain.map(str::to_owned),
        })
    }

    /// Returns the cookie's value from a `Cookie` header.
    pub fn find<'a>(&self, header: &'a str) -> Option<&'a str> {
        session::cookie(header, &self.name)
    }

    /// Returns the `Set-Cookie` header for this value. Scripts cannot read the cookie, and requests
    /// from other sites carry it only when a visitor follows a link.
    pub fn header(&self, cookie: &CookieValue, transport: Transport) -> String {
        let mut header = format!(
            "{}={}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax",
            self.name, cookie.value, cookie.max_age
        );
        if let Some(domain) = &self.domain {
            header.push_str("; Domain=");
            header.push_str(domain);
        }
        if transport == Transport::Tls {
            header.push_str("; Secure");
        }
        header
    }
}

/// Writes the name, and the domain if there is one.
impl std::fmt::Display for SessionCookie {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.name)?;
        match &self.domain {
            Some(domain) => write!(formatter, " for {domain}"),
            None => Ok(()),
        }
    }
}
