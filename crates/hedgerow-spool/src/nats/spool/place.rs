//! The place of a spool on NATS: its servers, its streams and its login.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

/// The place of a spool on NATS, from the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NatsPlace {
    /// The servers; at least one.
    pub servers: Vec<NatsServer>,
    /// The stream's name, which is also the first token of its subjects.
    pub stream: String,
    /// The proxy's login at the servers.
    pub login: Option<NatsLogin>,
    /// A PEM file with the authority that must have issued the servers' certificates. It replaces the
    /// system's authorities.
    pub ca_file: Option<PathBuf>,
    /// The client certificate, if the servers require one.
    pub certificate: Option<NatsCertificate>,
    /// The number of copies of each message. `None` means three in a cluster, else one.
    pub replicas: Option<usize>,
}

/// A NATS server: `nats://host:port` or `tls://host:port`, without a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsServer(Url);

/// The transport to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NatsTransport {
    /// Unencrypted, unless the server itself requires TLS.
    Plain,
    /// Over TLS.
    Tls,
}

/// The error for a text that is not the address of a server.
const EXPECTED: &str = "expected nats://host:port or tls://host:port";

/// The default port of a server.
const PORT: u16 = 4222;

impl NatsServer {
    /// Returns the transport to the server.
    pub(super) fn transport(&self) -> NatsTransport {
        match self.0.scheme() {
            TLS => NatsTransport::Tls,
            _ => NatsTransport::Plain,
        }
    }

    /// Returns the server's URL, which always has a port.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

const PLAIN: &str = "nats";
const TLS: &str = "tls";

impl FromStr for NatsServer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        // The URL parser would ignore some blanks and change characters that are not ASCII.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(EXPECTED);
        }
        let mut url = Url::parse(text).map_err(|_| EXPECTED)?;
        let has_host = url.host_str().is_some_and(|host| !host.is_empty());
        let is_anonymous = url.username().is_empty() && url.password().is_none();
        let is_bare =
            matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        let is_known = matches!(url.scheme(), PLAIN | TLS);
        if !(is_known && has_host && is_anonymous && is_bare) {
            return Err(EXPECTED);
        }
        let port = url.port().unwrap_or(PORT);
        url.set_path("");
        match url.set_port(Some(port)) {
            Ok(()) if port > 0 => Ok(Self(url)),
            _ => Err(EXPECTED),
        }
    }
}

impl fmt::Display for NatsServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The proxy's login at the NATS servers. Its `Debug` output does not contain it.
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
    /// The text of a credentials file: a JWT, and the seed of the key that signs for it.
    Credentials(String),
}

impl fmt::Debug for NatsLogin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("NatsLogin")
    }
}

/// A client certificate and its key, two PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsCertificate {
    /// The certificate, with the intermediate certificates up to its authority.
    pub certificate: PathBuf,
    /// The certificate's private key.
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
            assert_eq!(text.parse::<NatsServer>(), Err(EXPECTED), "{text:?}");
        }
    }
}
