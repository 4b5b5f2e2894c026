//! The active configuration, and the parts that are built from it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use http::HeaderMap;
use pingora::proxy::Session;

use crate::admin::{Admin, CertificateState, Requests};
use crate::config::Config;
use crate::rewrite::Rewriter;

use super::long_lived_state::LongLivedState;
use super::outbound::pools::ConnectionPools;
use super::outbound::sender::Destinations;
use super::request::exchange::{ConnectionFacts, ReadLimits};
use super::request::visitor::Caller;
use super::request_records::RequestRecords;
use super::routes::{ProjectSinks, Routes};

/// An active configuration. A request keeps the configuration with which it began.
pub(crate) struct ActiveConfig {
    pub(crate) config: Arc<Config>,
    pub(crate) routes: Routes,
    pub(crate) rewriter: Arc<Rewriter>,
    pub(crate) destinations: Arc<Destinations>,
    /// The sinks of the routes' keys, for the next configuration.
    pub(crate) sinks: ProjectSinks,
    pub(crate) requests: Requests,
    /// The certificates from files that the listeners serve, as they were when this was built.
    pub(crate) certificates: Vec<CertificateState>,
    pub(crate) admin: Option<Arc<Admin>>,
    pub(crate) pools: ConnectionPools,
    /// The state that outlives this configuration.
    pub(crate) long_lived: Arc<LongLivedState>,
    /// Whether its background tasks have started.
    pub(crate) begun: AtomicBool,
}

impl ActiveConfig {
    /// Returns the limits for reading requests under this configuration.
    pub(crate) fn read_limits(&self) -> ReadLimits<'_> {
        ReadLimits {
            idle_seconds: self.long_lived.idle_seconds,
            limits: &self.config.limits,
        }
    }

    /// Returns where the outcomes of requests under this configuration are recorded.
    pub(crate) fn records(&self) -> RequestRecords<'_> {
        RequestRecords {
            requests: &self.requests,
            limits: &self.config.limits,
            log_limit: &self.long_lived.log_limit,
            live: self
                .admin
                .as_ref()
                .and_then(|admin| admin.live())
                .map(AsRef::as_ref),
        }
    }

    /// Returns the client that sent these headers over this connection.
    pub(crate) fn caller(&self, connection_facts: ConnectionFacts, headers: &HeaderMap) -> Caller {
        let config = &self.config;
        let caller = Caller::new(
            connection_facts,
            headers,
            &config.trusted_proxies,
            &config.mapping.privacy,
        );
        if caller.is_probably_a_trusted_proxy(headers) {
            self.log_untrusted_proxy(&caller);
        }
        caller
    }

    /// Logs once that the peer seems to be a proxy that is missing from `trusted_proxies`.
    fn log_untrusted_proxy(&self, caller: &Caller) {
        let Some(peer) = caller.peer else { return };
        if self.long_lived.log_limit.first("", "untrusted_proxy") {
            log::warn!(
                "X-Forwarded-For comes from {peer}, which is not in `trusted_proxies`. If this is \
                 your own proxy, add it there: until then PostHog stores the proxy's address for \
                 every visitor. This line appears once"
            );
        }
    }

    /// Closes the connection after this answer if the process is shutting down, in Hedgerow's own
    /// server or in a host proxy's.
    pub(crate) fn close_when_leaving(&self, session: &mut Session) {
        let leaving = self.long_lived.leaving.load(Ordering::Relaxed);
        if leaving || session.is_process_shutting_down() {
            session.set_keepalive(None);
        }
    }
}
