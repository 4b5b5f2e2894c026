//! The rooms that name Pingora types: the one call for a host proxy, the sender to PostHog, and
//! the site proxy of the `hedgerow` binary.
//!
//! A Segment request ends in the host's `request_filter`: its body is read and rewritten there,
//! sent to PostHog over the framework's connectors, and answered. Nothing of it passes through the
//! proxying phases, so none of their traps can hit it.

#[cfg(feature = "acme")]
mod acme;
#[cfg(not(feature = "acme"))]
#[path = "acme/off.rs"]
mod acme;
mod build_error;
mod builder;
mod client;
mod first_party;
mod intake;
mod life;
mod limits;
mod listen;
mod operator;
mod outbound;
mod random;
mod site;
mod spool;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use pingora::proxy::Session;
use pingora::tls::RootCertStore;

use crate::admin::{Admin, CertificateState, Requests};
use crate::config::{Action, Config, Route, RouteTable};
use crate::rewrite::Rewriter;

use acme::Acme;
use first_party::files::Files;
use first_party::posthog::Passed;
use intake::account::Accounts;
use intake::group::Gathering;
use life::compile::Lasting;
use life::reload::Reloads;
use limits::budget::Budget;
use limits::connection_limits::ConnectionLimits;
use limits::rates::Rates;
use operator::log_limit::LogLimit;
use operator::watcher::Counters;
use outbound::culprits::Cautions;
use outbound::pools::Pools;
use outbound::sender::Destination;
use random::random_bits;
use spool::backlog::Backlog;

pub use crate::admin::Forwarded as ForwardCounts;
pub use build_error::BuildError;
pub use builder::Builder;
pub use first_party::library::{check_libraries, fetch_libraries, FetchError};
pub use life::descriptors::allow_descriptors;
pub use life::reload::{ConfigFile, ReloadError};
pub use life::server::{Server, ServerError};
pub use life::signals::{outlive_signals, Signals};
pub use life::startable::{check_server, Startable};
pub use life::upgrade::ask_to_reload;
pub use listen::gathered::Gathered;
pub use operator::doctor::{examine, unknown_keys, TEST_EVENT};
pub use operator::running::{compare_with_running, Running, RunningError};
pub use operator::serve::{accepted, serve, Plain};
pub use operator::watcher::{Counts, Observer};
pub use site::origin::Balancer;
pub use site::{Context, Site};

/// How long a client's connection waits for its next request, unless told otherwise.
const IDLE: Duration = Duration::from_secs(60);
/// How long a client may take nothing of its answer, unless told otherwise.
const UNREAD: Duration = Duration::from_secs(120);
/// How long the head of a request to the operator's own listeners may take.
const HEAD: Duration = Duration::from_secs(30);

/// Hedgerow as a part of any Pingora proxy. Cheap to clone; all clones are one.
///
/// ```no_run
/// # use async_trait::async_trait;
/// # use pingora::proxy::{ProxyHttp, Session};
/// # use pingora::upstreams::peer::HttpPeer;
/// struct Site {
///     hedgerow: hedgerow::Hedgerow,
/// }
///
/// #[async_trait]
/// impl ProxyHttp for Site {
/// #   type CTX = ();
/// #   fn new_ctx(&self) {}
/// #   async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> pingora::Result<Box<HttpPeer>> {
/// #       Err(pingora::Error::new_str("not shown"))
/// #   }
///     async fn request_filter(&self, session: &mut Session, _: &mut ()) -> pingora::Result<bool> {
///         self.hedgerow.intercept(session).await
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Hedgerow {
    shared: Arc<Shared>,
}

/// What all clones share: the configuration of the moment, and what outlives it.
struct Shared {
    current: ArcSwap<Inner>,
    lasting: Lasting,
}

/// One configuration at work. A request holds the one that it began with.
struct Inner {
    /// Certificates that are ordered.
    acme: Arc<Acme>,
    config: Arc<Config>,
    /// Which of its routes a request is on.
    route_table: RouteTable,
    rewriter: Arc<Rewriter>,
    destinations: Arc<Destinations>,
    backlog: Option<Arc<Backlog>>,
    /// By the name of the project, where its requests leave together.
    gathering: HashMap<String, Arc<Gathering>>,
    /// By the number of the route.
    files: HashMap<usize, Files>,
    /// By the number of the route: those that pass posthog-js through.
    passed: HashMap<usize, Arc<Passed>>,
    budget: Arc<Budget>,
    counters: Arc<Counters>,
    /// The connections of clients, where the listeners are ours.
    connection_limits: Arc<ConnectionLimits>,
    requests: Requests,
    /// Those that the listeners serve, as they were when this was built.
    certificates: Vec<CertificateState>,
    cautions: Arc<Cautions>,
    log_limit: Arc<LogLimit>,
    observer: Option<Arc<dyn Observer>>,
    admin: Option<Arc<Admin>>,
    idle_seconds: u64,
    /// How long a client may take nothing of its answer.
    unread: Duration,
    clock: Clock,
    /// Whether the server that this is in leaves: connections end with the next answer.
    leaving: Arc<AtomicBool>,
    accounts: Arc<Accounts>,
    rates: Arc<Rates>,
    reloads: Arc<Reloads>,
    pools: Pools,
}

/// Projects as places to send batches to, by name.
type Destinations = HashMap<String, Arc<Destination>>;

/// Where the time of day comes from.
type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

impl Hedgerow {
    /// Hedgerow with this configuration. Opens no connection yet.
    pub fn new(config: Config) -> Result<Self, BuildError> {
        Self::builder(config).build()
    }

