//! Hedgerow itself: the active configuration, and the one call that a host proxy makes.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{header, HeaderMap, HeaderValue, Method, StatusCode};
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use crate::admin::{ForwardCounts, SAMPLED_EVERY};
use crate::config::Config;
use crate::site::head::{split_target, HeadFault};

use crate::proxy::active_config::ActiveConfig;
use crate::proxy::build_error::BuildError;
use crate::proxy::compile::destinations;
use crate::proxy::intake::intercept::Intake;
use crate::proxy::intake::refusals::outcome_of_head;
use crate::proxy::long_lived_state::LongLivedState;
use crate::proxy::outbound::pools::ConnectionPools;
use crate::proxy::relay::Relay;
use crate::proxy::reloads::keep_fixed;
use crate::proxy::reply;
use crate::proxy::request::exchange::{self, authority, FrameworkRequest};
use crate::proxy::request_records::RoutedRequest;
use crate::proxy::routes::RouteAction;
use crate::proxy::telemetry::watcher::Counts;

/// Hedgerow as a part of any Pingora proxy. It is cheap to clone; all clones share their state.
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
    pub(super) shared: Arc<HedgerowShared>,
}

/// Shared by all clones: the active configuration, and the state that outlives it.
pub(crate) struct HedgerowShared {
    pub(super) current: ArcSwap<ActiveConfig>,
    pub(super) long_lived: Arc<LongLivedState>,
}

impl Hedgerow {
    /// Answers a request if it is for Hedgerow. This is the one call for a host proxy, in its
    /// `request_filter`. `true` means that the request has been answered: it was on one of the
    /// `segment` or `posthog` routes, or it was refused. Two kinds of requests get 400 on every
    /// route and without one: those whose target is neither a path nor an `http` address, and those
    /// whose path belongs to another route once it is decoded (`/hr%2Fv1/track`), because servers
    /// read such a path differently. Any other request is left untouched.
    ///
    /// # Errors
    ///
    /// When PostHog's answer to posthog-js breaks off, so that the connection has to end too, or
    /// when a refusal cannot be written to the client. Every other failure of such a request is
    /// answered here.
    pub async fn intercept(&self, session: &mut Session) -> pingora::Result<bool> {
        let active = self.current();
        self.begin(&active);
        let head = session.req_header();
        if let Some(fault) = fault_on_any_route(&active, head) {
            refuse_head(&active, session, fault).await?;
            return Ok(true);
        }
        let (authority, path) = (authority(head), head.uri.path());
        let Some((route, tail)) = active.routes.find(authority, path) else {
            return Ok(false);
        };
        let tail_at = path.len() - tail.len();
        match &route.action {
            RouteAction::Origin => return Ok(false),
            RouteAction::Segment(segment) => {
                if let Err(fault) = exchange::head(session).check() {
                    refuse_head(&active, session, fault).await?;
                    return Ok(true);
                }
                let intake = Intake::new(&active, segment, route.number);
                let mut exchange = FrameworkRequest::new(session, active.read_limits());
                intake.serve(&mut exchange, tail_at).await;
            }
            RouteAction::PostHog(posthog_proxy) => {
                let relay = Relay::new(&active, posthog_proxy, route);
                let tail = tail.to_owned();
                // Boxed, so that the future of a Segment call does not reserve memory for this.
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
    pub(super) fn begin(&self, active: &ActiveConfig) {
        if active.begun.load(Ordering::Relaxed) {
            return;
        }
        active.begun.store(true, Ordering::Relaxed);
        self.start_sampling(active);
        if let Some(backlog) = &self.shared.long_lived.backlog {
            backlog.start();
        }
    }

    /// Ends the replay for good, once its request in flight has ended. Waiting events stay in the
    /// spool; batches that PostHog does not accept are still stored.
    pub async fn stop_replay(&self) {
        if let Some(backlog) = &self.shared.long_lived.backlog {
            backlog.stop().await;
        }
    }

    /// Returns the active configuration.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.current().config)
    }

    pub(super) fn current(&self) -> Arc<ActiveConfig> {
        self.shared.current.load_full()
    }

    /// Returns the outcomes of the requests that were forwarded to real Segment accounts, for all
    /// routes together.
    pub fn forward_counts(&self) -> ForwardCounts {
        self.shared.long_lived.accounts.counts()
    }

    /// Makes each connection end after its next answer.
    pub(super) fn set_leaving(&self) {
        self.shared
            .long_lived
            .leaving
            .store(true, Ordering::Relaxed);
    }

    /// Returns how many requests to real Segment accounts are in flight in the background.
    pub(super) fn forwards_in_flight(&self) -> usize {
        self.shared.long_lived.accounts.under_way()
    }

    /// Whether no predecessor uses the spool any more; `true` if there is no spool.
    pub(super) fn is_first(&self) -> bool {
        let backlog = self.shared.long_lived.backlog.as_ref();
        backlog.is_none_or(|backlog| backlog.is_first())
    }

    /// Appends all further events to the spool, if the spool is a folder: while a successor serves
    /// as well, neither process streams.
    pub(super) fn only_append(&self) {
        if let Some(backlog) = &self.shared.long_lived.backlog {
            backlog.only_append();
        }
    }

    /// Undoes `only_append`, because there is no successor after all.
    pub(super) fn resume_streaming(&self) {
        if let Some(backlog) = &self.shared.long_lived.backlog {
            backlog.resume_streaming();
        }
    }

    /// Returns how many messages there were since the start.
    pub fn counts(&self) -> Counts {
        let long_lived = &self.shared.long_lived;
        long_lived.counters.read(long_lived.budget.held())
    }
}

impl std::fmt::Debug for Hedgerow {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Hedgerow").finish_non_exhaustive()
    }
}

/// Returns why a request must be refused whatever its route is: the host's server could read its
/// path as one of Hedgerow's, or Hedgerow could read its path as one of the host's.
fn fault_on_any_route(active: &ActiveConfig, head: &RequestHeader) -> Option<HeadFault> {
    let target = head.raw_path();
    let is_target = target == b"*" || split_target(target).is_some();
    // The framework accepts some targets that HTTP does not allow, such as one with a space before
    // its path.
    if !is_target && head.method != Method::CONNECT {
        return Some(HeadFault::Target);
    }
    let ambiguous = active.routes.is_ambiguous(authority(head), head.uri.path());
    ambiguous.then_some(HeadFault::TwoRoutes)
}

/// Answers a request that is refused because of its head. The connection ends, because it is not
/// known where the next request on it begins.
async fn refuse_head(
    active: &ActiveConfig,
    session: &mut Session,
    fault: HeadFault,
) -> pingora::Result<()> {
    log::debug!("a request was refused for its head: {fault:?}");
    session.set_keepalive(None);
    let routed = RoutedRequest::NOTHING;
    active
        .records()
        .record(session.req_header(), routed, outcome_of_head(fault), None);
    let mut headers = HeaderMap::new();
    if fault.status() == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = HeaderValue::from_static("GET, HEAD, POST, OPTIONS");
        headers.insert(header::ALLOW, allowed);
    }
    let answer = reply::answer(fault.status(), headers, Bytes::new());
    reply::write(session, answer).await
}

