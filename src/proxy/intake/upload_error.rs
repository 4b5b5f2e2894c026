//! Why a body got no further, and what its client is told.

use crate::rewrite::RewriteError;
use crate::segment::{BodyError, Refusal, Reply};

use crate::proxy::intake::body::Interrupted;
use crate::proxy::limits::budget::UsedUp;
use crate::proxy::limits::rates::RETRY_AFTER;
use crate::proxy::outbound::verdict::BatchVerdict;
use crate::proxy::spool::backlog::NotSpooled;

/// Why a body got no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UploadError {
    Client(Interrupted),
    Encoding(BodyError),
    Rewrite(RewriteError),
    UnknownWriteKey,
    /// Too many requests come with this write key.
    KeyRate,
    /// All requests together hold as much as they may.
    Memory,
    /// PostHog did not take a batch.
    Verdict(BatchVerdict),
    /// PostHog did not take a batch, or was not asked, and the spool could not keep it.
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

impl From<Interrupted> for UploadError {
    fn from(interrupted: Interrupted) -> Self {
        Self::Client(interrupted)
    }
}

impl From<NotSpooled> for UploadError {
    fn from(unkept: NotSpooled) -> Self {
        match unkept {
            NotSpooled::ForNow => Self::Spool,
            NotSpooled::TooLarge => Self::Rewrite(RewriteError::TooLarge),
        }
    }
}

impl From<UsedUp> for UploadError {
    fn from(_: UsedUp) -> Self {
        Self::Memory
    }
}

impl UploadError {
    /// What the client is told; nothing when it is gone.
    pub(crate) fn reply(self) -> Option<Reply> {
        let refusal = match self {
            Self::Client(Interrupted::Gone) => return None,
            Self::Client(Interrupted::Malformed) => Refusal::Malformed {
                code: "malformed_chunk",
                message: "the chunks of the body are not as HTTP has them",
            },
            // Never 408, which Chromium itself repeats at once (segment-tracking 1.5).
            Self::Client(Interrupted::Slow) | Self::Memory => {
                return Some(Reply::Busy { retry_after: 5 })
            }
            Self::Verdict(verdict) => return Some(verdict.reply()),
            Self::KeyRate => {
                return Some(Reply::TooMany {
                    retry_after: RETRY_AFTER,
                })
            }
            Self::Spool => return Some(Reply::Busy { retry_after: 10 }),
            Self::UnknownWriteKey => Refusal::UnknownWriteKey,
            Self::Encoding(BodyError::TooLarge) | Self::Rewrite(RewriteError::TooLarge) => {
                Refusal::TooLarge
            }
            Self::Encoding(BodyError::UnknownEncoding) => Refusal::Malformed {
                code: "unknown_encoding",
                message: "the content encoding is neither gzip nor identity",
            },
            Self::Encoding(BodyError::Damaged) => Refusal::Malformed {
                code: "damaged_gzip",
                message: "the gzip data is damaged or cut short",
            },
            Self::Rewrite(error) => Refusal::Malformed {
                code: error.code(),
                message: error.message(),
            },
        };
        Some(Reply::Refused(refusal))
    }
}

impl UploadError {
    /// The code of a refusal for good, as the client is told it; none for what may yet succeed.
    pub(crate) fn refusal_code(self) -> Option<&'static str> {
        match self.reply()? {
            Reply::Refused(Refusal::Malformed { code, .. }) => Some(code),
            Reply::Refused(Refusal::UnknownWriteKey) => Some("unknown_write_key"),
            Reply::Refused(Refusal::TooLarge) => Some("too_large"),
            _ => None,
        }
    }
}
