//! Metrics of the configuration, of requests and of connections.

use crate::admin::metrics::metric::Metric;
use crate::admin::metrics::metric::MetricKind::{Counter, Gauge, Histogram};
use crate::rewrite::Fault;

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "hedgerow_build_info",
        kind: Gauge,
        labels: &["version"],
        help: "The version that runs; the value is always 1.",
        action: "join it to other metrics to see their version",
        read: |_, samples| samples.count(&[env!("CARGO_PKG_VERSION")], 1),
    },
    Metric {
        name: "hedgerow_ready",
        kind: Gauge,
        labels: &[],
        help: "Whether a load balancer should send requests here (1) or not (0).",
        action: "0: `/readyz` says why",
        read: |state, samples| samples.count(&[], u64::from(state.unready.is_empty())),
    },
    Metric {
        name: "hedgerow_config_generation",
        kind: Gauge,
        labels: &[],
        help: "The number of the active configuration: 1 at the start, one more with each reload.",
        action: "compare it between machines that should have the same",
        read: |state, samples| samples.count(&[], state.config.generation),
    },
    Metric {
        name: "hedgerow_config_last_reload_timestamp_seconds",
        kind: Gauge,
        labels: &[],
        help: "When the active configuration became active.",
        action: "as above",
        read: |state, samples| samples.count(&[], state.config.since),
    },
    Metric {
        name: "hedgerow_config_reloads_total",
        kind: Counter,
        labels: &["result"],
        help: "Changes of the configuration, by result.",
        action: "`refused`: the log says why; the previous configuration stays active",
        read: |state, samples| {
            samples.count(&["applied"], state.config.applied);
            samples.count(&["refused"], state.config.refused);
        },
    },
    Metric {
        name: "hedgerow_requests_total",
        kind: Counter,
        labels: &["route", "call", "status", "code"],
        help: "Requests, by route, call, status and code of the answer.",
        action:
            "`unknown_write_key`: a site sends a key that is not in `write_keys`; 503: its code \
                 says what is missing; the others are the sender's mistakes",
        read: |state, samples| {
            for count in &state.requests {
                let labels = [
                    count.route.as_str(),
                    count.asked.word(),
                    count.answered.status(),
                    count.answered.code(),
                ];
                samples.count(&labels, count.number);
            }
        },
    },
    Metric {
        name: "hedgerow_request_duration_seconds",
        kind: Histogram,
        labels: &["route"],
        help: "Whole time of a request, from its head to the end of its answer.",
        action:
            "compare it with `hedgerow_upstream_duration_seconds`: the difference is the client's \
             upload and Hedgerow's work",
        read: |state, samples| {
            for route in &state.routes {
                samples.times(&[&route.name], &route.times);
            }
        },
    },
    Metric {
        name: "hedgerow_received_bytes_total",
        kind: Counter,
        labels: &["route"],
        help: "Bytes of the bodies of requests as clients sent them, compressed or not.",
        action: "capacity",
        read: |state, samples| {
            for route in &state.routes {
                samples.count(&[&route.name], route.received_bytes);
            }
        },
    },
    Metric {
        name: "hedgerow_rewrite_duration_seconds",
        kind: Histogram,
        labels: &[],
        help: "Time that the rewriting of a body took, without waiting for its sender or PostHog.",
        action: "a growing time means larger bodies, or a machine that is short of processors",
        read: |state, samples| samples.times(&[], &state.rewrite_times),
    },
    Metric {
        name: "hedgerow_messages_total",
        kind: Counter,
        labels: &["outcome", "reason"],
        help: "Messages by outcome: converted into an event, dropped on purpose, or \
               refused.",
        action:
            "`refused`: the reason is a code of docs/repairs.md; `dropped` for `integrations`: \
                 `mapping.integrations: ignore` sends them",
        read: |state, samples| {
            samples.count(&["converted", "ok"], state.events);
            for (reason, number) in &state.left_out_for {
                samples.count(&["dropped", reason], *number);
            }
            // An alert watches this counter. It can detect the first refusal only if the counter was
            // shown as zero before.
            let of_posthog = Fault::RefusedByPostHog.code();
            if !state.refused.contains_key(of_posthog) {
                samples.count(&["refused", of_posthog], 0);
            }
            for (reason, number) in &state.refused {
                samples.count(&["refused", reason], *number);
            }
        },
    },
    Metric {
        name: "hedgerow_notices_total",
        kind: Counter,
        labels: &["code"],
        help: "Messages and bodies that were accepted with a fault.",
        action: "docs/repairs.md explains each code",
        read: |state, samples| {
            for (code, number) in &state.notices {
                samples.count(&[code], *number);
            }
        },
    },
    Metric {
        name: "hedgerow_session_cookies_total",
        kind: Counter,
        labels: &[],
        help: "Answers that set the cookie of a visitor's session, new or renewed.",
        action: "only with `mapping.sessions: cookie`",
        read: |state, samples| samples.count(&[], state.session_cookies),
    },
    Metric {
        name: "hedgerow_request_memory_bytes",
        kind: Gauge,
        labels: &[],
        help: "Bytes of bodies that all requests together hold.",
        action: "near its limit, requests get 503: find the slow clients, or raise `limits.memory`",
        read: |state, samples| samples.count(&[], state.held as u64),
    },
    Metric {
        name: "hedgerow_request_memory_limit_bytes",
        kind: Gauge,
        labels: &[],
        help: "Its limit, `limits.memory`.",
        action: "as above",
        read: |state, samples| samples.count(&[], state.held_limit as u64),
    },
    Metric {
        name: "hedgerow_connections",
        kind: Gauge,
        labels: &[],
        help: "Open connections of clients.",
        action: "near its limit, Hedgerow closes idle connections to accept new ones",
        read: |state, samples| samples.count(&[], state.connections.open),
    },
    Metric {
        name: "hedgerow_connections_limit",
        kind: Gauge,
        labels: &[],
        help: "Their limit, `limits.connections`.",
        action: "as above",
        read: |state, samples| samples.count(&[], state.connections.limit),
    },
    Metric {
        name: "hedgerow_connections_memory_bytes",
        kind: Gauge,
        labels: &[],
        help: "Memory of idle client connections, estimated by protocol.",
        action: "near its limit, Hedgerow closes idle connections to accept new ones",
        read: |state, samples| samples.count(&[], state.connections.held),
    },
    Metric {
        name: "hedgerow_connections_memory_limit_bytes",
        kind: Gauge,
        labels: &[],
        help: "Its limit, equal to `limits.memory`.",
        action: "as above",
        read: |state, samples| samples.count(&[], state.connections.held_limit),
    },
    Metric {
        name: "hedgerow_connections_refused_total",
        kind: Counter,
        labels: &["limit"],
        help: "Refused connections of clients, by the limit that was reached.",
        action: "`client`: one address opens too many, or is a proxy that is missing in \
                 `trusted_proxies`; `all`: raise `limits.connections` or `limits.memory`, as the log says",
        read: |state, samples| {
            samples.count(&["all"], state.connections.refused_full);
            samples.count(&["client"], state.connections.refused_for_one_client);
        },
    },
    Metric {
        name: "hedgerow_connections_evicted_total",
        kind: Counter,
        labels: &[],
        help: "Idle connections that were closed to accept new ones.",
        action: "if it grows steadily, raise `limits.connections`",
        read: |state, samples| samples.count(&[], state.connections.closed_for_room),
    },
    Metric {
        name: "hedgerow_connections_timed_out_total",
        kind: Counter,
        labels: &["part"],
        help: "Connections that were ended because the client was too slow, by the part that it \
            sent. Slow bodies are requests with the code `slow_body`.",
        action:
            "`head`: `limits.head_timeout`; many of them mean an attack, or a load balancer that \
             opens connections to check the port",
        read: |state, samples| {
            samples.count(&["handshake"], state.connections.slow_handshakes);
            samples.count(&["head"], state.connections.slow_heads);
        },
    },
];
