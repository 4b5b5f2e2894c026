//! Why an upload stopped, and the answer to its client.

use crate::rewrite::RewriteError;
use crate::segment::{BodyError, Reply, RequestRefusal};

use crate::proxy::limits::budget::BudgetExhausted;
use crate::proxy::limits::rates::RETRY_AFTER;
use crate::proxy::outbound::verdict::BatchVerdict;
use crate::proxy::request::body::BodyInterruption;
use crate::proxy::spool::backlog::NotSpooled;

/// Why an upload stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UploadError {
    Client(BodyInterruption),
    Encoding(BodyError),
    Rewrite(RewriteError),
    UnknownWriteKey,
    /// The write key is above its rate limit.
    KeyRate,
    /// All requests together hold as much memory as `limits.memory` allows.
    Memory,
    /// PostHog did not accept a batch.
    Verdict(BatchVerdict),
    /// PostHog did not accept a batch, or the batch was not sent, and the spool could not store it.
    Spool,
}

impl From<BodyError> for UploadError {
    fn from(error: BodyError) -> Self {
        Self::Encoding(error)
    }
}

impl From<RewriteError> for UploadError {
    fn from(error: RewriteError) -> Self {
        Self::Rewrite(error)
    }
}

impl From<BodyInterruption> for UploadError {
    fn from(interruption: BodyInterruption) -> Self {
        Self::Client(interruption)
    }
}

impl From<NotSpooled> for UploadError {
    fn from(error: NotSpooled) -> Self {
        match error {
            NotSpooled::ForNow => Self::Spool,
            NotSpooled::TooLarge => Self::Rewrite(RewriteError::TooLarge),
        }
    }
}

impl From<BudgetExhausted> for UploadError {
    fn from(_: BudgetExhausted) -> Self {
        Self::Memory
    }
}

impl UploadError {
    /// Returns the answer, or `None` if the client has closed the connection.
    pub(crate) fn reply(self) -> Option<Reply> {
        let refusal = match self {
            Self::Client(BodyInterruption::Gone) => return None,
            Self::Client(BodyInterruption::Malformed) => RequestRefusal::Malformed {
                code: "malformed_chunk",
                message: "the chunks of the body are not valid HTTP",
            },
            // Never 408, which Chromium itself repeats at once (segment-tracking 1.5).
            Self::Client(BodyInterruption::Slow) | Self::Memory => {
                return Some(Reply::Busy { retry_after: 5 })
            }
            Self::Verdict(verdict) => return Some(verdict.reply()),
            Self::KeyRate => {
                return Some(Reply::TooMany {
                    retry_after: RETRY_AFTER,
                })
            }
            Self::Spool => return Some(Reply::Busy { retry_after: 10 }),
            Self::UnknownWriteKey => RequestRefusal::UnknownWriteKey,
            Self::Encoding(BodyError::TooLarge) | Self::Rewrite(RewriteError::TooLarge) => {
                RequestRefusal::TooLarge
            }
            Self::Encoding(BodyError::UnknownEncoding) => RequestRefusal::Malformed {
                code: "unknown_encoding",
                message: "the content encoding is neither gzip nor identity",
            },
            Self::Encoding(BodyError::Damaged) => RequestRefusal::Malformed {
                code: "damaged_gzip",
                message: "the gzip data is damaged or cut short",
            },
            Self::Rewrite(error) => RequestRefusal::Malformed {
                code: error.code(),
                message: error.message(),
            },
        };
        Some(Reply::Refused(refusal))
    }
}

impl UploadError {
    /// Returns the code of a permanent rejection, as the client gets it. Returns `None` if a retry may
    /// succeed, or if the client has closed the connection.
    pub(crate) fn refusal_code(self) -> Option<&'static str> {
        match self.reply()? {
            Reply::Refused(RequestRefusal::Malformed { code, .. }) => Some(code),
            Reply::Refused(RequestRefusal::UnknownWriteKey) => Some("unknown_write_key"),
            Reply::Refused(RequestRefusal::TooLarge) => Some("too_large"),
            Reply::Refused(RequestRefusal::UnknownPath) => Some("unknown_path"),
            Reply::Refused(RequestRefusal::MethodNotAllowed(_)) => Some("method_not_allowed"),
            Reply::Accepted
            | Reply::Pixel
            | Reply::Preflight { .. }
            | Reply::Busy { .. }
            | Reply::TooMany { .. } => None,
        }
    }
}
