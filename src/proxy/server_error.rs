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
    /// The address is in use, or is not an address of this machine.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The system has no resources for the sockets.
    #[error("the listening sockets cannot be used: {source}")]
    Sockets {
        /// The error of the system.
        source: std::io::Error,
    },
    /// The socket `server.upgrade_socket`, which hands the sockets to a successor, cannot be opened.
    #[error("`server.upgrade_socket` {path} cannot be used: {source}")]
    UpgradeSocket {
        /// The socket.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The process that currently serves did not hand over its sockets.
    #[error(
        "no hand-over at {path}: {source}. If no process is running, start Hedgerow without \
         --upgrade"
    )]
    HandOver {
        /// Its `server.upgrade_socket`.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The configuration has no socket to reach the running process.
    #[error("`--upgrade` needs `server.upgrade_socket` in the configuration")]
    NoUpgradeSocket,
    /// The certificate or the key cannot be read, or they do not belong together.
    #[error("the certificate {certificate} cannot be used: {reason}")]
    Certificate {
        /// The file.
        certificate: String,
        /// The TLS library's message.
        reason: String,
    },
}
