//! Why a server cannot run.

use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use crate::proxy::build_error::BuildError;

/// Why a server cannot run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Hedgerow itself cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The system has no resources for the sockets.
    #[error("the listening sockets: {source}")]
    Sockets {
        /// The error of the system.
        source: std::io::Error,
    },
    /// No successor can be served at `server.upgrade_socket`.
    #[error("server.upgrade_socket {path}: {source}")]
    UpgradeSocket {
        /// The socket.
        path: PathBuf,
        /// The mistake.
        source: std::io::Error,
    },
    /// The process that serves now does not hand its sockets over.
    #[error(
        "no hand-over at {path}: {source}. If no process serves there, start without --upgrade"
    )]
    HandOver {
        /// Its `server.upgrade_socket`.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration has no socket to reach the running process.
    #[error("an upgrade needs server.upgrade_socket in the configuration")]
    NoUpgradeSocket,
    /// The certificate and the key do not belong together, or are none.
    #[error("the certificate {certificate} cannot be used: {reason}")]
    Certificate {
        /// The file.
        certificate: String,
        /// The TLS library's message.
        reason: String,
    },
}
