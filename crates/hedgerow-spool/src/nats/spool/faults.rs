//! The meaning of the servers' errors for an operation.

use std::error::Error;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{self, ErrorCode};
use thiserror::Error;

use super::denials::Denied;

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PublishFault {
    /// Larger than a message may be. It never will be taken.
    TooLarge,
    /// The stream holds as much as it may.
    Full,
    /// There is no such stream.
    NoStream,
    /// The login may not publish it.
    Denied,
    /// Anything else; another try may succeed.
    Passing,
}

/// Why a publication was not acknowledged.
#[derive(Debug, Error)]
pub(super) enum NotPublished {
    /// The error of the client library or of JetStream.
    #[error(transparent)]
    Failed(#[from] PublishError),
    /// The servers forbid it.
    #[error(transparent)]
    Denied(#[from] Denied),
}

/// The fault behind an error of a publication.
pub(super) fn of(error: &NotPublished) -> PublishFault {
    let error = match error {
        NotPublished::Failed(error) => error,
        NotPublished::Denied(_) => return PublishFault::Denied,
    };
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => return PublishFault::TooLarge,
        PublishErrorKind::StreamNotFound => return PublishFault::NoStream,
        _ => {}
    }
    let Some(told) = told(error) else {
        return PublishFault::Passing;
    };
    match told.error_code() {
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => PublishFault::TooLarge,
        // "maximum bytes exceeded" and its like; the code is that of every failed write.
        ErrorCode::STREAM_STORE_FAILED if told.to_string().contains("maximum") => {
            PublishFault::Full
        }
        ErrorCode::STREAM_NOT_FOUND => PublishFault::NoStream,
        _ => PublishFault::Passing,
    }
}

/// JetStream's own error.
fn told<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e jetstream::Error> {
    error.source()?.downcast_ref()
}
