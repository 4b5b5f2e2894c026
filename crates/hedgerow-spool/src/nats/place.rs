//! Where a spool on NATS is: values only, so that a build without it can read a configuration.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;
use url::Url;

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
    /// The client certificate, if the servers ask for one.
    pub certificate: Option<NatsCertificate>,
    /// Copies of each message; without a number three in a cluster, else one.
    pub replicas: Option<usize>,
}

/// A NATS server: `nats://host:port` or `tls://host:port`, without a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsServer(Url);

/// The transport to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatsTransport {
    /// In the clear, unless the server itself asks for TLS.
    Plain,
    /// Over TLS.
    Tls,
}

/// The text is no address of a NATS server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected nats://host:port or tls://host:port")]
pub struct NatsServerError;

/// The port of a server that is named without one.
const PORT: u16 = 4222;

impl NatsServer {
    /// Its transport.
    pub fn transport(&self) -> NatsTransport {
        match self.0.scheme() {
            TLS => NatsTransport::Tls,
            _ => NatsTransport::Plain,
        }
    }

    /// Its URL, which always has a port.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

const PLAIN: &str = "nats";
const TLS: &str = "tls";

impl FromStr for NatsServer {
    type Err = NatsServerError;

    fn from_str(text: &str) -> Result<Self, NatsServerError> {
        // The URL parser ignores blanks, and changes characters that are not ASCII.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(NatsServerError);
        }
        let mut url = Url::parse(text).map_err(|_| NatsServerError)?;
        let has_host = url.host_str().is_some_and(|host| !host.is_empty());
        let is_anonymous = url.username().is_empty() && url.password().is_none();
        let is_bare =
            matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        let is_known = matches!(url.scheme(), PLAIN | TLS);
        if !(is_known && has_host && is_anonymous && is_bare) {
            return Err(NatsServerError);
        }
        let port = url.port().unwrap_or(PORT);
        url.set_path("");
        match url.set_port(Some(port)) {
            Ok(()) if port > 0 => Ok(Self(url)),
            _ => Err(NatsServerError),
        }
    }
}

impl fmt::Display for NatsServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_scheme_a_host_and_a_port_and_nothing_else() {
        use NatsTransport::{Plain, Tls};
        for (text, printed, transport) in [
            ("nats://one", "nats://one:4222", Plain),
            ("nats://one:4223/", "nats://one:4223", Plain),
            ("tls://n1.example.com", "tls://n1.example.com:4222", Tls),
            ("nats://192.0.2.1:1", "nats://192.0.2.1:1", Plain),
            ("tls://[::1]:4333", "tls://[::1]:4333", Tls),
            ("NATS://one", "nats://one:4222", Plain),
        ] {
            let server: NatsServer = text.parse().unwrap();
            assert_eq!(server.to_string(), printed, "{text}");
            assert_eq!(server.transport(), transport, "{text}");
            assert!(server.url().port().is_some(), "{text}");
        }
        for text in [
            "",
            "one",
            "one:4222",
            "http://one",
            "nats://",
            "nats://:4222",
            "nats://one:0",
            "nats://one:70000",
            "nats://one:port",
            "nats://one/path",
            "nats://one?query",
            "nats://one#part",
            "nats://user@one",
            "nats://user:password@one",
            "nats://on e",
            " nats://one",
            "nats://\u{e4}",
        ] {
            assert_eq!(text.parse::<NatsServer>(), Err(NatsServerError), "{text:?}");
        }
    }
}
