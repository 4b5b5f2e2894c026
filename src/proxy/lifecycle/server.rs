//! A whole server: listeners, threads, signals.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use pingora::server::{
    RunArgs, Server as PingoraServer, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch,
    UnixShutdownSignalWatch,
};
use pingora::services::background::{background_service, BackgroundService};

use crate::config::{Action, Config};
use crate::handler::Handler;
use crate::posthog::Scheme;

use crate::proxy::build_error::{check_authorities, NO_AUTHORITIES};
use crate::proxy::handler_app::HandlerApp;
use crate::proxy::hedgerow::Hedgerow;
use crate::proxy::lifecycle::reload::{ConfigFile, ReloadHandle, ReloadService, Reloader};
use crate::proxy::lifecycle::signals::IgnoredSignals;
use crate::proxy::lifecycle::upgrade::{UpgradeClient, UpgradeServer};
use crate::proxy::listen::accept_loop::ListenerOptions;
use crate::proxy::listen::drain::{Drain, ShutdownStage};
use crate::proxy::listen::listener_group::{BoundSocket, ListenerGroup, ListenerService};
use crate::proxy::listen::listener_set::ListenerSet;
use crate::proxy::server_error::ServerError;
use crate::proxy::site::Site;

/// The most requests on one connection before it is closed, so that no connection stays open
/// forever.
const REQUESTS: u32 = 1000;
/// How long an HTTP/2 connection without a stream stays open.
const IDLE: Duration = Duration::from_secs(60);
/// How often a request to the site's own server is tried in all: at the first address, and at
/// others.
const TRIES: usize = 4;
/// How often this process checks whether a predecessor has ended.
const LOOK: Duration = Duration::from_millis(50);
/// How long a server that is stopped during its start waits for its own listeners.
const OPENING: Duration = Duration::from_secs(5);

/// A server that is ready to run: it listens, and its certificates have been read. The `hedgerow` binary
/// consists of this and a command line.
///
/// ```no_run
/// use hedgerow::{Config, Hedgerow, Server};
///
/// let (config, _warnings) = Config::load("hedgerow.yaml".as_ref())?;
/// let server = Server::new(Hedgerow::new(config)?)?;
/// println!("listening on {:?}", server.addresses());
/// server.run();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Server {
    server: PingoraServer,
    addresses: Vec<SocketAddr>,
    hedgerow: Hedgerow,
    drain: Arc<Drain>,
    upgrade_server: Option<Arc<UpgradeServer>>,
    reloader: Arc<Reloader>,
    reload_handle: ReloadHandle,
}

impl Server {
    /// Creates a server for this Hedgerow and the site around it, as its configuration defines it.
    /// From now on clients can connect; they get answers when the server runs.
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

    /// Creates a server that takes over from the process that serves now and that listens at the
    /// configuration's `server.upgrade_socket`. The new server gets that process's sockets, with
    /// the connections that wait in them, and that process shuts down. Addresses that it did not
    /// listen on are opened.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new), and when no such process exists or it does not hand over its
    /// sockets. That process then keeps serving.
    pub fn take_over(hedgerow: Hedgerow) -> Result<Self, ServerError> {
        let path = hedgerow.config().server.upgrade_socket.clone();
        let path = path.ok_or(ServerError::NoUpgradeSocket)?;
        let failed = |source| ServerError::HandOver {
            path: path.clone(),
            source,
        };
        let mut upgrade_client = Some(UpgradeClient::ask(&path).map_err(failed)?);
        let server = Self::build(hedgerow, &mut upgrade_client)?;
        if let Some(upgrade_client) = upgrade_client {
            upgrade_client.ready().map_err(failed)?;
        }
        server.publish()?;
        Ok(server)
    }

    /// Lets successors request this process's sockets.
    fn publish(&self) -> Result<(), ServerError> {
        let config = self.hedgerow.config();
        let (Some(upgrade_server), Some(path)) =
            (&self.upgrade_server, &config.server.upgrade_socket)
        else {
            return Ok(());
        };
        upgrade_server
            .publish()
            .map_err(|source| ServerError::UpgradeSocket {
                path: path.clone(),
                source,
            })
    }

