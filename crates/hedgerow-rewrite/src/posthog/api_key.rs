//! A PostHog project key. It is checked by capture's own rules, and its `Debug` form never shows it.

use std::fmt;

use thiserror::Error;

/// A project key (`phc_…`) as capture accepts it (posthog-ingestion 1.3).
///
/// Its `Debug` form is redacted, so that no key reaches a log by accident.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ApiKey(String);

/// The reason why a text cannot be a project key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ApiKeyError {
    /// The text is empty or only white space.
    #[error("the project key is empty")]
    Empty,
    /// The text is longer than the 64 bytes that capture accepts.
    #[error("the project key is longer than 64 bytes")]
    TooLong,
    /// The text has characters other than printable ASCII, which capture does not accept.
    #[error("the project key contains characters that are not printable ASCII")]
    NotAscii,
    /// The text is a personal key (`phx_…`), which must never be sent with events.
    #[error("this is a personal API key (phx_…); events need the project key (phc_…)")]
    Personal,
}

impl ApiKey {
    /// Trims white space and checks the key.
    ///
    /// # Errors
    ///
    /// Returns the reason for which capture would refuse the key.
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

    /// Returns the key itself, for the envelope of a batch and to distinguish projects.
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
