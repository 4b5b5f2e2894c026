//! Why Hedgerow cannot start.

use std::path::PathBuf;

use thiserror::Error;

use crate::delivery::SpoolError;
use crate::site::LibraryError;

/// Why Hedgerow cannot start with a configuration that is right in itself.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There are no certificates to verify a host's with.
    #[error(
        "no certificate authorities to verify {host} with ({reason}); install ca-certificates, \
         or set ca_file"
    )]
    Authorities {
        /// The host of a project or the server of an origin.
        host: String,
        /// What the TLS library says.
        reason: String,
    },
    /// The file that holds them has none.
    #[error("no certificate authorities to verify {host} with in {path} ({reason})", path = path.display())]
    CaFile {
        /// The host of a project.
        host: String,
        /// The file.
        path: PathBuf,
        /// What the TLS library says.
        reason: String,
    },
    /// The origin makes no valid URL.
    #[error("the origin {origin} is not a server that can be connected to")]
    Origin {
        /// The origin, as the configuration has it.
        origin: String,
    },
    /// analytics.js cannot be served.
    #[error("analytics.js in {folder}: {source}")]
    Library {
        /// The folder, or the archive.
        folder: PathBuf,
        /// What is wrong with it.
        source: LibraryError,
    },
    /// The snippet for a site's pages cannot be made.
    #[error("the snippet for the pages of {origin}: {reason}")]
    Snippet {
        /// The origin.
        origin: String,
        /// What is missing.
        reason: String,
    },
    /// A route that is no work of the one call in a host proxy.
    #[error(
        "route {route} is an `origin`, which the host proxy serves itself: take it out of the file, \
         or run the binary"
    )]
    NotInAHost {
        /// Host and path of the route.
        route: String,
    },
    /// There is no secret to keep sessions with.
    #[error("sessions cannot be kept: {0}")]
    Sessions(String),
    /// The spool is there but cannot be used by this version.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A listener orders a certificate, and this build cannot.
    #[error("this build orders no certificates: it was made without the cargo feature acme")]
    NoAcme,
    /// The host makes no valid request.
    #[error("project {project}: its host cannot stand in a request")]
    Host {
        /// The project's name.
        project: String,
    },
}
