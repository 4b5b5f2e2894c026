//! The errors of a spool: it could not store events, or could not read stored events.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

/// The reason why a request to a spool failed. After an error of an append no event is guaranteed to be
/// stored, so the client has to retry (503 with `Retry-After`).
///
/// It can be cloned because one failed write answers every request that waited for it.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// The spool has reached its configured limit.
    #[error("the spool is full: {used} of {max_size} bytes are in use")]
    Full {
        /// Bytes in use.
        used: u64,
        /// The limit in bytes.
        max_size: u64,
    },
    /// The disk or the quota is full.
    #[error("no space is left for the spool")]
    NoSpace,
    /// The file system is read-only.
    #[error("the spool is on a read-only file system")]
    ReadOnly,
    /// Another error of the file system.
    #[error("the spool's files cannot be written: {0}")]
    File(Arc<io::Error>),
    /// Another error of the storage.
    #[error("the spool's storage failed: {0}")]
    Storage(Arc<dyn std::error::Error + Send + Sync>),
    /// The folder cannot be created or used.
    #[error("the spool's folder {} cannot be used: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: Arc<io::Error>,
    },
    /// This version does not know the spool's format. Or the format is an older one, which a command must
    /// not convert while a proxy uses the spool.
    #[error(
        "the spool has format {found}, but this version of Hedgerow uses format {known}: use the \
         version that wrote the spool"
    )]
    Format {
        /// The format found.
        found: i64,
        /// The newest format that this version knows.
        known: i64,
    },
    /// There is no spool in this folder.
    #[error("there is no spool in {}", .0.display())]
    Missing(PathBuf),
    /// A request to the distributed log failed.
    #[error("the distributed spool could not {doing}: {source}")]
    Remote {
        /// The request.
        doing: &'static str,
        /// The error of the client library.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// No server of the distributed log is connected.
    #[error("the distributed spool cannot be reached: {0}")]
    Away(String),
    /// Some events are larger than a message of the distributed log may be. The other events are durable.
    #[error(
        "{events} of {of} events are larger than {largest} bytes, the largest message that the \
         NATS servers of the spool accept (`max_payload`)"
    )]
    TooLarge {
        /// The number of refused events.
        events: u64,
        /// The number of events in the append.
        of: u64,
        /// The size of the largest event that the log accepts, in bytes.
        largest: usize,
    },
    /// There is no stream of this name.
    #[error("there is no stream {0}: no proxy has used this spool yet")]
    NoStream(String),
    /// A batch of waiting events cannot be compressed, for lack of a thread.
    #[error("a batch cannot be compressed: {0}")]
    Compression(Arc<io::Error>),
    /// The spool's thread has ended.
    #[error("the spool is closed")]
    Closed,
    /// The text is not that of an event.
    #[error("expected an event as a JSON object")]
    NotAnEvent,
    /// No dead letter has this number.
    #[error("there is no dead letter {0}")]
    NoSuchDeadLetter(i64),
}

impl SpoolError {
    /// Returns whether a process should not start with a spool that has this error.
    pub fn prevents_start(&self) -> bool {
        matches!(self, Self::Format { .. })
    }

    /// Returns a short stable name of the error, for counters and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Full { .. } => "full",
            Self::NoSpace => "no_space",
            Self::ReadOnly => "read_only",
            Self::File(_) => "file",
            Self::Storage(_) => "storage",
            Self::Folder { .. } => "folder",
            Self::Format { .. } => "format",
            Self::Missing(_) => "missing",
            Self::Remote { .. } => "remote",
            Self::Away(_) => "away",
            Self::TooLarge { .. } => "too_large",
            Self::NoStream(_) => "no_stream",
            Self::Compression(_) => "compression",
            Self::Closed => "closed",
            Self::NotAnEvent => "not_an_event",
            Self::NoSuchDeadLetter(_) => "no_such_dead_letter",
        }
    }
}

impl From<io::Error> for SpoolError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // For this process, a limit on the size of files has the effect of a full disk.
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::NoSpace,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => Self::File(Arc::new(error)),
        }
    }
}
