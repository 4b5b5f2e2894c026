//! The kinds of spool that there are: the one list that a new kind is added to.

use std::path::PathBuf;

use super::backend::{Backend, NotBuiltIn};
use super::NatsPlace;

/// Where a spool is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpoolPlace {
    /// A folder on this machine's disk.
    Folder(PathBuf),
    /// Streams of NATS JetStream, shared by all proxies that name them.
    Nats(NatsPlace),
}

impl SpoolPlace {
    /// Its backend. For a kind that this build does not have, every call returns
    /// [`SpoolError::NotBuiltIn`](super::SpoolError::NotBuiltIn).
    pub fn backend(&self) -> Box<dyn Backend + '_> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Folder(path) => Box::new(super::sqlite::SqliteBackend(path)),
            #[cfg(feature = "nats")]
            Self::Nats(place) => Box::new(super::nats::NatsBackend(place)),
            #[allow(unreachable_patterns)]
            other => Box::new(NotBuiltIn(other.feature())),
        }
    }

    /// The cargo feature that such a spool needs.
    fn feature(&self) -> &'static str {
        match self {
            Self::Folder(_) => "sqlite",
            Self::Nats(_) => "nats",
        }
    }
}
