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

/// The state at this moment.
pub(crate) fn current_state(active: &ActiveConfig) -> ProxyState {
    let counts = active
        .long_lived
        .counters
        .read(active.long_lived.budget.held());
    let now = (active.long_lived.clock)();
    let mut projects: Vec<ProjectState> = active
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
    let spool = active.long_lived.backlog.as_ref().map(|backlog| {
        for status in backlog.delivery().status() {
            let known = projects
                .iter_mut()
                .find(|known| known.name == status.project);
            let Some(project) = known else { continue };
            project.posthog = PostHogCondition::Available;
            project.waiting = status.events;
            project.waiting_bytes = status.bytes;
            project.oldest = status.oldest.map(|oldest| {
                (active.long_lived.clock)()
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
    let (ordered, orders) = ordered(&active.long_lived);
    ProxyState {
        events: counts.events,
        left_out: counts.left_out,
        left_out_for: counts.left_out_for,
        refused: counts.refused,
        notices: counts.notices,
        requests: active.requests.read(),
        routes: active.requests.routes(),
        rewrite_times: active.long_lived.counters.rewriting().read(),
        session_cookies: active.long_lived.counters.session_cookies(),
        busy: counts.busy,
        held: counts.held,
        held_limit: active.long_lived.budget.limit(),
        log_dropped: crate::logging::dropped(),
        connections: active.long_lived.connection_limits.counts(),
        unready: unready(active),
        projects,
        spool,
        forwarded: active.long_lived.accounts.counts(),
        certificates: active.certificates.iter().cloned().chain(ordered).collect(),
        orders,
        process: process::state(),
        config: ConfigState {
            outline: active.config.outline.clone(),
            ..active.long_lived.reloads.state()
        },
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

/// The reasons why load balancers should send no requests here now; empty when there are none.
pub(crate) fn unready(active: &ActiveConfig) -> Vec<Unready> {
    let mut reasons = Vec::new();
    if active.long_lived.leaving.load(Ordering::Relaxed) {
        reasons.push(Unready::Leaving);
    }
    let (can_spool, any_reachable) = match &active.long_lived.backlog {
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
            let mut all = active.destinations.values();
            let reachable = all.any(|destination| !destination.batch_counts().is_away());
            (false, active.destinations.is_empty() || reachable)
        }
    };
    if !can_spool && !any_reachable {
        reasons.push(Unready::NoWay);
    }
    if is_wrong((active.long_lived.clock)()) {
        reasons.push(Unready::Clock);
    }
    reasons
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
