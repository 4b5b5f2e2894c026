//! The builder of a [`Hedgerow`].

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use hedgerow_spool::Clock;

use crate::admin::live::Live;
use crate::config::{Action, Config, Route};

#[cfg(feature = "server")]
use super::acme::CertificateManager;
use super::build_error::BuildError;
use super::compile::destinations;
use super::hedgerow::{Hedgerow, HedgerowShared};
use super::limits::budget::Budget;
use super::limits::connection_limits::ConnectionLimits;
use super::limits::log_limit::LogLimit;
use super::limits::rates::Rates;
use super::long_lived_state::LongLivedState;
use super::outbound::pools::ConnectionPools;
use super::outbound::refused_events::WholeBatchProjects;
use super::reloads::Reloads;
use super::spool::backlog::Backlog;
use super::state::current_state;
use super::telemetry::pages::AdminPages;
use super::telemetry::watcher::{EventCounters, Observer};

/// How long a client's connection waits for its next request, unless set otherwise.
const IDLE: Duration = Duration::from_secs(60);
/// How long a client may read nothing of its answer, unless set otherwise.
const UNREAD: Duration = Duration::from_secs(120);

/// Builds a [`Hedgerow`].
pub struct Builder {
    config: Config,
    observer: Option<Arc<dyn Observer>>,
    idle: Duration,
    unread: Duration,
    clock: Clock,
    live: Option<Arc<Live>>,
}

impl Builder {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            observer: None,
            idle: IDLE,
            unread: UNREAD,
            clock: Arc::new(SystemTime::now),
            live: None,
        }
    }

    /// Shows every message to this observer.
    #[must_use]
    pub fn watch(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Stores the records of the live view in this ring, if `admin` has a live view, so that other
    /// code can show them as well.
    #[doc(hidden)]
    #[must_use]
    pub fn live(mut self, live: Arc<Live>) -> Self {
        self.live = Some(live);
        self
    }

    /// Sets how long a client's connection may wait for its next request, in whole seconds and at
    /// least one; 60 by default. The framework itself would keep a connection forever after its
    /// first request.
    #[must_use]
    pub fn idle_timeout(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Sets how long a client may stop reading its answer; two minutes by default. This applies to
    /// [`Site`](super::Site); another proxy has its own limits.
    #[must_use]
    pub fn unread_timeout(mut self, unread: Duration) -> Self {
        self.unread = unread;
        self
    }

    /// Sets how long the head of a request over HTTP/1 may take from its first byte to its last,
    /// instead of the configuration's value (`limits.head_timeout`); and how long the first bytes
    /// of HTTP/2 may take. This applies to listeners of [`Server`](super::Server); another server
    /// has its own limits.
    #[must_use]
    pub fn head_timeout(mut self, head: Duration) -> Self {
        self.config.limits.head_timeout = head;
        self
    }

    /// Takes the time of day from this clock instead of the system's. Messages get their time of
    /// arrival from it, so it decides which times are corrected and which sessions continue.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Fn() -> SystemTime + Send + Sync>) -> Self {
        self.clock = clock;
        self
    }

    /// Builds the [`Hedgerow`], and opens its spool.
    ///
    /// # Errors
    ///
    /// When a part of the configuration cannot be built: for example when a project's host has to
    /// be verified and there are no certificate authorities, when the spool or analytics.js cannot
    /// be read, or when sessions need a secret and the system has no random bits to create one.
    pub fn build(self) -> Result<Hedgerow, BuildError> {
        let log_limit = Arc::<LogLimit>::default();
        let connection_limits = ConnectionLimits::new(
            &self.config.limits,
            &self.config.trusted_proxies,
            Arc::clone(&log_limit),
        );
        let leaving = Arc::<AtomicBool>::default();
        let long_lived = LongLivedState {
            #[cfg(feature = "server")]
            acme: Arc::new(CertificateManager::leaving_with(&leaving)),
            backlog: None,
            counters: EventCounters::default(),
            budget: Budget::new(self.config.limits.memory),
            connection_limits: Arc::new(connection_limits),
            whole_batch_projects: WholeBatchProjects::default(),
            log_limit,
            observer: self.observer,
            // Zero would mean forever.
            idle_seconds: self.idle.as_secs().max(1),
            unread: self.unread,
            clock: self.clock,
            leaving,
            accounts: Arc::default(),
            rates: Rates::default(),
            reloads: Reloads::default(),
            admin: AdminPages::recording_in(self.live),
            generated_secret: OnceLock::new(),
        };
        long_lived.build(self.config)
    }
}

impl LongLivedState {
    /// Builds the first configuration of a process, and opens the spool.
    fn build(mut self, config: Config) -> Result<Hedgerow, BuildError> {
        let mut pools = ConnectionPools::default();
        let destinations = Arc::new(destinations(&config, None, &mut pools)?);
        if let Some(spool) = &config.delivery.spool {
            let backlog = Backlog::open(
                spool,
                &config.delivery,
                config.bounds.event,
                Arc::clone(&self.clock),
                Arc::clone(&destinations),
                Arc::clone(&self.log_limit),
            );
            self.backlog = Some(Arc::new(backlog?));
        }
        let long_lived = Arc::new(self);
        let active = long_lived.active(config, destinations, pools, None)?;
        let shared = Arc::new(HedgerowShared {
            current: ArcSwap::from_pointee(active),
            long_lived,
        });
        let weak = Arc::downgrade(&shared);
        shared.long_lived.admin.set_source(Box::new(move || {
            let shared = weak.upgrade();
            let active = shared.map(|shared| shared.current.load_full());
            active
                .map(|active| current_state(&active))
                .unwrap_or_default()
        }));
        shared.settle();
        Ok(Hedgerow { shared })
    }
}

impl Hedgerow {
    /// Creates a Hedgerow with this configuration. It opens no connection yet.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::build`].
    pub fn new(config: Config) -> Result<Self, BuildError> {
        Self::builder(config).build()
    }

    /// Returns a builder, which has more options than [`new`](Self::new).
    pub fn builder(config: Config) -> Builder {
        Builder::new(config)
    }

    /// Creates a Hedgerow for your own host proxy, which calls `intercept`. It is the same as
    /// [`new`](Self::new), but fails if the configuration has a route that this call cannot serve.
    ///
    /// # Errors
    ///
    /// [`BuildError::NotInAHost`] for an `origin` route, which the host serves itself; otherwise
    /// those of [`Builder::build`].
    pub fn in_a_host(config: Config) -> Result<Self, BuildError> {
        let origin = |route: &&Route| matches!(route.action, Action::Origin(_));
        if let Some(route) = config.routes.iter().find(origin) {
            return Err(BuildError::NotInAHost {
                route: route.name(),
            });
        }
        Self::new(config)
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Builder").finish_non_exhaustive()
    }
}