impl Hedgerow {
    /// Starts to take samples of the state at regular intervals, for the plots of the live view.
    /// Only the first call on a Tokio runtime has an effect.
    fn start_sampling(&self, active: &ActiveConfig) {
        let admin = active.admin.clone();
        let Some(admin) = admin.filter(|admin| admin.begins_sampling()) else {
            return;
        };
        let admin = Arc::downgrade(&admin);
        tokio::spawn(async move {
            while let Some(admin) = admin.upgrade() {
                admin.sample();
                drop(admin);
                tokio::time::sleep(Duration::from_secs(SAMPLED_EVERY)).await;
            }
        });
    }

    /// Serves another configuration from now on. This is for a Hedgerow without a
    /// [`Server`](crate::proxy::Server) or a [`Site`](crate::proxy::Site) around it, which have
    /// their own reloads. A request ends with the configuration that it began with; spool, counters
    /// and connections stay. Returns the names of the changed settings that need a new process.
    /// Reads files, so do not call it where requests are served.
    ///
    /// # Errors
    ///
    /// Those of [`Hedgerow::new`]. The active configuration stays unchanged then.
    pub fn reload(&self, mut config: Config) -> Result<Vec<&'static str>, BuildError> {
        let kept = keep_fixed(&mut config, &self.config());
        let next = self.shared.prepare(config)?;
        self.shared.activate(next);
        self.shared.long_lived.reloads.apply();
        Ok(kept)
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.shared.long_lived.leaving.load(Ordering::Relaxed)
    }
}

impl HedgerowShared {
    /// Prepares another configuration while the active one serves. Reads files.
    pub(crate) fn prepare(&self, config: Config) -> Result<Arc<ActiveConfig>, BuildError> {
        let before = self.current.load_full();
        let mut pools = ConnectionPools::after(&before.pools);
        let destinations = destinations(&config, Some(&before), &mut pools)?;
        let (long_lived, destinations) = (&self.long_lived, Arc::new(destinations));
        let active = long_lived.active(config, destinations, pools, Some(&before));
        active.map(Arc::new)
    }

    /// Replaces the active configuration.
    pub(crate) fn activate(&self, next: Arc<ActiveConfig>) {
        self.current.store(next);
        self.settle();
    }

    /// Applies the active configuration to the state that outlives it.
    pub(super) fn settle(&self) {
        let (active, long_lived) = (self.current.load(), &self.long_lived);
        let config = &active.config;
        long_lived.budget.set_limit(config.limits.memory);
        long_lived
            .connection_limits
            .bound(&config.limits, &config.trusted_proxies);
        long_lived.admin.settle(config);
        if let Some(backlog) = &long_lived.backlog {
            backlog.serve(Arc::clone(&active.destinations));
            if let Some(live) = active.admin.as_ref().and_then(|admin| admin.live()) {
                backlog.show_to(Arc::clone(live));
            }
        }
    }
}
