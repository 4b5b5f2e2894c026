//! The settings of a distributed spool: its place and its limits.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};

use super::faults::remote;
use super::limits::ANSWER;
use super::place::{NatsCertificate, NatsLogin, NatsPlace, NatsServer};
use crate::backend::SpoolLimits;
use crate::error::SpoolError;

/// The place and the limits of a distributed spool.
#[derive(Clone)]
pub struct NatsSettings {
    /// The servers; at least one.
    pub servers: Vec<NatsServer>,
    /// The proxy's login at the servers.
    pub login: Option<NatsLogin>,
    /// A PEM file with the authority that must have issued the servers' certificates. It replaces the
    /// system's authorities.
    pub ca_file: Option<PathBuf>,
    /// The client certificate, if the servers require one.
    pub certificate: Option<NatsCertificate>,
    /// The stream's name, which is also the first token of its subjects. Three more streams have this
    /// name with `_DEAD`, `_LEAD` and `_AGE` at its end.
    pub stream: String,
    /// The number of copies of each message. It applies when the spool creates the streams. `None`
    /// means three in a cluster, else one.
    pub replicas: Option<usize>,
    /// The most bytes that may wait. It applies when the spool creates the streams. Dead letters may take
    /// a tenth of this in addition.
    pub max_size: u64,
    /// The age at which the spool drops and counts an event or a dead letter. Only time during which a
    /// process has the spool open counts, and setting a clock there or at the servers changes nothing.
    pub max_age: Duration,
    /// How long the other proxies cannot drain after the leading proxy has died. The spool changes an
    /// existing stream whose lead is shorter; see [`lead_for`](Self::lead_for).
    pub lead: Duration,
    /// The largest event that may arrive, in bytes. The log warns if the servers accept less.
    pub largest_event: Option<usize>,
}

impl NatsSettings {
    /// Returns settings with a limit of 1 GiB and 7 days, and a lead of one minute.
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

    /// Returns settings for this place with these limits, and a lead of one minute.
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

    /// Returns the duration of the lead for deliveries that take at most `longest_delivery`. The leader
    /// renews it after a sixth of its time, and the remaining time is enough for a delivery.
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
