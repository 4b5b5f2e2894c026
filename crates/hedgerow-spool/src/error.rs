//! Why events could not be kept, or what is kept could not be reached.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

/// Why a spool cannot do what it was asked for. After an error from an append nothing is
/// promised: the client has to be asked to retry (503 with `Retry-After`).
///
/// It can be cloned because one failed write answers every request that waited for it.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// The spool has reached its own limit.
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
    /// The file system cannot be written.
    #[error("the spool is on a read-only file system")]
    ReadOnly,
    /// Anything else that the file system says.
    #[error("the spool's files cannot be written: {0}")]
    File(Arc<io::Error>),
    /// Anything else that the storage says.
    #[error("the spool's storage failed: {0}")]
    Storage(Arc<dyn std::error::Error + Send + Sync>),
    /// The folder cannot be made or used.
    #[error("the spool's folder {} cannot be used: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The spool was written by a newer Hedgerow.
    #[error("the spool has format {found}, this version knows {known}")]
    Format {
        /// The format found.
        found: i64,
        /// The newest format this version knows.
        known: i64,
    },
    /// There is no spool in this folder.
    #[error("there is no spool in {}", .0.display())]
    Missing(PathBuf),
    /// The distributed log did not do what it was asked for.
    #[error("the distributed spool could not {doing}: {source}")]
    Remote {
        /// What was asked for.
        doing: &'static str,
        /// What the client library said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// No server of the distributed log is connected.
    #[error("the distributed spool cannot be reached: {0}")]
    Away(String),
    /// Events are larger than a message of the distributed log may be. The others are durable.
    #[error(
        "{events} of {of} events are larger than the {largest} bytes that the distributed spool \
         takes at once; its servers' `max_payload` bounds that"
    )]
    TooLarge {
        /// This many are refused.
        events: u64,
        /// Of this many that came together.
        of: u64,
        /// The largest event that is taken, in bytes.
        largest: usize,
    },
    /// There is no stream of this name.
    #[error("there is no stream {0}: no proxy has used this spool yet")]
    NoStream(String),
    /// The spool's thread has ended.
    #[error("the spool is closed")]
    Closed,
    /// Not the text of an event.
    #[error("expected an event as a JSON object")]
    NotAnEvent,
    /// No dead letter has this number.
    #[error("there is no dead letter {0}")]
    NoSuchDeadLetter(i64),
}

impl SpoolError {
    /// Whether a process should not start with a spool of which this was said.
    pub fn prevents_start(&self) -> bool {
        matches!(self, Self::Format { .. })
    }

    /// A short stable name, for counters and logs.
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
            Self::Closed => "closed",
            Self::NotAnEvent => "not_an_event",
            Self::NoSuchDeadLetter(_) => "no_such_dead_letter",
        }
    }
}

impl From<io::Error> for SpoolError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // A file-size limit is a disk that is full for this process.
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::NoSpace,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => Self::File(Arc::new(error)),
        }
    }
}
