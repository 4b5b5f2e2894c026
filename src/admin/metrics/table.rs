//! The table of all metrics.

use super::{Kind, Metric};
use crate::admin::state::{Condition, ProjectState, SpoolState, State};
use crate::rewrite::Fault;

use Kind::{Counter, Gauge, Histogram};

/// Every metric there is, in the order in which they are shown.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "hedgerow_build_info",
        kind: Gauge,
        labels: &["version"],
        help: "The version that runs; the value is always 1.",
        action: "join it to other metrics to see which version they are of",
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
        help: "The configuration at work: 1 at the start, one more with each reload.",
        action: "compare it between machines that should have the same",
        read: |state, samples| samples.count(&[], state.config.generation),
    },
    Metric {
        name: "hedgerow_config_last_reload_timestamp_seconds",
        kind: Gauge,
        labels: &[],
        help: "When the configuration at work came into force.",
        action: "as above",
        read: |state, samples| samples.count(&[], state.config.since),
    },
    Metric {
        name: "hedgerow_config_reloads_total",
        kind: Counter,
        labels: &["result"],
        help: "Changes of the configuration, by whether they came into force.",
        action: "`refused`: the log says why; the configuration before it is at work",
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
            "compare it with `hedgerow_upstream_duration_seconds`: what is left is the client's \
                 own sending and Hedgerow's work",
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
        help: "Bytes of requests' bodies as they came, compressed or not.",
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
        help: "Messages by what became of them: converted into an event, dropped on purpose, or \
               refused.",
        action:
            "`refused`: the reason is a code of docs/repairs.md; `dropped` for `integrations`: \
                 `mapping.integrations: ignore` sends them",
        read: |state, samples| {
            samples.count(&["converted", "ok"], state.events);
            for (reason, number) in &state.left_out_for {
                samples.count(&["dropped", reason], *number);
            }
            // An alert watches it, and can tell the first one only from a zero before it.
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
        help: "Messages and bodies that were taken although something was amiss.",
        action: "docs/repairs.md tells what each code means for the event",
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
        action: "near its limit, requests get 503: see who is slow, or raise `limits.memory`",
        read: |state, samples| samples.count(&[], state.held as u64),
    },
    Metric {
        name: "hedgerow_request_memory_limit_bytes",
        kind: Gauge,
        labels: &[],
        help: "The bound on it, `limits.memory`.",
        action: "as above",
        read: |state, samples| samples.count(&[], state.held_limit as u64),
    },
    Metric {
        name: "hedgerow_connections",
        kind: Gauge,
        labels: &[],
        help: "Open connections of clients.",
        action: "near its limit, idle ones are closed for new ones",
        read: |state, samples| samples.count(&[], state.connections.open),
    },
    Metric {
        name: "hedgerow_connections_limit",
        kind: Gauge,
        labels: &[],
        help: "The bound on them, `limits.connections`.",
        action: "as above",
        read: |state, samples| samples.count(&[], state.connections.limit),
    },
    Metric {
        name: "hedgerow_connections_refused_total",
        kind: Counter,
        labels: &["limit"],
        help: "Connections of clients that were refused, by the limit that was reached.",
        action: "`client`: one address opens too many, or is a proxy that is missing in \
                 `trusted_proxies`; `all`: raise `limits.connections`",
        read: |state, samples| {
            samples.count(&["all"], state.connections.refused_full);
            samples.count(&["client"], state.connections.refused_for_one_client);
        },
    },
    Metric {
        name: "hedgerow_connections_evicted_total",
        kind: Counter,
        labels: &[],
        help: "Idle connections that were closed to make room for new ones.",
        action: "if it grows steadily, raise `limits.connections`",
        read: |state, samples| samples.count(&[], state.connections.closed_for_room),
    },
    Metric {
        name: "hedgerow_connections_timed_out_total",
        kind: Counter,
        labels: &["part"],
        help: "Connections that were ended because the client took too long, by what it was at. \
               Bodies that come too slowly are requests with the code `slow_body`.",
        action: "`head`: `limits.head_timeout`; many of them are an attack, or a balancer that opens \
                 connections to look whether the port answers",
        read: |state, samples| {
            samples.count(&["handshake"], state.connections.slow_handshakes);
            samples.count(&["head"], state.connections.slow_heads);
        },
    },
    Metric {
        name: "hedgerow_posthog_up",
        kind: Gauge,
        labels: &["project"],
        help: "Whether PostHog is believed to take this project's batches (1) or not (0).",
        action: "0: the log's last line about the project says why",
        read: |state, samples| {
            for project in &state.projects {
                let up = u64::from(project.posthog == Condition::Available);
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
        help: "Time from sending a batch to PostHog's answer, or to giving up.",
        action: "PostHog, or the way to it, is slow; `delivery.timeout` bounds it",
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
        help: "Bytes of batches sent to PostHog, compressed or not, repeated ones included.",
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
        action: "should grow much more slowly than the next one; else something on the way closes \
                 idle connections",
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
        help: "Batches that found an open connection.",
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
        action: "`failed`: the spelling of `host`, or the name server of this machine",
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
        help: "Requests that were to go on to a Segment account (`forward`).",
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
        help: "How long ago the oldest event that waits arrived: the lag of the replay. 0 while \
               nothing waits, and in a process that does not drain the spool.",
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
        help: "Since when the spool does not let its events be drained, in seconds since 1970; 0 \
               while it does.",
        action: "`/health` and the log say why; PostHog is not to blame",
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
        help: "Events of the spool, by what became of them.",
        action:
            "`replayed`: the rate of the replay; `deduplicated`: the same event waited already; \
                 `expired` and `dead_letter_dropped`: lost for age or for room; `refused`: clients \
                 got 503",
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
        help: "Whether the spool takes events (1) or not (0), looked at each second.",
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
        action: "at its limit clients get 503: make room, raise `max_size`, or mend what keeps \
                 PostHog away",
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
        help: "The bound on it, `delivery.spool.max_size`.",
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
        action: "when it is used up, clients get 503: make room",
        read: |state, samples| {
            if let Some(free) = state.spool.as_ref().and_then(|spool| spool.disk_free) {
                samples.count(&[], free);
            }
        },
    },
    Metric {
        name: "hedgerow_tls_certificate_expiry_timestamp_seconds",
        kind: Gauge,
        labels: &["certificate"],
        help: "When the certificate that is served, or the first of its chain, ends, in seconds \
               since 1970; by its file.",
        action: "days left: `(value - time()) / 86400`. Renew the file: it is taken up by itself, or with `hedgerow reload`",
        read: |state, samples| {
            for certificate in &state.certificates {
                samples.add(&[&certificate.file], certificate.expires as f64);
            }
        },
    },
    Metric {
        name: "hedgerow_acme_orders_total",
        kind: Counter,
        labels: &["outcome"],
        help: "Orders of certificates (`acme`): `issued`, or `failed`.",
        action: "a failure is made good by itself after a pause; see hedgerow_acme_failing",
        read: |state, samples| {
            samples.count(&["issued"], state.orders.issued);
            samples.count(&["failed"], state.orders.failed);
        },
    },
    Metric {
        name: "hedgerow_acme_failing",
        kind: Gauge,
        labels: &[],
        help: "Certificates whose last order has failed, so that they are missing or will end.",
        action: "not 0 for hours: the log and `hedgerow doctor` say which and why; \
                 docs/certificates.md",
        read: |state, samples| samples.count(&[], state.orders.failing),
    },
    Metric {
        name: "hedgerow_log_lines_dropped_total",
        kind: Counter,
        labels: &[],
        help: "Lines of the log that were dropped because nothing read them.",
        action: "whatever standard error goes to is too slow or stands still",
        read: |state, samples| samples.count(&[], state.log_dropped),
    },
    Metric {
        name: "process_cpu_seconds_total",
        kind: Counter,
        labels: &[],
        help: "Time of the process on processors, in seconds.",
        action: "capacity",
        read: |state, samples| {
            if let Some(process) = &state.process {
                samples.add(&[], process.cpu_seconds);
            }
        },
    },
    Metric {
        name: "process_resident_memory_bytes",
        kind: Gauge,
        labels: &[],
        help: "Memory of the process in RAM.",
        action: "capacity; docs/operations.md tells what bounds it",
        read: |state, samples| {
            if let Some(process) = &state.process {
                samples.count(&[], process.resident_bytes);
            }
        },
    },
    Metric {
        name: "process_virtual_memory_bytes",
        kind: Gauge,
        labels: &[],
        help: "Address space of the process.",
        action: "nothing: most of it is never used",
        read: |state, samples| {
            if let Some(process) = &state.process {
                samples.count(&[], process.virtual_bytes);
            }
        },
    },
    Metric {
        name: "process_open_fds",
        kind: Gauge,
        labels: &[],
        help: "Open descriptors of the process.",
        action: "near its limit no connection can be accepted: raise `LimitNOFILE`",
        read: |state, samples| {
            if let Some(process) = &state.process {
                samples.count(&[], process.open_descriptors);
            }
        },
    },
    Metric {
        name: "process_max_fds",
        kind: Gauge,
        labels: &[],
        help: "Descriptors that the process may have open.",
        action: "as above",
        read: |state, samples| {
            if let Some(most) = state
                .process
                .as_ref()
                .and_then(|process| process.most_descriptors)
            {
                samples.count(&[], most);
            }
        },
    },
    Metric {
        name: "process_threads",
        kind: Gauge,
        labels: &[],
        help: "Threads of the process.",
        action: "nothing: `server.threads` and a few more",
        read: |state, samples| {
            if let Some(process) = &state.process {
                samples.count(&[], process.threads);
            }
        },
    },
    Metric {
        name: "process_start_time_seconds",
        kind: Gauge,
        labels: &[],
        help: "When the process began, in seconds since 1970.",
        action: "`changes(process_start_time_seconds[1h])` counts restarts",
        read: |state, samples| {
            if let Some(process) = &state.process {
                samples.add(&[], process.started);
            }
        },
    },
];

/// Each project, where there is a spool.
fn of_spool(state: &State, add: impl FnMut(&ProjectState)) {
    if state.spool.is_some() {
        state.projects.iter().for_each(add);
    }
}

/// What became of the spool's events.
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