    fn build(
        hedgerow: Hedgerow,
        upgrade_client: &mut Option<UpgradeClient>,
    ) -> Result<Self, ServerError> {
        let config = hedgerow.config();
        let verifies = match secure_origin(&config) {
            Some(origin) => {
                check_authorities(None, &origin)?;
                true
            }
            // A later configuration may need them.
            None => check_authorities(None, "").is_ok(),
        };
        let mut server = PingoraServer::new_with_opt_and_conf(None, conf(&config, verifies));
        server.bootstrap();
        let conf = Arc::clone(&server.configuration);
        let drain = Drain::new();
        server.add_service(background_service(
            "replay",
            ReplayService(hedgerow.clone()),
        ));
        server.add_service(background_service("signals", IgnoredSignals));
        let site = Site::new(hedgerow.clone())?;
        let mut proxy = http_proxy(&conf, site.clone());
        proxy.server_options = Some(options());
        let listener_set = Arc::new(ListenerSet::new(proxy, &hedgerow, &drain));
        let plans = listener_set.plan(&config, |address| {
            let inherited = upgrade_client
                .as_mut()
                .and_then(|upgrade_client| upgrade_client.take(address));
            match inherited {
                Some(socket) => BoundSocket::inherited(socket),
                None => BoundSocket::open(address),
            }
        })?;
        let system = |source| ServerError::Sockets { source };
        listener_set.activate(plans).map_err(system)?;
        hedgerow.shared.long_lived.acme.activate(&config);
        server.add_service(ListenerService::new("site", Arc::clone(&listener_set.site)));
        // A later configuration may have an address for these.
        server.add_service(ListenerService::new(
            "admin",
            Arc::clone(&listener_set.admin),
        ));
        server.add_service(ListenerService::new(
            "health",
            Arc::clone(&listener_set.health),
        ));
        let upgrade_server = match &config.server.upgrade_socket {
            None => None,
            Some(path) => {
                let opened = UpgradeServer::open(path, listener_set.sockets().map_err(system)?);
                Some(Arc::new(opened.map_err(|source| {
                    ServerError::UpgradeSocket {
                        path: path.clone(),
                        source,
                    }
                })?))
            }
        };
        let (reloader, reload_handle) = Reloader::new(
            hedgerow.clone(),
            site,
            Arc::clone(&listener_set),
            upgrade_server.clone(),
        );
        let reloader = Arc::new(reloader);
        let service = ReloadService(Arc::clone(&reloader));
        server.add_service(background_service("reload", service));
        Ok(Self {
            server,
            addresses: listener_set.site.addresses(),
            hedgerow,
            drain,
            upgrade_server,
            reloader,
            reload_handle,
        })
    }

    /// Reads this file again when it, or a file that it names, has changed, on `SIGHUP`, and for
    /// `hedgerow reload`. It must be the file that the configuration was read from.
    #[doc(hidden)]
    pub fn follow(&mut self, file: ConfigFile) {
        self.reloader.follow(file);
    }

    /// Returns the addresses that the server listens on, in the order of the configuration. Where
    /// the configuration leaves the port open, it is the port that the system has chosen.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves a handler of whole requests on a separate address.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on.
    pub fn serve(
        &mut self,
        name: &'static str,
        address: SocketAddr,
        handler: Arc<dyn Handler>,
    ) -> Result<SocketAddr, ServerError> {
        let drain = Arc::clone(&self.drain);
        let idle = self.hedgerow.shared.long_lived.idle_seconds;
        let group = ListenerGroup::new(HandlerApp::new(handler), drain, idle);
        let plan = group.plan(
            vec![(address, ListenerOptions::plain(address))],
            BoundSocket::open,
        )?;
        let adopted = group.activate(plan);
        adopted.map_err(|source| ServerError::Sockets { source })?;
        let address = group.addresses().first().copied().unwrap_or(address);
        self.server
            .add_service(ListenerService::new(name, Arc::new(group)));
        Ok(address)
    }

    /// Runs until the process is stopped. `SIGTERM` and `SIGQUIT` let requests in flight end within
    /// the grace period, `SIGINT` does not. A successor that asks for the sockets has the effect of
    /// `SIGTERM`.
    pub fn run(self) {
        self.run_until(Box::new(UnixShutdownSignalWatch));
    }