    /// The same, with more to choose.
    pub fn builder(config: Config) -> Builder {
        Builder::new(config)
    }

    /// Hedgerow for a host proxy of your own, which makes the one call: as [`new`](Self::new), and an
    /// error where the file has a route that the call cannot serve.
    ///
    /// # Errors
    ///
    /// [`BuildError::NotInAHost`] for an `origin` route, which is the host's own work; else those of
    /// [`Builder::build`].
    pub fn in_a_host(config: Config) -> Result<Self, BuildError> {
        let origin = |route: &&Route| matches!(route.action, Action::Origin(_));
        if let Some(route) = config.routes.iter().find(origin) {
            return Err(BuildError::NotInAHost {
                route: route.name(),
            });
        }
        Self::new(config)
    }

    /// The one call for a host proxy, in its `request_filter`: `true` means that the request was
    /// on one of the `segment` or `posthog` routes and has been answered. Any other request is left
    /// untouched.
    ///
    /// # Errors
    ///
    /// When PostHog's answer to posthog-js breaks off in its middle, so that the connection ends
    /// with it. Whatever else happens to a request of ours is answered here.
    pub async fn intercept(&self, session: &mut Session) -> pingora::Result<bool> {
        if self.calls(session).await? {
            return Ok(true);
        }
        let inner = self.current();
        if inner.passed.is_empty() {
            return Ok(false);
        }
        let head = session.req_header();
        let (authority, path) = (intake::intercept::authority(head), head.uri.path());
        let Some((number, tail)) = inner.route_table.find(authority, path) else {
            return Ok(false);
        };
        let Some(passed) = inner.passed.get(&number) else {
            return Ok(false);
        };
        let tail = tail.to_owned();
        // Boxed: a call of Segment's goes without the room that this needs.
        Box::pin(inner.relay(session, number, passed, &tail)).await?;
        Ok(true)
    }

    /// The same for Segment's calls alone.
    async fn calls(&self, session: &mut Session) -> pingora::Result<bool> {
        self.start_replay();
        let inner = self.current();
        inner.intercept(session).await
    }

    /// Begins to send what waits in the spool, on the current Tokio runtime. The first
    /// [`intercept`](Self::intercept) does it by itself; a host that wants it sooner, so that what an
    /// earlier process left goes out without waiting for a request, calls this. Does nothing
    /// without a spool, or when it has begun already.
    pub fn start_replay(&self) {
        self.start_sampling();
        if let Some(backlog) = &self.shared.lasting.backlog {
            backlog.start();
        }
    }

    /// Ends the replay for good, once the request that it has under way is through. What waits
    /// stays in the spool; batches that PostHog does not take are kept as before.
    pub async fn stop_replay(&self) {
        if let Some(backlog) = &self.shared.lasting.backlog {
            backlog.stop().await;
        }
    }

    /// The configuration of the moment.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.current().config)
    }

    fn current(&self) -> Arc<Inner> {
        self.shared.current.load_full()
    }

    /// What became of requests that went on to real Segment accounts, all routes together.
    pub fn forward_counts(&self) -> ForwardCounts {
        self.shared.lasting.accounts.counts()
    }

    /// Lets connections end with their next answer.
    fn set_leaving(&self) {
        self.shared.lasting.leaving.store(true, Ordering::Relaxed);
    }

    /// Requests on their way to real Segment accounts, behind the backs of their clients.
    fn forwards_under_way(&self) -> usize {
        self.shared.lasting.accounts.under_way()
    }

    /// Whether no predecessor uses the spool any more.
    fn is_first(&self) -> bool {
        let backlog = self.shared.lasting.backlog.as_ref();
        backlog.is_none_or(|backlog| backlog.is_first())
    }

    /// Puts whatever comes from now on behind what waits in the spool.
    fn step_back(&self) {
        if let Some(backlog) = &self.shared.lasting.backlog {
            backlog.step_back();
        }
    }

    /// Takes that back: there is no successor after all.
    fn step_forward(&self) {
        if let Some(backlog) = &self.shared.lasting.backlog {
            backlog.step_forward();
        }
    }

    /// How many messages there were since the start.
    pub fn counts(&self) -> Counts {
        let lasting = &self.shared.lasting;
        lasting.counters.read(lasting.budget.held())
    }
}

impl std::fmt::Debug for Hedgerow {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Hedgerow").finish_non_exhaustive()
    }
}

/// A file without certificates: nothing is verified with it, because it is only used for hosts
/// without TLS, whose machine may have no certificates at all.
const NO_AUTHORITIES: &str = "/dev/null";

/// Whether the file, or else the machine, has certificates to verify `host` with.
fn check_authorities(file: Option<&Path>, host: &str) -> Result<(), BuildError> {
    let refuse = |reason: String| match file {
        Some(path) => BuildError::CaFile {
            host: host.to_owned(),
            path: path.to_owned(),
            reason,
        },
        None => BuildError::Authorities {
            host: host.to_owned(),
            reason,
        },
    };
    let mut store = RootCertStore::empty();
    match file {
        Some(file) => pingora::tls::load_ca_file_into_store(file, &mut store),
        None => pingora::tls::load_platform_certs_incl_env_into_store(&mut store),
    }
    .map_err(|error| refuse(error.to_string()))?;
    if store.is_empty() && file != Some(Path::new(NO_AUTHORITIES)) {
        return Err(refuse("none were found".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod size_tests;
