//! The state of the active configuration for the admin pages, the metrics and the health checks.

use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

use crate::admin::{
    CertificateOrders, CertificateState, ConfigState, PostHogCondition, ProjectState, ProxyState,
    SpoolSize, SpoolState, StalledSpool, Unready,
};
use crate::clock::is_wrong;
use crate::delivery::{self, Availability};

use crate::proxy::active_config::ActiveConfig;
use crate::proxy::long_lived_state::LongLivedState;
use crate::proxy::telemetry::process;

impl ActiveConfig {
    /// The state at this moment.
    pub(crate) fn state(&self) -> ProxyState {
        let counts = self.long_lived.counters.read(self.long_lived.budget.held());
        let now = (self.long_lived.clock)();
        let mut projects: Vec<ProjectState> = self
            .destinations
            .iter()
            .map(|(name, destination)| {
                let batch_counts = destination.batch_counts();
                let posthog = match batch_counts.is_away() {
                    true => PostHogCondition::Away,
                    false => PostHogCondition::Available,
                };
                let (trouble, last_error) = batch_counts.failure_state(now);
                ProjectState {
                    trouble,
                    last_error,
                    upstream: destination.upstream(),
                    ..ProjectState::new(name, posthog, batch_counts.read())
                }
            })
            .collect();
        projects.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let spool = self.long_lived.backlog.as_ref().map(|backlog| {
            for status in backlog.delivery().status() {
                let known = projects
                    .iter_mut()
                    .find(|known| known.name == status.project);
                let Some(project) = known else { continue };
                project.posthog = PostHogCondition::Available;
                project.waiting = status.events;
                project.waiting_bytes = status.bytes;
                project.oldest = status.oldest.map(|oldest| {
                    (self.long_lived.clock)()
                        .duration_since(oldest)
                        .unwrap_or_default()
                });
                project.dead_letters = status.dead_letters;
                project.stalled = stalled(status.draining);
                if status.breaker == delivery::BreakerState::Open {
                    project.posthog = PostHogCondition::Away;
                }
            }
            let store = backlog.delivery().store();
            let (counters, size) = (store.counters(), store.gauges().size());
            SpoolState {
                writable: store.availability() == Availability::Available,
                trouble: store.trouble(),
                size: size.map(|(used, limit)| SpoolSize { used, limit }),
                disk_free: backlog.folder().and_then(process::free_of),
                appended: counters.appended.load(Ordering::Relaxed),
                deduplicated: counters.deduplicated.load(Ordering::Relaxed),
                replayed: counters.delivered.load(Ordering::Relaxed),
                dead_lettered: counters.dead_lettered.load(Ordering::Relaxed),
                expired: counters.expired.load(Ordering::Relaxed),
                dead_letters_evicted: counters.dead_letters_evicted.load(Ordering::Relaxed),
                refused: counters.refused.load(Ordering::Relaxed),
            }
        });
        let (ordered, orders) = ordered(&self.long_lived);
        ProxyState {
            events: counts.events,
            left_out: counts.left_out,
            left_out_for: counts.left_out_for,
            refused: counts.refused,
            notices: counts.notices,
            requests: self.requests.read(),
            routes: self.requests.routes(),
            rewrite_times: self.long_lived.counters.rewriting().read(),
            session_cookies: self.long_lived.counters.session_cookies(),
            busy: counts.busy,
            held: counts.held,
            held_limit: self.long_lived.budget.limit(),
            log_dropped: crate::logging::dropped(),
            connections: self.long_lived.connection_limits.counts(),
            unready: self.unready(),
            projects,
            spool,
            forwarded: self.long_lived.accounts.counts(),
            certificates: self.certificates.iter().cloned().chain(ordered).collect(),
            orders,
            process: process::state(),
            config: ConfigState {
                outline: self.config.outline.clone(),
                ..self.long_lived.reloads.state()
            },
        }
    }
}

fn stalled(draining: delivery::Draining) -> Option<StalledSpool> {
    match draining {
        delivery::Draining::Normal => None,
        delivery::Draining::Blocked { since, reason } => Some(StalledSpool {
            since: since
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            reason,
        }),
    }
}

impl ActiveConfig {
    /// The reasons why load balancers should send no requests here now; empty when there are none.
    pub(crate) fn unready(&self) -> Vec<Unready> {
        let mut reasons = Vec::new();
        if self.long_lived.leaving.load(Ordering::Relaxed) {
            reasons.push(Unready::Leaving);
        }
        let (can_spool, any_reachable) = match &self.long_lived.backlog {
            Some(backlog) => {
                let delivery = backlog.delivery();
                let can_spool = delivery.store().availability() == Availability::Available;
                let status = delivery.status();
                let mut reachable = status
                    .iter()
                    .map(|status| status.breaker == delivery::BreakerState::Closed);
                if !can_spool {
                    reasons.push(Unready::SpoolNotWritable);
                }
                (
                    can_spool,
                    status.is_empty() || reachable.any(|reachable| reachable),
                )
            }
            None => {
                let mut all = self.destinations.values();
                let reachable = all.any(|destination| !destination.batch_counts().is_away());
                (false, self.destinations.is_empty() || reachable)
            }
        };
        if !can_spool && !any_reachable {
            reasons.push(Unready::NoWay);
        }
        if is_wrong((self.long_lived.clock)()) {
            reasons.push(Unready::Clock);
        }
        reasons
    }
}

/// The ordered certificates, and the results of their orders.
#[cfg(feature = "server")]
fn ordered(long_lived: &LongLivedState) -> (Vec<CertificateState>, CertificateOrders) {
    (long_lived.acme.states(), long_lived.acme.orders())
}

/// None: a host proxy orders no certificates.
#[cfg(not(feature = "server"))]
fn ordered(_long_lived: &LongLivedState) -> (Vec<CertificateState>, CertificateOrders) {
    Default::default()
}
