//! Metrics of certificates, the log and the process itself.

use crate::admin::metrics::metric::Metric;
use crate::admin::metrics::metric::MetricKind::{Counter, Gauge};

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "hedgerow_tls_certificate_expiry_timestamp_seconds",
        kind: Gauge,
        labels: &["certificate"],
        help: "When the served certificate, or the first of its chain to expire, expires, in \
            seconds since 1970; by its file.",
        action: "days left: `(value - time()) / 86400`. Renew the file: Hedgerow loads it by \
            itself, or after `hedgerow reload`",
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
        action: "Hedgerow retries a failed order after a pause; see hedgerow_acme_failing",
        read: |state, samples| {
            samples.count(&["issued"], state.orders.issued);
            samples.count(&["failed"], state.orders.failed);
        },
    },
    Metric {
        name: "hedgerow_acme_failing",
        kind: Gauge,
        labels: &[],
        help: "Certificates whose last order has failed, so that they are missing or will expire.",
        action: "not 0 for hours: the log and `hedgerow doctor` say which and why; \
                 docs/certificates.md",
        read: |state, samples| samples.count(&[], state.orders.failing),
    },
    Metric {
        name: "hedgerow_log_lines_dropped_total",
        kind: Counter,
        labels: &[],
        help: "Lines of the log that were dropped because standard error was not read.",
        action: "the reader of standard error is too slow or has stopped",
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
        action: "capacity; docs/operations.md names its limits",
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
        name: "hedgerow_tasks",
        kind: Gauge,
        labels: &[],
        help: "Running tasks of the runtimes: one for each connection, and background tasks.",
        action: "nothing, if it rises and falls with `hedgerow_connections`; if it only rises, report it",
        read: |state, samples| {
            if let Some(process) = &state.process {
                samples.count(&[], process.tasks);
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