    /// Runs like [`run`](Self::run), but is stopped by `signal` instead of the process's signals.
    pub fn run_until(self, signal: Box<dyn ShutdownSignalWatch + Send + Sync>) {
        let shutdown_service = ShutdownService {
            signal,
            hedgerow: self.hedgerow,
            drain: self.drain,
            upgrade_server: self.upgrade_server,
            reload_handle: self.reload_handle,
            listener_set: Arc::clone(&self.reloader.listener_set),
        };
        self.server.run(RunArgs {
            shutdown_signal: Box::new(shutdown_service),
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

/// Begins to send the waiting events of the spool. The service ends when the server shuts down.
struct ReplayService(Hedgerow);

#[async_trait]
impl BackgroundService for ReplayService {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        self.0.start_replay();
        // An error means that the sender is gone.
        let _ = shutdown.wait_for(|over| *over).await;
    }
}

/// Tells the framework to stop when everything has ended. The framework itself would wait for its
/// whole grace period, and close its sockets with connections in them (pingora 2.5).
struct ShutdownService {
    signal: Box<dyn ShutdownSignalWatch + Send + Sync>,
    hedgerow: Hedgerow,
    drain: Arc<Drain>,
    upgrade_server: Option<Arc<UpgradeServer>>,
    reload_handle: ReloadHandle,
    listener_set: Arc<ListenerSet>,
}

#[async_trait]
impl ShutdownSignalWatch for ShutdownService {
    async fn recv(&self) -> ShutdownSignal {
        let stage = tokio::select! {
            stage = self.stopped() => stage,
            () = self.successor_took_over() => Some(ShutdownStage::HandedOver),
        };
        let Some(stage) = stage else {
            if let Some(upgrade_server) = &self.upgrade_server {
                upgrade_server.close();
            }
            return ShutdownSignal::FastShutdown;
        };
        tokio::select! {
            () = self.leave(stage) => ShutdownSignal::GracefulTerminate,
            () = self.told_to_stop_now() => ShutdownSignal::FastShutdown,
        }
    }
}

impl ShutdownService {
    /// Returns when the server has to stop; `None` if at once.
    async fn stopped(&self) -> Option<ShutdownStage> {
        match self.signal.recv().await {
            ShutdownSignal::FastShutdown => None,
            ShutdownSignal::GracefulTerminate | ShutdownSignal::GracefulUpgrade => {
                Some(ShutdownStage::Stopping)
            }
        }
    }

    /// Returns when a server that is shutting down has to stop at once.
    async fn told_to_stop_now(&self) {
        while self.stopped().await.is_some() {}
    }

    /// Returns when a successor has the sockets.
    async fn successor_took_over(&self) {
        let Some(upgrade_server) = &self.upgrade_server else {
            return std::future::pending().await;
        };
        while !self.hedgerow.is_first() {
            tokio::time::sleep(LOOK).await;
        }
        // While both serve, all events of both go into the spool, because only the spool knows
        // their order.
        let (before, undo) = (
            || self.hedgerow.only_append(),
            || self.hedgerow.resume_streaming(),
        );
        let reload = || async {
            match self.reload_handle.reload().await {
                Ok(report) => format!("ok: {report}"),
                Err(error) => format!("refused: {error}"),
            }
        };
        upgrade_server
            .successor_is_ready(before, undo, reload)
            .await;
        log::info!("a new process serves now; this process completes its requests and ends");
    }

    async fn leave(&self, stage: ShutdownStage) {
        let grace = self.hedgerow.config().server.grace;
        // If the server is told to stop while it starts, clients already wait in the sockets.
        let opening = async {
            while !self.listener_set.site.is_open() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _ = tokio::time::timeout(OPENING, opening).await;
        if let Some(upgrade_server) = &self.upgrade_server {
            upgrade_server.close();
        }
        self.hedgerow.set_leaving();
        let rest = || self.hedgerow.forwards_in_flight();
        let start = Instant::now();
        self.drain.drain(stage, grace, rest).await;
        // The replay is stopped last: another process drains the spool from then on, and none of
        // its events may overtake those that were still in flight here.
        let left = match stage {
            ShutdownStage::HandedOver => grace,
            _ => grace.saturating_sub(start.elapsed()),
        };
        let _ = tokio::time::timeout(left, self.hedgerow.stop_replay()).await;
    }
}

/// Returns a server of an origin, or a project's host, that is reached over TLS and verified with
/// the machine's own certificate authorities.
pub(crate) fn secure_origin(config: &Config) -> Option<String> {
    config.routes.iter().find_map(|route| match &route.action {
        Action::Origin(origin) => {
            let mut servers = origin.servers.iter();
            let server = servers.find(|server| server.scheme() == Scheme::Https)?;
            Some(server.to_string())
        }
        Action::PostHog(posthog) => {
            let project = &posthog.project;
            let verified = project.host.scheme() == Scheme::Https && project.ca_file.is_none();
            verified.then(|| project.host.to_string())
        }
        Action::Segment { .. } => None,
    })
}

/// Returns the framework's own settings. Settings that are not named here keep the framework's
/// default.
fn conf(config: &Config, verifies: bool) -> ServerConf {
    ServerConf {
        threads: config.server.threads,
        // The server has stopped before the framework is told to stop.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        max_retries: TRIES,
        // A site without TLS needs no authorities, and the machine may have none.
        ca_file: (!verifies).then(|| NO_AUTHORITIES.to_owned()),
        ..ServerConf::default()
    }
}

/// Returns the options for connections. With these, every connection ends at some time (pingora
/// 2.4).
pub(crate) fn options() -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    options.keepalive_request_limit = Some(REQUESTS);
    options.h2_idle_timeout = Some(IDLE);
    // Listeners have determined the protocol before they pass a connection on.
    options.h2c = true;
    // The site proxy refuses `CONNECT` with its own answer.
    options.allow_connect_method_proxying = true;
    options
}
