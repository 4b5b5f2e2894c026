//! Decides who may see the live view: every user of the machine on a loopback address without a token,
//! otherwise clients that have the token.

use std::fmt;

use data_encoding::HEXLOWER;
use http::header;
use ring::digest::{digest, SHA256};
use ring::hmac;

use crate::handler::{pairs, Request};

/// The name of the cookie that a client gets after it has sent the token.
const COOKIE: &str = "hedgerow_live";

/// The minimum length of a token, in bytes. A token of this length cannot be guessed over a network.
const LEAST: usize = 16;

/// The token that opens the live view from other machines. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(String);

impl AccessToken {
    /// Creates a token from at least 16 printable ASCII characters.
    ///
    /// # Errors
    ///
    /// Returns a description of the mistake. It does not contain the text.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        match text.len() >= LEAST && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(Self(text.to_owned())),
            false => Err("expected at least 16 printable ASCII characters without blanks"),
        }
    }

    /// Returns the value of an `Authorization` header that contains the token.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Returns the value of the cookie. A person who reads it can open the live view, but does not learn
    /// the token.
    fn cookie_value(&self) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes());
        HEXLOWER.encode(hmac::sign(&key, b"the live view").as_ref())
    }

    /// Returns the value of the `Set-Cookie` header if the form contains the token.
    pub(super) fn admit(&self, form: &[u8]) -> Option<String> {
        let form = String::from_utf8_lossy(form);
        let given = pairs(&form).into_iter().find(|(name, _)| name == "token")?;
        equal_in_constant_time(given.1.trim(), &self.0).then(|| {
            format!(
                "{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict",
                self.cookie_value()
            )
        })
    }

    /// Returns whether a request contains the token (`Authorization: Bearer`) or the cookie.
    pub(super) fn allows(&self, request: &Request) -> bool {
        let bearer = request.header(header::AUTHORIZATION);
        let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
        if bearer.is_some_and(|given| equal_in_constant_time(given.trim(), &self.0)) {
            return true;
        }
        let cookie_value = self.cookie_value();
        let cookies = request.headers.get_all(header::COOKIE).iter();
        let mut cookies = cookies
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'));
        cookies.any(|cookie| {
            let named = cookie.trim().split_once('=');
            named.is_some_and(|(name, value)| {
                name == COOKIE && equal_in_constant_time(value, &cookie_value)
            })
        })
    }
}

/// Compares two texts in a time that does not depend on where they differ.
fn equal_in_constant_time(one: &str, other: &str) -> bool {
    let (one, other) = (
        digest(&SHA256, one.as_bytes()),
        digest(&SHA256, other.as_bytes()),
    );
    let pairs = one.as_ref().iter().zip(other.as_ref());
    pairs.fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// Whether the live view is served, and to which clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LiveView {
    /// The live view is not served.
    #[default]
    Off,
    /// The live view is served to every client, because only this machine can reach the address.
    Open,
    /// The live view is served to clients that know the token.
    Token(AccessToken),
}

/// Returns whether the `Host` header is an IP address or `localhost`. The requests of a page whose own
/// host name resolves to this address (DNS rebinding) have that name instead.
pub(super) fn names_an_address(request: &Request) -> bool {
    let Some(host) = request.header(header::HOST) else {
        return false;
    };
    if host.parse::<std::net::SocketAddr>().is_ok() {
        return true;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok()
}
