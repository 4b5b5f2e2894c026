//! Metrics of the spool.

use crate::admin::metrics::metric::Metric;
use crate::admin::metrics::metric::MetricKind::{Counter, Gauge};
use crate::admin::state::{ProjectState, ProxyState, SpoolState};

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "hedgerow_spool_waiting_events",
        kind: Gauge,
        labels: &["project"],
        help: "Events that wait in the spool.",
        action: "normal while PostHog is away; otherwise it has to fall",
        read: |state, samples| {
            of_spool(state, |project| {
                samples.count(&[&project.name], project.waiting)
            })
        },
    },
    Metric {
        name: "hedgerow_spool_waiting_bytes",
        kind: Gauge,
        labels: &["project"],
        help: "Bytes of JSON of the events that wait in the spool.",
        action: "as above",
        read: |state, samples| {
            of_spool(state, |project| {
                samples.count(&[&project.name], project.waiting_bytes)
            });
        },
    },
    Metric {
        name: "hedgerow_spool_oldest_event_age_seconds",
        kind: Gauge,
        labels: &["project"],
        help: "Age of the oldest waiting event: the lag of the replay. 0 while no event waits, \
            and in a process that does not drain the spool.",
        action: "at `delivery.spool.max_age` events are dropped",
        read: |state, samples| {
            of_spool(state, |project| {
                let age = project.oldest.map_or(0.0, |age| age.as_secs_f64());
                samples.add(&[&project.name], age);
            });
        },
    },
    Metric {
        name: "hedgerow_spool_not_draining_since_timestamp_seconds",
        kind: Gauge,
        labels: &["project"],
        help: "Since when the spool cannot be drained, in seconds since 1970; 0 while it can.",
        action: "`/health` and the log say why; the cause is not PostHog",
        read: |state, samples| {
            of_spool(state, |project| {
                let since = project.stalled.as_ref().map_or(0, |stalled| stalled.since);
                samples.count(&[&project.name], since);
            });
        },
    },
    Metric {
        name: "hedgerow_spool_dead_letters",
        kind: Gauge,
        labels: &["project"],
        help: "Events that PostHog refused for good and that are kept as dead letters.",
        action:
            "`hedgerow spool ls` shows them with PostHog's answers; `spool retry` or `spool drop`",
        read: |state, samples| {
            of_spool(state, |project| {
                samples.count(&[&project.name], project.dead_letters)
            });
        },
    },
    Metric {
        name: "hedgerow_spool_events_total",
        kind: Counter,
        labels: &["outcome"],
        help: "Events of the spool, by outcome.",
        action:
            "`replayed`: the rate of the replay; `deduplicated`: the same event already waited; \
             `expired` and `dead_letter_dropped`: dropped because of age or space; `refused`: clients got 503",
        read: |state, samples| {
            if let Some(spool) = &state.spool {
                for (outcome, number) in spool_events(spool) {
                    samples.count(&[outcome], number);
                }
            }
        },
    },
    Metric {
        name: "hedgerow_spool_writable",
        kind: Gauge,
        labels: &[],
        help: "Whether the spool accepts events (1) or not (0), tested each second.",
        action: "0: disk full or read-only, `max_size` reached, or NATS away; the log says which",
        read: |state, samples| {
            if let Some(spool) = &state.spool {
                samples.count(&[], u64::from(spool.writable));
            }
        },
    },
    Metric {
        name: "hedgerow_spool_size_bytes",
        kind: Gauge,
        labels: &[],
        help: "Bytes of disk in use by the spool in a folder, or by its stream on NATS.",
        action: "at its limit clients get 503: free some space, raise `max_size`, or make PostHog \
            reachable again",
        read: |state, samples| {
            if let Some(size) = state.spool.as_ref().and_then(|spool| spool.size) {
                samples.count(&[], size.used);
            }
        },
    },
    Metric {
        name: "hedgerow_spool_size_limit_bytes",
        kind: Gauge,
        labels: &[],
        help: "Its limit, `delivery.spool.max_size`.",
        action: "as above",
        read: |state, samples| {
            if let Some(size) = state.spool.as_ref().and_then(|spool| spool.size) {
                samples.count(&[], size.limit);
            }
        },
    },
    Metric {
        name: "hedgerow_spool_disk_free_bytes",
        kind: Gauge,
        labels: &[],
        help: "Bytes that are free for this process on the disk of the spool's folder.",
        action: "when it is used up, clients get 503: free some space",
        read: |state, samples| {
            if let Some(free) = state.spool.as_ref().and_then(|spool| spool.disk_free) {
                samples.count(&[], free);
            }
        },
    },
];

/// Calls `add` for each project if there is a spool.
fn of_spool(state: &ProxyState, add: impl FnMut(&ProjectState)) {
    if state.spool.is_some() {
        state.projects.iter().for_each(add);
    }
}

/// Returns the number of the spool's events for each outcome.
fn spool_events(spool: &SpoolState) -> [(&'static str, u64); 7] {
    [
        ("stored", spool.appended),
        ("deduplicated", spool.deduplicated),
        ("replayed", spool.replayed),
        ("dead_letter", spool.dead_lettered),
        ("expired", spool.expired),
        ("dead_letter_dropped", spool.dead_letters_evicted),
        ("refused", spool.refused),
    ]
}
