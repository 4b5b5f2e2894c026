//! A whole server: listeners, threads, signals.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::listeners::tls::TlsSettings;
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use pingora::server::{
    RunArgs, Server as PingoraServer, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch,
    UnixShutdownSignalWatch,
};
use pingora::services::background::{background_service, BackgroundService, GenBackgroundService};
use thiserror::Error;
use tokio::signal::unix::{signal, SignalKind};

use crate::config::{Action, Config, Tls};
use crate::plain::Handler;
use crate::posthog::Scheme;

use super::departure::{Departure, Stage};
use super::listening::{Bounds, Entrance, Listening};
use super::serve::Plain;
use super::site::Site;
use super::succession::{Estate, Inheritance};
use super::{check_authorities, BuildError, Hedgerow, NO_AUTHORITIES};

/// Requests on one connection before it is closed, so that a connection does not live for ever.
const REQUESTS: u32 = 1000;
/// How long an HTTP/2 connection without a stream stays open.
const IDLE: Duration = Duration::from_secs(60);
/// How often a request of a site is tried in all: first address, and others.
const TRIES: usize = 4;
/// How often it is looked whether a predecessor has ended.
const LOOK: Duration = Duration::from_millis(50);

/// A server that is ready to run: it listens, its certificates have been read.
pub struct Server {
    server: PingoraServer,
    addresses: Vec<SocketAddr>,
    hedgerow: Hedgerow,
    departure: Arc<Departure>,
    estate: Option<Estate>,
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
    /// No successor can be served at `server.upgrade_socket`.
    #[error("server.upgrade_socket {path}: {source}")]
    UpgradeSocket {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// The process that serves now does not hand its sockets over.
    #[error("no hand-over at {path}: {source}")]
    HandOver {
        /// Its `server.upgrade_socket`.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration does not say where the process that serves now can be asked.
    #[error("an upgrade needs server.upgrade_socket in the configuration")]
    NoUpgradeSocket,
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
    /// A server for this Hedgerow and the site around it, as its configuration says. From now on
    /// clients can connect; they are served when it runs.
    ///
    /// # Errors
    ///
    /// When an address cannot be listened on or a certificate cannot be used. The framework would
    /// stop the process later instead.
    pub fn new(hedgerow: Hedgerow) -> Result<Self, ServerError> {
        let server = Self::build(hedgerow, &mut None)?;
        server.publish()?;
        Ok(server)
    }

    /// The same in the place of the process that serves now, which listens at the configuration's
    /// `server.upgrade_socket`: its sockets are taken over, with the connections that wait in
    /// them, and it leaves. Addresses that it did not listen on are opened.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new), and when there is no such process or it does not give up its
    /// sockets. It goes on serving then.
    pub fn take_over(hedgerow: Hedgerow) -> Result<Self, ServerError> {
        let path = hedgerow.config().server.upgrade_socket.clone();
        let path = path.ok_or(ServerError::NoUpgradeSocket)?;
        let failed = |source| ServerError::HandOver {
            path: path.clone(),
            source,
        };
        let mut inheritance = Some(Inheritance::ask(&path).map_err(failed)?);
        let server = Self::build(hedgerow, &mut inheritance)?;
        if let Some(inheritance) = inheritance {
            inheritance.ready().map_err(failed)?;
        }
        server.publish()?;
        Ok(server)
    }

    /// Lets successors ask this process.
    fn publish(&self) -> Result<(), ServerError> {
        let path = &self.hedgerow.config().server.upgrade_socket;
        let (Some(estate), Some(path)) = (&self.estate, path) else {
            return Ok(());
        };
        estate
            .publish()
            .map_err(|source| ServerError::UpgradeSocket {
                path: path.clone(),
                source,
            })
    }

    fn build(
        hedgerow: Hedgerow,
        inheritance: &mut Option<Inheritance>,
    ) -> Result<Self, ServerError> {
        let config = hedgerow.config();
        let secure = secure_origin(config);
        if let Some(origin) = &secure {
            check_authorities(None, origin)?;
        }
        let conf = conf(config, secure.is_some());
        let mut server = PingoraServer::new_with_opt_and_conf(None, conf);
        server.bootstrap();
        let conf = Arc::clone(&server.configuration);
        let departure = Departure::new();
        let idle = hedgerow.inner.idle_seconds;
        server.add_service(background_service("replay", Replaying(hedgerow.clone())));
        server.add_service(background_service("signals", Unmeant));
        let site = Site::new(hedgerow.clone())?;
        for balancer in site.balancers() {
            let name = "the health of a site's servers".to_owned();
            server.add_service(GenBackgroundService::new(name, balancer));
        }
        let mut proxy = http_proxy(&conf, site);
        proxy.server_options = Some(options());
        let (mut addresses, mut entrances, mut sockets) = (Vec::new(), Vec::new(), Vec::new());
        let mut enter = |address: SocketAddr| {
            let inherited = inheritance
                .as_mut()
                .and_then(|inheritance| inheritance.take(address));
            let entrance = match inherited {
                Some(socket) => Entrance::inherited(socket),
                None => Entrance::open(address),
            };
            let shared = entrance.and_then(|entrance| Ok((entrance.socket()?, entrance)));
            let (socket, entrance) =
                shared.map_err(|source| ServerError::Listen { address, source })?;
            sockets.push((entrance.address, socket));
            Ok::<_, ServerError>(entrance)
        };
        for listener in &config.listen {
            let tls = listener.tls.as_ref().map(settings).transpose()?;
            let entrance = enter(listener.address)?;
            addresses.push(entrance.address);
            entrances.push(match tls {
                None => entrance,
                Some(tls) => entrance.secured(tls.build()),
            });
        }
        let mut listening = Listening::new("site", proxy, entrances, Arc::clone(&departure), idle);
        listening.bounded(Bounds {
            crowd: Some(Arc::clone(&hedgerow.inner.crowd)),
            head: hedgerow.inner.head,
        });
        server.add_service(listening);
        if let Some((address, pages)) = config.admin.zip(hedgerow.admin()) {
            let entrances = vec![enter(address)?];
            let pages = Plain::new(pages);
            let listening = Listening::new("admin", pages, entrances, Arc::clone(&departure), idle);
            server.add_service(listening);
        }
        if let Some(address) = config.health {
            let entrances = vec![enter(address)?];
            let health = Plain::new(hedgerow.health());
            let departure = Arc::clone(&departure);
            let listening = Listening::new("health", health, entrances, departure, idle);
            server.add_service(listening);
        }
        let estate = match &config.server.upgrade_socket {
            None => None,
            Some(path) => {
                let opened = Estate::open(path, sockets);
                Some(opened.map_err(|source| ServerError::UpgradeSocket {
                    path: path.clone(),
                    source,
                })?)
            }
        };
        Ok(Self {
            server,
            addresses,
            hedgerow,
            departure,
            estate,
        })
    }

    /// Where it listens, in the order of the configuration, with the ports that were free
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
        let entrance =
            Entrance::open(address).map_err(|source| ServerError::Listen { address, source })?;
        let address = entrance.address;
        let departure = Arc::clone(&self.departure);
        let idle = self.hedgerow.inner.idle_seconds;
        let service = Listening::new(name, Plain::new(handler), vec![entrance], departure, idle);
        self.server.add_service(service);
        Ok(address)
    }

    /// Runs until the process is told to stop. `SIGTERM` and `SIGQUIT` let requests under way end
    /// within the grace period, `SIGINT` does not. A successor that asks for the sockets has the
    /// effect of `SIGTERM`.
    pub fn run(self) {
        self.run_until(Box::new(UnixShutdownSignalWatch));
    }

    /// The same, told to stop by something else than the process's signals.
    pub fn run_until(self, signal: Box<dyn ShutdownSignalWatch + Send + Sync>) {
        let leaving = Leaving {
            signal,
            hedgerow: self.hedgerow,
            departure: self.departure,
            estate: self.estate,
        };
        self.server.run(RunArgs {
            shutdown_signal: Box::new(leaving),
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

/// Signals that would end the process by default, although no one who sends them means that: some
/// tools ask every service with them to open its logs anew.
struct Unmeant;

impl Unmeant {
    const SIGNALS: [(SignalKind, &'static str); 3] = [
        (SignalKind::hangup(), "SIGHUP"),
        (SignalKind::user_defined1(), "SIGUSR1"),
        (SignalKind::user_defined2(), "SIGUSR2"),
    ];

    async fn answer(kind: SignalKind, name: &'static str) {
        let mut signals = match signal(kind) {
            Ok(signals) => signals,
            Err(error) => return log::warn!("{name} would end this process: {error}"),
        };
        while signals.recv().await.is_some() {
            log::warn!(
                "{name} changes nothing: the configuration is read once; start a new process with \
                 `hedgerow run --upgrade` to change it"
            );
        }
    }
}

/// Lets the process live on when it gets a signal that tools send to every service (`SIGHUP`,
/// `SIGUSR1`, `SIGUSR2`), from now on and not only when the server runs: a script that has just
/// started it may send one at once. To be called first.
///
/// # Errors
///
/// When the system does not let the process catch signals.
pub fn outlive_signals() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // A handler stays for the life of the process, whether or not this stream does.
    let catch = |(kind, _)| signal(kind).map(drop);
    runtime.block_on(async { Unmeant::SIGNALS.into_iter().try_for_each(catch) })
}

#[async_trait]
impl BackgroundService for Unmeant {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let [one, two, three] = Self::SIGNALS.map(|(kind, name)| Self::answer(kind, name));
        let answers = async { tokio::join!(one, two, three) };
        tokio::select! {
            _ = answers => {}
            _ = shutdown.wait_for(|over| *over) => {}
        }
    }
}

/// Begins to send what waits in the spool. It ends when the server leaves.
struct Replaying(Hedgerow);

#[async_trait]
impl BackgroundService for Replaying {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        self.0.start_replay();
        // An error means that nobody is left to say anything.
        let _ = shutdown.wait_for(|over| *over).await;
    }
}

/// Tells the framework to stop when everything has ended. It would wait for its whole grace
/// period, and close its sockets with connections in them (pingora 2.5).
struct Leaving {
    signal: Box<dyn ShutdownSignalWatch + Send + Sync>,
    hedgerow: Hedgerow,
    departure: Arc<Departure>,
    estate: Option<Estate>,
}

#[async_trait]
impl ShutdownSignalWatch for Leaving {
    async fn recv(&self) -> ShutdownSignal {
        let stage = tokio::select! {
            stage = self.stopped() => stage,
            () = self.succeeded() => Some(Stage::HandedOver),
        };
        let Some(stage) = stage else {
            return ShutdownSignal::FastShutdown;
        };
        tokio::select! {
            () = self.leave(stage) => ShutdownSignal::GracefulTerminate,
            () = self.hurried() => ShutdownSignal::FastShutdown,
        }
    }
}

impl Leaving {
    /// Returns when the server is told to stop; nothing if at once.
    async fn stopped(&self) -> Option<Stage> {
        match self.signal.recv().await {
            ShutdownSignal::FastShutdown => None,
            ShutdownSignal::GracefulTerminate | ShutdownSignal::GracefulUpgrade => {
                Some(Stage::Stopping)
            }
        }
    }

    /// Returns when a server that leaves is told to stop at once.
    async fn hurried(&self) {
        while self.stopped().await.is_some() {}
    }

    /// Returns when a successor has the sockets.
    async fn succeeded(&self) {
        let Some(estate) = &self.estate else {
            return std::future::pending().await;
        };
        while !self.hedgerow.is_first() {
            tokio::time::sleep(LOOK).await;
        }
        // While both serve, what comes to either goes into the spool: it alone knows the order.
        let (before, undo) = (
            || self.hedgerow.step_back(),
            || self.hedgerow.step_forward(),
        );
        estate.handed_over(before, undo).await;
        log::info!("a successor serves now");
    }

    async fn leave(&self, stage: Stage) {
        let grace = self.hedgerow.config().server.grace;
        if let Some(estate) = &self.estate {
            estate.close();
        }
        self.hedgerow.set_leaving();
        let rest = || self.hedgerow.forwards_under_way();
        let leaving = self.departure.leave(stage, grace, rest);
        let replay = async {
            if stage == Stage::Stopping {
                let _ = tokio::time::timeout(grace, self.hedgerow.stop_replay()).await;
            }
        };
        tokio::join!(leaving, replay);
        if stage == Stage::HandedOver {
            // Last of all: with the end of the replay the successor need not wait any more.
            let _ = tokio::time::timeout(grace, self.hedgerow.stop_replay()).await;
        }
    }
}

/// A server behind the proxy that is spoken to over TLS and verified with the machine's own
/// authorities.
pub(super) fn secure_origin(config: &Config) -> Option<String> {
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
    ServerConf {
        threads: config.server.threads,
        // The server has left before the framework is told to stop.
        grace_period_seconds: Some(0),
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

pub(super) fn settings(tls: &Tls) -> Result<TlsSettings, ServerError> {
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
