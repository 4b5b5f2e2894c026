//! Where a spool on NATS is: values only, so that a build without it can read a configuration.

use std::fmt;
use std::path::PathBuf;

/// The streams of a shared spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsPlace {
    /// The servers; at least one.
    pub servers: Vec<NatsServer>,
    /// The stream's name, and the first token of its subjects.
    pub stream: String,
    /// Who we are.
    pub login: Option<NatsLogin>,
    /// The authority that the servers' certificates are checked against, instead of the public
    /// ones: a PEM file.
    pub ca_file: Option<PathBuf>,
    /// What the servers know us by, where they ask for a certificate.
    pub certificate: Option<NatsCertificate>,
    /// Copies of each message; without a number three in a cluster, else one.
    pub replicas: Option<usize>,
}

/// A NATS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsServer {
    /// `nats` or `tls`.
    pub scheme: &'static str,
    /// Its name or address, IPv6 in brackets. Never empty.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for NatsServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

/// Who we are to NATS. Shown by no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum NatsLogin {
    /// A user.
    User {
        /// The name.
        name: String,
        /// The password.
        password: String,
    },
    /// A token.
    Token(String),
    /// The text of a credentials file: a JWT, and the seed that signs for it.
    Credentials(String),
}

impl fmt::Debug for NatsLogin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("NatsLogin")
    }
}

/// A client's certificate, both files as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsCertificate {
    /// The certificate, with those that lead to its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}
