//! The builder of a [`Hedgerow`], and its errors.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use pingora::tls::RootCertStore;
use thiserror::Error;

use crate::admin::live::Live;
use crate::config::Config;
use crate::delivery::SpoolError;
use crate::site::LibraryError;

#[cfg(feature = "server")]
use super::acme::Acme;
use super::compile::LongLivedState;
use super::limits::budget::Budget;
use super::limits::connection_limits::ConnectionLimits;
use super::limits::log_limit::LogLimit;
use super::limits::rates::Rates;
use super::operator::admin::AdminPages;
use super::operator::watcher::{EventCounters, Observer};
use super::outbound::refused_events::WholeBatchProjects;
use super::reloads::Reloads;
use super::{Clock, Hedgerow};

/// How long a client's connection waits for its next request, unless set otherwise.
const IDLE: Duration = Duration::from_secs(60);
/// How long a client may read nothing of its answer, unless set otherwise.
const UNREAD: Duration = Duration::from_secs(120);

/// Why Hedgerow cannot start with a configuration that is valid in itself.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There are no authorities to verify a host's certificate with.
    #[error(
        "no certificate authorities to verify {host} with ({reason}); install ca-certificates, \
         or set ca_file"
    )]
    Authorities {
        /// The host of a project or the server of an origin.
        host: String,
        /// The TLS library's message.
        reason: String,
    },
    /// The file that holds them has none.
    #[error("no certificate authorities to verify {host} with in {path} ({reason})", path = path.display())]
    CaFile {
        /// The host of a project.
        host: String,
        /// The file.
        path: PathBuf,
        /// The TLS library's message.
        reason: String,
    },
    /// analytics.js cannot be served.
    #[error("analytics.js in {folder}: {source}")]
    Library {
        /// The folder, or the archive.
        folder: PathBuf,
        /// The mistake.
        source: LibraryError,
    },
    /// The snippet for a site's pages cannot be made.
    #[error("the snippet for the pages of {origin}: {reason}")]
    Snippet {
        /// The origin.
        origin: String,
        /// The missing part.
        reason: String,
    },
    /// A route that the call in a host proxy cannot serve.
    #[error(
        "route {route} is an `origin`, which the host proxy serves itself: remove it from the \
         file, or run the binary"
    )]
    NotInAHost {
        /// Host and path of the route.
        route: String,
    },
    /// There is no secret to keep sessions with.
    #[error("sessions cannot be kept: {0}")]
    Sessions(String),
    /// The spool exists but this version cannot use it.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A write key belongs to a project that the configuration does not have.
    #[error("a write key leads to project {project}, which is not configured")]
    NoProject {
        /// The project's name.
        project: String,
    },
    /// A listener orders a certificate, and this build cannot.
    #[error("this build cannot order certificates: it was built without the cargo feature acme")]
    NoAcme,
    /// The host is not valid in a request.
    #[error("project {project}: its host is not valid in a request")]
    Host {
        /// The project's name.
        project: String,
    },
}

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

    /// Records for the live view in this ring, if `admin` has one, so that other code can show it as
    /// well.
    #[doc(hidden)]
    #[must_use]
    pub fn live(mut self, live: Arc<Live>) -> Self {
        self.live = Some(live);
        self
    }

    /// How long a client's connection may wait for its next request, in whole seconds and at
    /// least one; 60 by default. The framework itself would keep a used one forever.
    #[must_use]
    pub fn idle_timeout(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// How long a client may stop reading its answer; two minutes by default. This applies to
    /// [`Site`](super::Site); another proxy has its own limits.
    #[must_use]
    pub fn unread_timeout(mut self, unread: Duration) -> Self {
        self.unread = unread;
        self
    }

    /// How long the head of a request over HTTP/1 may take from its first byte to its last, instead
    /// of the configuration's value (`limits.head_timeout`); and how long the first bytes of HTTP/2
    /// may take. This applies to listeners of [`Server`](super::Server); another server has its own
    /// limits.
    #[must_use]
    pub fn head_timeout(mut self, head: Duration) -> Self {
        self.config.limits.head_timeout = head;
        self
    }

    /// Takes the time of day from this clock instead of the system's. It gives the time of arrival of
    /// messages, and so decides which times are corrected and which sessions continue.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Fn() -> SystemTime + Send + Sync>) -> Self {
        self.clock = clock;
        self
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// When a project's host has to be verified and there are no authorities for it, or when
    /// sessions need a secret and the system has no random bits to make one of.
    pub fn build(self) -> Result<Hedgerow, BuildError> {
        let log_limit = Arc::<LogLimit>::default();
        let connection_limits = ConnectionLimits::new(
            &self.config.limits,
            &self.config.trusted_proxies,
            Arc::clone(&log_limit),
        );
        let leaving = Arc::<AtomicBool>::default();
        let lasting = LongLivedState {
            #[cfg(feature = "server")]
            acme: Arc::new(Acme::leaving_with(&leaving)),
            backlog: None,
            counters: EventCounters::default(),
            budget: Budget::new(self.config.limits.memory),
            connection_limits: Arc::new(connection_limits),
            cautions: WholeBatchProjects::default(),
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
            is_placeholder: OnceLock::new(),
        };
        lasting.build(self.config)
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Builder").finish_non_exhaustive()
    }
}

/// A file without certificates. Nothing is verified with it: it is only used for hosts without TLS,
/// on machines that may have no certificates.
pub(super) const NO_AUTHORITIES: &str = "/dev/null";

/// Whether the file, or else the machine, has certificates to verify `host` with.
pub(super) fn check_authorities(file: Option<&Path>, host: &str) -> Result<(), BuildError> {
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
