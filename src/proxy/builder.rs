//! Builds a [`Hedgerow`] with more to choose than its configuration.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use super::acme::Acme;
use super::life::compile::Lasting;
use super::limits::budget::Budget;
use super::limits::connection_limits::ConnectionLimits;
use super::operator::admin::AdminPages;
use super::operator::log_limit::LogLimit;
use super::{BuildError, Clock, Hedgerow, Observer, IDLE, UNREAD};
use crate::admin::live::Live;
use crate::config::Config;

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

    /// Records for the live view in this ring, where `admin` has one, so that something else can show
    /// it as well.
    #[doc(hidden)]
    #[must_use]
    pub fn live(mut self, live: Arc<Live>) -> Self {
        self.live = Some(live);
        self
    }

    /// How long a client's connection may wait for its next request, in whole seconds and at
    /// least one; 60 if nothing is said. The framework itself would keep a used one for ever.
    #[must_use]
    pub fn idle_timeout(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// How long the head of a request over HTTP/1 may take from its first byte to its last, instead
    /// of what the configuration says (`limits.head_timeout`); and how long the first bytes of HTTP/2
    /// may take. For listeners of [`Server`]; another server has bounds of its own.
    #[must_use]
    pub fn head_timeout(mut self, head: Duration) -> Self {
        self.config.limits.head_timeout = head;
        self
    }

    /// How long a client may take nothing of what is written of its answer, two minutes if nothing is
    /// said. For [`Site`]; another proxy has bounds of its own.
    #[must_use]
    pub fn unread_timeout(mut self, unread: Duration) -> Self {
        self.unread = unread;
        self
    }

    /// Takes the time of day from this clock instead of the system's. It says when messages
    /// arrive, and so which times are corrected and which sessions go on.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Fn() -> SystemTime + Send + Sync>) -> Self {
        self.clock = clock;
        self
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// When a project's host is to be verified and there is nothing to verify it with, or when
    /// sessions need a secret and the system has no random bits to make one of.
    pub fn build(self) -> Result<Hedgerow, BuildError> {
        let log_limit = Arc::<LogLimit>::default();
        let connection_limits = ConnectionLimits::new(
            &self.config.limits,
            &self.config.trusted_proxies,
            Arc::clone(&log_limit),
        );
        let leaving = Arc::default();
        let lasting = Lasting {
            acme: Arc::new(Acme::leaving_with(&leaving)),
            backlog: None,
            counters: Arc::default(),
            budget: Budget::new(self.config.limits.memory),
            connection_limits: Arc::new(connection_limits),
            cautions: Arc::default(),
            log_limit,
            observer: self.observer,
            // Zero would mean for ever.
            idle_seconds: self.idle.as_secs().max(1),
            unread: self.unread,
            clock: self.clock,
            leaving,
            accounts: Arc::default(),
            rates: Arc::default(),
            reloads: Arc::default(),
            admin: AdminPages::recording_in(self.live),
            made_up: OnceLock::new(),
        };
        lasting.build(self.config)
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Builder").finish_non_exhaustive()
    }
}
