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
    #[error("a secret for sessions needs at least {SECRET_BYTES} bytes")]
    ShortSecret,
    /// The name is not allowed for a cookie.
    #[error("a cookie's name may contain only letters, digits and -_. and at most 128 of them")]
    CookieName,
    /// The domain is not allowed for a cookie.
    #[error(
        "a cookie's domain may contain only letters, digits, dots and hyphens, such as example.com"
    )]
    CookieDomain,
    /// The cookie has a domain, but its name begins with `__Host-`. Browsers do not store such a
    /// cookie.
    #[error("browsers refuse a cookie named __Host-… that has a domain")]
    HostCookieDomain,
}
