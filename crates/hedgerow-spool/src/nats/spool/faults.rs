//! What the servers' errors mean for what was asked.

use std::error::Error;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{self, ErrorCode};
use thiserror::Error;

use super::denials::Denied;

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
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
    /// What the client library or JetStream said.
    #[error(transparent)]
    Failed(#[from] PublishError),
    /// The servers forbid it.
    #[error(transparent)]
    Denied(#[from] Denied),
}

/// The fault that an error of a publication stands for.
pub(super) fn of(error: &NotPublished) -> Fault {
    let error = match error {
        NotPublished::Failed(error) => error,
        NotPublished::Denied(_) => return Fault::Denied,
    };
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => return Fault::TooLarge,
        PublishErrorKind::StreamNotFound => return Fault::NoStream,
        _ => {}
    }
    let Some(told) = told(error) else {
        return Fault::Passing;
    };
    match told.error_code() {
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => Fault::TooLarge,
        // "maximum bytes exceeded" and its like; the code is that of every failed write.
        ErrorCode::STREAM_STORE_FAILED if told.to_string().contains("maximum") => Fault::Full,
        ErrorCode::STREAM_NOT_FOUND => Fault::NoStream,
        _ => Fault::Passing,
    }
}

/// What JetStream itself said.
fn told<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e jetstream::Error> {
    error.source()?.downcast_ref()
}
