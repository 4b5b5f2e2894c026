//! Why the edge cannot keep sessions.

use thiserror::Error;

/// The shortest secret, in bytes.
pub const SECRET_BYTES: usize = 32;

/// Why the edge cannot keep sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EdgeSessionError {
    /// There is no secret.
    #[error("sessions need a secret")]
    NoSecret,
    /// A secret is so short that it could be guessed.
    #[error("a secret for sessions has at least {SECRET_BYTES} bytes")]
    ShortSecret,
    /// The name is not allowed for a cookie.
    #[error("a cookie's name has letters, digits and -_. only, at most 128 of them")]
    CookieName,
    /// The domain is not allowed for a cookie.
    #[error("a cookie's domain has letters, digits, dots and hyphens only, as example.com has")]
    CookieDomain,
    /// The cookie has a domain, but its name begins with `__Host-`. Browsers do not store such a
    /// cookie.
    #[error("browsers refuse a cookie named __Host-… that has a domain")]
    HostCookieDomain,
}
