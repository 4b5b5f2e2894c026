//! Why a request is refused, in capture's own words and statuses (posthog-ingestion 1.7).

use http::StatusCode;
use thiserror::Error;

/// Why a v0 request is refused. Its text is the answer's body.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CaptureRefusal {
    /// The bytes are not text: gzip, lz64, base64, form or UTF-8 is broken.
    #[error("failed to decode request: {0}")]
    Decode(&'static str),
    /// The text is not JSON, or no shape of posthog-ingestion 1.2 fits.
    #[error("failed to parse request: {0}")]
    Parse(String),
    /// An object without a name outside of `/engage`, which any broken envelope looks like.
    #[error(
        "failed to hydrate events from request: non-engage request missing event name attribute"
    )]
    Hydrate,
    /// `_`, `sent_at` or `beacon` is not one integer.
    #[error("Failed to deserialize query string: {0}")]
    Query(&'static str),
    /// Neither a body nor a `data` parameter.
    #[error("request missing data payload")]
    EmptyPayload,
    /// An array or a batch of nothing.
    #[error("request holds no event")]
    EmptyBatch,
    /// `event` is `""`.
    #[error("event submitted with an empty event name")]
    EmptyName,
    /// No `distinct_id`, or one of blanks only.
    #[error("event submitted without a distinct_id")]
    MissingDistinctId,
    /// `$cookieless_mode` is not a boolean.
    #[error("event submitted with invalid cookieless mode")]
    CookielessMode,
    /// An event of the name that [`Fault::Poison`](super::InjectedFault::Poison) gives.
    #[error("invalid event could not be processed")]
    Poisoned,
    /// No token anywhere.
    #[error("event submitted without an api_key")]
    NoToken,
    /// The events of an array name different tokens.
    #[error("batch submitted with inconsistent api_key values")]
    SeveralTokens,
    /// The token has a shape that no project key has.
    #[error("API key is not valid: {0}")]
    Token(TokenFault),
    /// Too large on the wire, inflated, or for the queue.
    #[error("maximum event size exceeded: {0}")]
    TooLarge(&'static str),
}

/// The mistake of a token (posthog-ingestion 1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenFault {
    /// Nothing but white space.
    #[error("empty")]
    Empty,
    /// More than 64 bytes.
    #[error("too_long")]
    TooLong,
    /// Something else than ASCII.
    #[error("not_ascii")]
    NotAscii,
    /// `phx_…`
    #[error("personal_api_key")]
    Personal,
    /// A NUL.
    #[error("null_byte")]
    Nul,
}

impl CaptureRefusal {
    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoToken | Self::SeveralTokens | Self::Token(_) => StatusCode::UNAUTHORIZED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Checks a token's shape; all that capture does by default. Returns it trimmed.
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
