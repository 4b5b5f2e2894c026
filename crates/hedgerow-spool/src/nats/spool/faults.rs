//! Classifies the servers' errors: whether an operation can succeed if it is retried.

use std::error::Error;
use std::sync::Arc;

use async_nats::jetstream::context::{
    CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind, PublishError,
    PublishErrorKind, RequestError, RequestErrorKind,
};
use async_nats::jetstream::{self, ErrorCode};
use thiserror::Error;

use super::denials::Denied;
use super::fitness::Unfit;
use super::trouble::Outlook;
use crate::error::SpoolError;

/// Why the servers did not accept a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PublishFault {
    /// The message is larger than the limit. A retry cannot succeed.
    TooLarge,
    /// The stream, its account or the server has no space for the message.
    Full,
    /// There is no such stream.
    NoStream,
    /// Only an operator can fix it: the login may not publish the message, there is no JetStream, or
    /// the like.
    Lasting,
    /// Any other fault. A retry may succeed.
    Passing,
}

/// Why the servers did not acknowledge a publication.
#[derive(Debug, Error)]
pub(super) enum NotPublished {
    /// The error of the client library or of JetStream.
    #[error(transparent)]
    Failed(PublishError),
    /// The servers deny the publication to the login.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// No server answers for the stream.
    #[error("no server answers for the stream: it was deleted, or its cluster has no leader now")]
    NoStream,
}

impl From<PublishError> for NotPublished {
    fn from(error: PublishError) -> Self {
        match error.kind() {
            PublishErrorKind::StreamNotFound => Self::NoStream,
            _ => Self::Failed(error),
        }
    }
}

/// Returns the error of an operation that the servers did not carry out.
pub(super) fn remote(
    doing: &'static str,
    source: impl Error + Send + Sync + 'static,
) -> SpoolError {
    SpoolError::Remote {
        doing,
        source: Arc::new(source),
    }
}

/// Returns the fault that caused an error of a publication.
pub(super) fn of(error: &NotPublished) -> PublishFault {
    let error = match error {
        NotPublished::Failed(error) => error,
        NotPublished::Denied(_) => return PublishFault::Lasting,
        NotPublished::NoStream => return PublishFault::NoStream,
    };
    if error.kind() == PublishErrorKind::MaxPayloadExceeded {
        return PublishFault::TooLarge;
    }
    let Some(jetstream_error) = jetstream_error(error) else {
        return PublishFault::Passing;
    };
    match jetstream_error.error_code() {
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => PublishFault::TooLarge,
        // Every failed write has this code. The text names the limit ("maximum bytes exceeded" or similar).
        ErrorCode::STREAM_STORE_FAILED if jetstream_error.to_string().contains("maximum") => {
            PublishFault::Full
        }
        // The account's or the server's storage is used up, or the stream is sealed.
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::STREAM_SEALED => PublishFault::Full,
        ErrorCode::STREAM_NOT_FOUND => PublishFault::NoStream,
        _ => PublishFault::Passing,
    }
}

/// The server has no JetStream.
#[derive(Debug, Clone, Copy, Error)]
#[error("JetStream is not enabled on the server")]
pub(super) struct NoJetStream;

/// Returns whether an error of the streams may pass by itself.
pub(super) fn outlook(error: &SpoolError) -> Outlook {
    let SpoolError::Remote { source, .. } = error else {
        return Outlook::Passing;
    };
    let source: &(dyn Error + 'static) = &**source;
    let is_denied = matches!(source.downcast_ref(), Some(NotPublished::Denied(_)));
    if is_denied || source.is::<Unfit>() || source.is::<Denied>() || source.is::<NoJetStream>() {
        return Outlook::Lasting;
    }
    let code = if let Some(error) = source.downcast_ref::<GetStreamError>() {
        match error.kind() {
            GetStreamErrorKind::JetStream(jetstream_error) => jetstream_error.error_code(),
            _ => return Outlook::Passing,
        }
    } else if let Some(error) = source.downcast_ref::<CreateStreamError>() {
        match error.kind() {
            CreateStreamErrorKind::JetStream(jetstream_error) => jetstream_error.error_code(),
            _ => return Outlook::Passing,
        }
    } else {
        return Outlook::Passing;
    };
    match LASTING.contains(&code) {
        true => Outlook::Lasting,
        false => Outlook::Passing,
    }
}

/// The error codes that JetStream returns until an operator changes the servers, the account or the
/// streams.
const LASTING: [ErrorCode; 18] = [
    ErrorCode::JETSTREAM_NOT_ENABLED,
    ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
    ErrorCode::NO_ACCOUNT,
    ErrorCode::NO_LIMITS,
    ErrorCode::CLUSTER_REQUIRED,
    ErrorCode::NOT_SUPPORTED_IN_CLUSTER_MODE,
    ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED,
    ErrorCode::STREAM_NAME_EXIST,
    ErrorCode::STREAM_SUBJECT_OVERLAP,
    ErrorCode::STREAM_INVALID_CONFIG,
    ErrorCode::STREAM_MAX_BYTES_REQUIRED,
    ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED,
    ErrorCode::STREAM_LIMITS,
    ErrorCode::MAXIMUM_STREAMS_LIMIT,
    ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
    ErrorCode::STORAGE_RESOURCES_EXCEEDED,
    ErrorCode::INSUFFICIENT_RESOURCES,
    ErrorCode::STREAM_SEALED,
];

/// Returns whether the cause of an error is that the server has no responder for JetStream's requests.
pub(super) fn is_unheard(error: &SpoolError) -> bool {
    let SpoolError::Remote { source, .. } = error else {
        return false;
    };
    let mut cause: Option<&(dyn Error + 'static)> = Some(&**source);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<RequestError>() {
            return error.kind() == RequestErrorKind::NoResponders;
        }
        cause = error.source();
    }
    false
}

/// Returns the JetStream error that caused this error, if there is one.
fn jetstream_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e jetstream::Error> {
    error.source()?.downcast_ref()
}
