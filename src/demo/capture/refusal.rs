//! The reasons to refuse a request, with capture's own texts and statuses (posthog-ingestion 1.7).

use http::StatusCode;
use thiserror::Error;

/// Why a v0 request is refused. Its text is the answer's body.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CaptureRefusal {
    /// The bytes cannot be decoded to text: invalid gzip, lz64, base64, form or UTF-8.
    #[error("failed to decode request: {0}")]
    Decode(&'static str),
    /// The text is not JSON, or no shape of posthog-ingestion 1.2 fits it.
    #[error("failed to parse request: {0}")]
    Parse(String),
    /// An object without an event name on another path than `/engage`. A broken envelope looks the same.
    #[error(
        "failed to hydrate events from request: non-engage request missing event name attribute"
    )]
    Hydrate,
    /// `_`, `sent_at` or `beacon` is not one integer.
    #[error("Failed to deserialize query string: {0}")]
    Query(&'static str),
    /// Neither the body nor a `data` parameter has content.
    #[error("request missing data payload")]
    EmptyPayload,
    /// The array or batch is empty.
    #[error("request holds no event")]
    EmptyBatch,
    /// `event` is `""`.
    #[error("event submitted with an empty event name")]
    EmptyName,
    /// The `distinct_id` is missing or blank.
    #[error("event submitted without a distinct_id")]
    MissingDistinctId,
    /// `$cookieless_mode` is not a boolean.
    #[error("event submitted with invalid cookieless mode")]
    CookielessMode,
    /// An event has the name of [`InjectedFault::Poison`](super::InjectedFault::Poison).
    #[error("invalid event could not be processed")]
    Poisoned,
    /// The request has no token.
    #[error("event submitted without an api_key")]
    NoToken,
    /// The events of an array have different tokens.
    #[error("batch submitted with inconsistent api_key values")]
    SeveralTokens,
    /// The token has a shape that no project key has.
    #[error("API key is not valid: {0}")]
    Token(TokenFault),
    /// The request or an event is too large: on the wire, decompressed, or for the queue.
    #[error("maximum event size exceeded: {0}")]
    TooLarge(&'static str),
}

/// Why a token is not valid (posthog-ingestion 1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenFault {
    /// The token is empty or white space.
    #[error("empty")]
    Empty,
    /// The token has more than 64 bytes.
    #[error("too_long")]
    TooLong,
    /// The token has characters outside of ASCII.
    #[error("not_ascii")]
    NotAscii,
    /// The token is a personal key: `phx_…`.
    #[error("personal_api_key")]
    Personal,
    /// The token contains a NUL byte.
    #[error("null_byte")]
    Nul,
}

impl CaptureRefusal {
    /// Returns the status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoToken | Self::SeveralTokens | Self::Token(_) => StatusCode::UNAUTHORIZED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Checks the form of a token, and returns the token trimmed. By default, capture checks no more.
pub(super) fn check_token(token: &str) -> Result<&str, TokenFault> {
    let token = token.trim();
    if token.is_empty() {
        return Err(TokenFault::Empty);
    }
    if token.len() > 64 {
        return Err(TokenFault::TooLong);
    }
    if !token.is_ascii() {
        return Err(TokenFault::NotAscii);
    }
    if token.starts_with("phx_") {
        return Err(TokenFault::Personal);
    }
    if token.contains('\0') {
        return Err(TokenFault::Nul);
    }
    Ok(token)
}
