//! The modules that name Pingora types: the call for a host proxy, the client of PostHog, and the site
//! proxy of the `hedgerow` binary.
//!
//! A Segment request ends in the host's `request_filter`: its body is read and rewritten there,
//! sent to PostHog over the framework's connectors, and answered. It does not pass through the
//! proxying phases, so their pitfalls do not apply.

#[cfg(feature = "acme")]
mod acme;
#[cfg(all(feature = "server", not(feature = "acme")))]
#[path = "acme/off.rs"]
mod acme;
mod build;
#[cfg(feature = "server")]
mod certificate;
mod client;
mod compile;
mod first_party;
mod intake;
#[cfg(feature = "server")]
mod lifecycle;
mod limits;
#[cfg(feature = "server")]
mod listen;
mod operator;
mod outbound;
mod random;
mod reloads;
mod reply;
mod routes;
mod serving;
#[cfg(feature = "server")]
mod site;
mod spool;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora::proxy::Session;

use crate::config::{Action, Config, Route};

use build::{check_authorities, NO_AUTHORITIES};
use compile::LongLivedState;
use first_party::relay::Relay;
use intake::exchange::{authority, Framed};
use intake::intercept::Intake;
use outbound::sender::Destination;
use random::random_bits;
use routes::RouteAction;
use serving::Serving;

pub use crate::admin::Forwarded as ForwardCounts;
pub use build::{BuildError, Builder};
pub use first_party::library::{check_libraries, fetch_libraries, FetchError};
pub use operator::serve::Plain;
pub use operator::watcher::{Counts, Observer};
#[cfg(feature = "server")]
pub use server_items::*;

/// The items of the server, which a host proxy's build does not have.
#[cfg(feature = "server")]
mod server_items {
    pub use super::lifecycle::descriptors::allow_descriptors;
    pub use super::lifecycle::reload::{ConfigFile, ReloadError};
    pub use super::lifecycle::server::{Server, ServerError};
    pub use super::lifecycle::signals::{outlive_signals, ProcessSignals};
    pub use super::lifecycle::startable::{check_server, Startable};
    pub use super::lifecycle::upgrade::ask_to_reload;
    pub use super::listen::accepted::{accepted, serve};
    pub use super::listen::coalescing::CoalescingStream;
    pub use super::operator::doctor::{examine, unknown_keys, TEST_EVENT};
    pub use super::operator::running::{compare_with_running, Running, RunningError};
    pub use super::site::origin::Balancer;
    pub use super::site::{Site, SiteContext};
}

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
    shared: Arc<HedgerowShared>,
}

/// Shared by all clones: the active configuration, and the state that outlives it.
pub(crate) struct HedgerowShared {
    current: ArcSwap<Serving>,
    lasting: Arc<LongLivedState>,
}

/// The targets of batches, by the project's name.
type Destinations = HashMap<String, Arc<Destination>>;

pub(crate) use hedgerow_spool::Clock;

impl Hedgerow {
    /// Hedgerow with this configuration. Opens no connection yet.
    pub fn new(config: Config) -> Result<Self, BuildError> {
        Self::builder(config).build()
    }

    /// The same, with more options.
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
    /// When PostHog's answer to posthog-js ends early in its middle, so that the connection ends
    /// with it. Every other failure of such a request is answered here.
    pub async fn intercept(&self, session: &mut Session) -> pingora::Result<bool> {
        let serving = self.current();
        self.begin(&serving);
        let head = session.req_header();
        let (authority, path) = (authority(head), head.uri.path());
        let Some((route, tail)) = serving.routes.find(authority, path) else {
            return Ok(false);
        };
        let tail_at = path.len() - tail.len();
        match &route.does {
            RouteAction::Origin => return Ok(false),
            RouteAction::Segment(segment) => {
                let intake = Intake::new(&serving, segment, route.number);
                let mut exchange = Framed::new(session, &serving);
                intake.serve(&mut exchange, tail_at).await;
            }
            RouteAction::PostHog(passed) => {
                let relay = Relay::new(&serving, passed, route);
                let tail = tail.to_owned();
                // Boxed: a Segment call does not hold the memory for this.
                Box::pin(relay.answer(session, &tail)).await?;
            }
        }
        Ok(true)
    }

    /// Starts to send the waiting events of the spool, on the current Tokio runtime. The first
    /// [`intercept`](Self::intercept) does this too; a host calls this function to send the events
    /// of an earlier process without waiting for a request. Does nothing without a spool, or if it
    /// has started already.
    pub fn start_replay(&self) {
        self.begin(&self.current());
    }

    /// Starts the background tasks of a configuration, once.
    fn begin(&self, serving: &Serving) {
        if serving.begun.load(Ordering::Relaxed) {
            return;
        }
        serving.begun.store(true, Ordering::Relaxed);
        self.start_sampling(serving);
        if let Some(backlog) = &self.shared.lasting.backlog {
            backlog.start();
        }
    }

    /// Ends the replay for good, once its request in flight has ended. Waiting events stay in the
    /// spool; batches that PostHog does not accept are still stored.
    pub async fn stop_replay(&self) {
        if let Some(backlog) = &self.shared.lasting.backlog {
            backlog.stop().await;
        }
    }

    /// The active configuration.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.current().config)
    }

    fn current(&self) -> Arc<Serving> {
        self.shared.current.load_full()
    }

    /// The outcomes of requests that were forwarded to real Segment accounts, all routes together.
    pub fn forward_counts(&self) -> ForwardCounts {
        self.shared.lasting.accounts.counts()
    }

    /// Lets connections end with their next answer.
    fn set_leaving(&self) {
        self.shared.lasting.leaving.store(true, Ordering::Relaxed);
    }

    /// Requests on their way to real Segment accounts, in the background.
    fn forwards_in_flight(&self) -> usize {
        self.shared.lasting.accounts.under_way()
    }

    /// Whether no predecessor uses the spool any more.
    fn is_first(&self) -> bool {
        let backlog = self.shared.lasting.backlog.as_ref();
        backlog.is_none_or(|backlog| backlog.is_first())
    }

    /// Appends all further events to the spool.
    fn only_append(&self) {
        if let Some(backlog) = &self.shared.lasting.backlog {
            backlog.only_append();
        }
    }

    /// Takes that back: there is no successor after all.
    fn resume_streaming(&self) {
        if let Some(backlog) = &self.shared.lasting.backlog {
            backlog.resume_streaming();
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

#[cfg(test)]
mod size_tests;
