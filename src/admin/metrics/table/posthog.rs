//! Metrics of the delivery to PostHog and to Segment accounts.

use crate::admin::metrics::metric::Metric;
use crate::admin::metrics::metric::MetricKind::{Counter, Gauge, Histogram};
use crate::admin::state::PostHogCondition;

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "hedgerow_posthog_up",
        kind: Gauge,
        labels: &["project"],
        help: "Whether PostHog accepts this project's batches, by its last answers (1), or not \
            (0).",
        action: "0: the log's last line about the project says why",
        read: |state, samples| {
            for project in &state.projects {
                let up = u64::from(project.posthog == PostHogCondition::Available);
                samples.count(&[&project.name], up);
            }
        },
    },
    Metric {
        name: "hedgerow_batches_total",
        kind: Counter,
        labels: &["project", "outcome"],
        help: "Batches sent to PostHog, by its answer.",
        action:
            "`key_refused`: `api_key` or `host` is wrong; `refused`: see the log; `busy`: 408, \
                 429 or 5xx; `unreachable`: no answer",
        read: |state, samples| {
            for project in &state.projects {
                let answers = &project.answers;
                for (outcome, number) in [
                    ("accepted", answers.accepted),
                    ("key_refused", answers.key_refused),
                    ("refused", answers.refused),
                    ("busy", answers.busy),
                    ("unreachable", answers.unreachable),
                ] {
                    samples.count(&[&project.name, outcome], number);
                }
            }
        },
    },
    Metric {
        name: "hedgerow_upstream_duration_seconds",
        kind: Histogram,
        labels: &["project"],
        help: "Time from sending a batch to PostHog's answer, or to the time limit.",
        action: "PostHog, or the network, is slow; `delivery.timeout` limits it",
        read: |state, samples| {
            for project in &state.projects {
                samples.times(&[&project.name], &project.upstream.times);
            }
        },
    },
    Metric {
        name: "hedgerow_sent_bytes_total",
        kind: Counter,
        labels: &["project"],
        help: "Bytes of batches sent to PostHog, compressed or not, including retries.",
        action: "capacity",
        read: |state, samples| {
            for project in &state.projects {
                samples.count(&[&project.name], project.upstream.sent_bytes);
            }
        },
    },
    Metric {
        name: "hedgerow_upstream_connections_opened_total",
        kind: Counter,
        labels: &["project"],
        help: "Connections opened to PostHog for batches.",
        action: "should grow much more slowly than the next one; otherwise a device on the way \
            closes idle connections",
        read: |state, samples| {
            for project in &state.projects {
                samples.count(&[&project.name], project.upstream.opened);
            }
        },
    },
    Metric {
        name: "hedgerow_upstream_connections_reused_total",
        kind: Counter,
        labels: &["project"],
        help: "Batches that used an open connection.",
        action: "as above",
        read: |state, samples| {
            for project in &state.projects {
                samples.count(&[&project.name], project.upstream.reused);
            }
        },
    },
    Metric {
        name: "hedgerow_dns_lookups_total",
        kind: Counter,
        labels: &["project", "outcome"],
        help: "Lookups of the name of a project's host.",
        action: "`failed`: check the spelling of `host` and the name server of this machine",
        read: |state, samples| {
            for project in &state.projects {
                let upstream = &project.upstream;
                samples.count(&[&project.name, "resolved"], upstream.resolved);
                samples.count(&[&project.name, "failed"], upstream.unresolved);
            }
        },
    },
    Metric {
        name: "hedgerow_forwarded_requests_total",
        kind: Counter,
        labels: &["outcome"],
        help: "Requests for a Segment account (`forward`).",
        action: "`refused`, `expired` and `queue_full`: the log says why; `withheld`: the visitor \
                 asked not to be tracked",
        read: |state, samples| {
            for (outcome, number) in [
                ("delivered", state.forwarded.delivered),
                ("refused", state.forwarded.refused),
                ("expired", state.forwarded.expired),
                ("queue_full", state.forwarded.full),
                ("withheld", state.forwarded.withheld),
            ] {
                samples.count(&[outcome], number);
            }
        },
    },
];
