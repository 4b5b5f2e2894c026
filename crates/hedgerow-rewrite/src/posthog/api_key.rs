//! A PostHog project key: checked by capture's own rules, and never printed.

use std::fmt;

use thiserror::Error;

/// A project key (`phc_…`) as capture accepts it (posthog-ingestion 1.3).
///
/// Its `Debug` form is redacted, so that no key reaches a log by accident.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ApiKey(String);

/// Why a text cannot be a project key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ApiKeyError {
    /// Nothing but white space.
    #[error("the project key is empty")]
    Empty,
    /// Capture takes at most 64 bytes.
    #[error("the project key is longer than 64 bytes")]
    TooLong,
    /// Capture takes ASCII only.
    #[error("the project key holds characters that are not printable ASCII")]
    NotAscii,
    /// `phx_…` is a personal key: it must never be sent with events.
    #[error("this is a personal API key (phx_…); events need the project key (phc_…)")]
    Personal,
}

impl ApiKey {
    /// Takes a key after trimming white space, or says why capture would refuse it.
    pub fn new(text: &str) -> Result<Self, ApiKeyError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ApiKeyError::Empty);
        }
        if text.len() > 64 {
            return Err(ApiKeyError::TooLong);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ApiKeyError::NotAscii);
        }
        if text.starts_with("phx_") {
            return Err(ApiKeyError::Personal);
        }
        Ok(Self(text.to_owned()))
    }

    /// The key itself: for the envelope of a batch, and to tell projects apart.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ApiKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_refused_for_the_reasons_capture_has() {
        let long = "k".repeat(65);
        for (text, expected) in [
            ("  ", ApiKeyError::Empty),
            (long.as_str(), ApiKeyError::TooLong),
            ("phc_é", ApiKeyError::NotAscii),
            ("phc_a\0b", ApiKeyError::NotAscii),
            ("phx_secret", ApiKeyError::Personal),
        ] {
            assert_eq!(ApiKey::new(text), Err(expected), "{text:?}");
        }
        assert_eq!(ApiKey::new(" phc_a \n").unwrap().expose(), "phc_a");
    }

    #[test]
    fn debug_output_never_shows_the_key() {
        assert!(!format!("{:?}", ApiKey::new("phc_visible").unwrap()).contains("visible"));
    }
}
