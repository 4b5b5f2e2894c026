//! A whole server: listeners, threads, signals.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::listeners::tls::TlsSettings;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server as PingoraServer, ShutdownSignalWatch, ShutdownWatch};
use pingora::services::background::{background_service, BackgroundService, GenBackgroundService};
use pingora::services::listening::Service;
use thiserror::Error;

use crate::config::{Action, Config, Tls};
use crate::demo::http::Handler;
use crate::posthog::Scheme;

use super::serve::Plain;
use super::site::Site;
use super::{check_authorities, BuildError, Hedgerow, NO_AUTHORITIES};

/// Requests on one connection before it is closed, so that a connection does not live for ever.
const REQUESTS: u32 = 1000;
/// How long an HTTP/2 connection without a stream stays open.
const IDLE: Duration = Duration::from_secs(60);
/// How often a request of a site is tried in all: first address, and others.
const TRIES: usize = 4;

/// A server that is ready to run: its addresses are known, its certificates have been read.
pub struct Server {
    server: PingoraServer,
    addresses: Vec<SocketAddr>,
}

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
        /// What the system says.
        source: std::io::Error,
    },
    /// The certificate and the key are no pair, or no certificate and no key.
    #[error("the certificate {certificate} cannot be used: {reason}")]
    Certificate {
        /// The file.
        certificate: String,
        /// What the TLS library says.
        reason: String,
    },
}

impl Server {
    /// A server for this Hedgerow and the site around it, as its configuration says.
    ///
    /// # Errors
    ///
    /// When an address cannot be listened on or a certificate cannot be used. The framework would
    /// stop the process later instead.
    pub fn new(hedgerow: Hedgerow) -> Result<Self, ServerError> {
        let config = hedgerow.config();
        let secure = secure_origin(config);
        if let Some(origin) = &secure {
            check_authorities(None, origin)?;
        }
        let conf = conf(config, secure.is_some());
        let mut server = PingoraServer::new_with_opt_and_conf(None, conf);
        server.bootstrap();
        let conf = Arc::clone(&server.configuration);
        let listen = config.listen.clone();
        server.add_service(background_service("replay", Replaying(hedgerow.clone())));
        let admin = hedgerow.config().admin.zip(hedgerow.admin());
        let site = Site::new(hedgerow)?;
        for balancer in site.balancers() {
            let name = "the health of a site's servers".to_owned();
            server.add_service(GenBackgroundService::new(name, balancer));
        }
        let mut service = http_proxy_service_with_name(&conf, site, "site");
        if let Some(proxy) = service.app_logic_mut() {
            proxy.server_options = Some(options());
        }
        let mut addresses = Vec::new();
        for listener in &listen {
            let address = free(listener.address)?;
            match &listener.tls {
                None => service.add_tcp(&address.to_string()),
                Some(tls) => {
                    service.add_tls_with_settings(&address.to_string(), None, settings(tls)?);
                }
            }
            addresses.push(address);
        }
        server.add_service(service);
        let mut server = Self { server, addresses };
        if let Some((address, pages)) = admin {
            server.serve("admin", address, pages)?;
        }
        Ok(server)
    }

    /// Where it will listen, in the order of the configuration, with the ports that were free
    /// where the configuration leaves the choice.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves plain values on an address of its own.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on.
    pub fn serve(
        &mut self,
        name: &str,
        address: SocketAddr,
        handler: Arc<dyn Handler>,
    ) -> Result<SocketAddr, ServerError> {
        let address = free(address)?;
        let mut service = Service::new(name.to_owned(), Plain::new(handler));
        service.add_tcp(&address.to_string());
        self.server.add_service(service);
        Ok(address)
    }

    /// Runs until the process is told to stop: `SIGTERM` lets requests under way end within the
    /// grace period, `SIGINT` does not.
    pub fn run(self) {
        self.server.run(RunArgs::default());
    }

    /// The same, told to stop by something else than the process's signals.
    pub fn run_until(self, signal: Box<dyn ShutdownSignalWatch>) {
        self.server.run(RunArgs {
            shutdown_signal: signal,
        });
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Server")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// Sends what waits in the spool for as long as the server runs.
struct Replaying(Hedgerow);

#[async_trait]
impl BackgroundService for Replaying {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        self.0.start_replay();
        // An error means that nobody is left to say anything.
        while !*shutdown.borrow_and_update() && shutdown.changed().await.is_ok() {}
        self.0.stop_replay().await;
    }
}

/// A server behind the proxy that is spoken to over TLS and verified with the machine's own
/// authorities.
fn secure_origin(config: &Config) -> Option<String> {
    config.routes.iter().find_map(|route| match &route.action {
        Action::Origin(origin) => {
            let mut servers = origin.servers.iter();
            let server = servers.find(|server| server.scheme == Scheme::Https)?;
            Some(server.to_string())
        }
        Action::PostHog(said) => {
            let project = &said.project;
            let verified = project.host.scheme() == Scheme::Https && project.ca_file.is_none();
            verified.then(|| project.host.to_string())
        }
        Action::Segment { .. } => None,
    })
}

/// The framework's own settings. What is not named here keeps the framework's default.
fn conf(config: &Config, verifies: bool) -> ServerConf {
    let seconds = config.server.grace.as_secs() + u64::from(config.server.grace.subsec_nanos() > 0);
    ServerConf {
        threads: config.server.threads,
        // Its default of five minutes outlives what any supervisor waits (pingora 5).
        grace_period_seconds: Some(seconds),
        graceful_shutdown_timeout_seconds: Some(1),
        max_retries: TRIES,
        // A site without TLS needs no authorities, and the machine may have none.
        ca_file: (!verifies).then(|| NO_AUTHORITIES.to_owned()),
        ..ServerConf::default()
    }
}

/// Every connection ends some time (pingora 2.4). HTTP/2 is for TLS only: without it, a silent
/// connection would never be closed.
pub(super) fn options() -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    options.keepalive_request_limit = Some(REQUESTS);
    options.h2_idle_timeout = Some(IDLE);
    options
}

/// The address, when it can be listened on; a free port for port 0.
fn free(address: SocketAddr) -> Result<SocketAddr, ServerError> {
    TcpListener::bind(address)
        .and_then(|listener| listener.local_addr())
        .map_err(|source| ServerError::Listen { address, source })
}

fn settings(tls: &Tls) -> Result<TlsSettings, ServerError> {
    let refuse = |reason: String| ServerError::Certificate {
        certificate: tls.certificate.display().to_string(),
        reason,
    };
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (certificate, key) = (text(&tls.certificate), text(&tls.key));
    check_pair(&certificate, &key).map_err(refuse)?;
    let mut settings =
        TlsSettings::intermediate(&certificate, &key).map_err(|error| refuse(error.to_string()))?;
    settings.enable_h2();
    Ok(settings)
}

/// The framework panics on a bad pair when it is too late to say which.
fn check_pair(certificate: &str, key: &str) -> Result<(), String> {
    pingora::tls::install_default_crypto_provider();
    let loaded = pingora::tls::load_certs_and_key_files(certificate, key)
        .map_err(|error| error.to_string())?;
    let (certificates, key) = loaded.ok_or("no certificate or no private key in the files")?;
    pingora::tls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map(drop)
        .map_err(|error| error.to_string())
}
