//! The state that outlives a configuration.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hedgerow_spool::Clock;

use crate::rewrite::enrich::edge_session::SECRET_BYTES;

#[cfg(feature = "server")]
use crate::proxy::acme::CertificateManager;
use crate::proxy::limits::budget::Budget;
use crate::proxy::limits::connection_limits::ConnectionLimits;
use crate::proxy::limits::log_limit::LogLimit;
use crate::proxy::limits::rates::Rates;
use crate::proxy::outbound::refused_events::WholeBatchProjects;
use crate::proxy::reloads::Reloads;
use crate::proxy::sending::account::SegmentAccounts;
use crate::proxy::spool::backlog::Backlog;
use crate::proxy::telemetry::pages::AdminPages;
use crate::proxy::telemetry::watcher::{EventCounters, Observer};

/// State that outlives a configuration: the spool, counters, and clients' reservations.
pub(crate) struct LongLivedState {
    /// Orders certificates for the listeners of this process.
    #[cfg(feature = "server")]
    pub(crate) acme: Arc<CertificateManager>,
    pub(crate) backlog: Option<Arc<Backlog>>,
    pub(crate) counters: EventCounters,
    pub(crate) budget: Arc<Budget>,
    pub(crate) connection_limits: Arc<ConnectionLimits>,
    pub(crate) whole_batch_projects: WholeBatchProjects,
    pub(crate) log_limit: Arc<LogLimit>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) idle_seconds: u64,
    pub(crate) unread: Duration,
    pub(crate) clock: Clock,
    /// Whether the surrounding server shuts down: connections end with their next answer.
    pub(crate) leaving: Arc<AtomicBool>,
    pub(crate) accounts: Arc<SegmentAccounts>,
    pub(crate) rates: Rates,
    pub(crate) reloads: Reloads,
    pub(crate) admin: AdminPages,
    /// The secret for sessions if the configuration has none.
    pub(crate) generated_secret: OnceLock<[u8; SECRET_BYTES]>,
}
