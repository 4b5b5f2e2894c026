//! Where a distributed spool is, and its bounds.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};

use super::place::{NatsCertificate, NatsLogin, NatsPlace, NatsServer};
use super::{remote, ANSWER};
use crate::backend::SpoolLimits;
use crate::error::SpoolError;

/// Where a distributed spool is, and its bounds.
#[derive(Clone)]
pub struct NatsSettings {
    /// The servers; at least one.
    pub servers: Vec<NatsServer>,
    /// Who we are.
    pub login: Option<NatsLogin>,
    /// The authority that the servers' certificates are checked against, instead of the system's:
    /// a PEM file.
    pub ca_file: Option<PathBuf>,
    /// The client certificate, if the servers ask for one.
    pub certificate: Option<NatsCertificate>,
    /// The stream's name, and the first token of its subjects. Two more streams have this name with
    /// `_DEAD` and `_LEAD` at its end.
    pub stream: String,
    /// Copies of each message, used when the streams are made; without a number three in a
    /// cluster, else one.
    pub replicas: Option<usize>,
    /// Bytes that may wait; used when the stream is made. Dead letters may hold a tenth of it.
    pub max_size: u64,
    /// How long an event or a dead letter is kept before it is dropped and counted: time during which
    /// a process has the spool open, even if the time of day is set there or at the servers.
    pub max_age: Duration,
    /// How long a proxy that has died keeps the others from draining in its place. Streams with a
    /// shorter lead are changed; see [`lead_for`](Self::lead_for).
    pub lead: Duration,
    /// The largest event that may come, in bytes: the log reports once if the servers accept less.
    pub largest_event: Option<usize>,
}

impl NatsSettings {
    /// A spool of 1 GiB and 7 days, led for a minute at a time.
    pub fn new(servers: Vec<NatsServer>, stream: &str) -> Self {
        Self {
            servers,
            login: None,
            ca_file: None,
            certificate: None,
            stream: stream.to_owned(),
            replicas: None,
            max_size: 1 << 30,
            max_age: Duration::from_secs(7 * 24 * 3600),
            lead: Duration::from_secs(60),
            largest_event: None,
        }
    }

    /// These streams with these bounds, led for a minute at a time.
    pub(super) fn of(nats: &NatsPlace, limits: SpoolLimits) -> Self {
        Self {
            login: nats.login.clone(),
            ca_file: nats.ca_file.clone(),
            certificate: nats.certificate.clone(),
            replicas: nats.replicas,
            max_size: limits.max_size,
            max_age: limits.max_age,
            ..Self::new(nats.servers.clone(), &nats.stream)
        }
    }

    /// The lead for deliveries that take at most `longest_delivery`. It is renewed after a sixth of
    /// its time, and the remaining time is enough for a delivery.
    #[must_use]
    pub fn lead_for(longest_delivery: Duration) -> Duration {
        longest_delivery * 3 / 2 + Duration::from_secs(1)
    }

    pub(super) fn servers(&self) -> Result<Vec<ServerAddr>, SpoolError> {
        let servers = self.servers.iter();
        let servers = servers.map(|server| ServerAddr::from_url(server.url().clone()));
        servers
            .collect::<Result<_, _>>()
            .map_err(|error| remote("read its URL", error))
    }

    pub(super) fn options(&self) -> Result<ConnectOptions, SpoolError> {
        let options = ConnectOptions::new()
            .name("hedgerow")
            .connection_timeout(ANSWER)
            .request_timeout(Some(ANSWER))
            .retry_on_initial_connect();
        let options = match &self.login {
            Some(NatsLogin::User { name, password }) => {
                options.user_and_password(name.clone(), password.clone())
            }
            Some(NatsLogin::Token(token)) => options.token(token.clone()),
            Some(NatsLogin::Credentials(text)) => options
                .credentials(text)
                .map_err(|error| remote("read its credentials", error))?,
            None => options,
        };
        let options = match &self.ca_file {
            Some(path) => options.add_root_certificates(path.clone()),
            None => options,
        };
        Ok(match &self.certificate {
            Some(NatsCertificate { certificate, key }) => {
                options.add_client_certificate(certificate.clone(), key.clone())
            }
            None => options,
        })
    }
}

impl std::fmt::Debug for NatsSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("NatsSettings")
            .field("servers", &self.servers)
            .field("stream", &self.stream)
            .field("max_size", &self.max_size)
            .field("max_age", &self.max_age)
            .finish_non_exhaustive()
    }
}
