//! The errors of a valid configuration that cannot be served, and the check for the certificate
//! authorities that verify a host.

use std::path::{Path, PathBuf};

use pingora::tls::RootCertStore;
use thiserror::Error;

use crate::delivery::SpoolError;
use crate::site::LibraryError;

/// Why Hedgerow cannot start with a valid configuration.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The machine has no certificate authorities to verify a host with.
    #[error(
        "there are no certificate authorities to verify {host} ({reason}): install \
         ca-certificates, or set `ca_file`"
    )]
    Authorities {
        /// The host of a project or the server of an origin.
        host: String,
        /// The TLS library's message.
        reason: String,
    },
    /// The configured file cannot be read or holds no certificate authorities.
    #[error("{path} contains no certificate authorities to verify {host} ({reason})", path = path.display())]
    CaFile {
        /// The host of a project.
        host: String,
        /// The file.
        path: PathBuf,
        /// The TLS library's message.
        reason: String,
    },
    /// analytics.js cannot be served.
    #[error("analytics.js in {folder}: {source}")]
    Library {
        /// The folder, or the archive.
        folder: PathBuf,
        /// The reason.
        source: LibraryError,
    },
    /// The snippet for a site's pages cannot be created.
    #[error("the snippet for the pages of {origin}: {reason}")]
    Snippet {
        /// The origin.
        origin: String,
        /// The missing part.
        reason: String,
    },
    /// A route that the call in a host proxy cannot serve.
    #[error(
        "route {route} is an `origin`, which the host proxy itself must serve: remove the route from \
         the file, or run the binary"
    )]
    NotInAHost {
        /// Host and path of the route.
        route: String,
    },
    /// There is no usable secret for sessions.
    #[error("sessions cannot be kept: {0}")]
    Sessions(String),
    /// The spool cannot be opened or used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A write key belongs to a project that the configuration does not have.
    #[error("a write key belongs to project {project}, which is not configured")]
    NoProject {
        /// The project's name.
        project: String,
    },
    /// A listener needs an ordered certificate, but this build cannot order one.
    #[error("this build cannot order certificates: it was built without the cargo feature acme")]
    NoAcme,
    /// The host of a project cannot be written into a request.
    #[error("project {project}: its host is not valid in a request")]
    Host {
        /// The project's name.
        project: String,
    },
}

/// A file without certificates. It is used only for hosts without TLS, on machines that may have no
/// certificates, so nothing is verified with it.
pub(crate) const NO_AUTHORITIES: &str = "/dev/null";

/// Checks that the file, or the machine if there is no file, has certificate authorities to verify
/// `host` with.
pub(crate) fn check_authorities(file: Option<&Path>, host: &str) -> Result<(), BuildError> {
    let refuse = |reason: String| match file {
        Some(path) => BuildError::CaFile {
            host: host.to_owned(),
            path: path.to_owned(),
            reason,
        },
        None => BuildError::Authorities {
            host: host.to_owned(),
            reason,
        },
    };
    let mut store = RootCertStore::empty();
    match file {
        Some(file) => pingora::tls::load_ca_file_into_store(file, &mut store),
        None => pingora::tls::load_platform_certs_incl_env_into_store(&mut store),
    }
    .map_err(|error| refuse(error.to_string()))?;
    if store.is_empty() && file != Some(Path::new(NO_AUTHORITIES)) {
        return Err(refuse("none were found".to_owned()));
    }
    Ok(())
}
