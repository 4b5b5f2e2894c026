//! The state in Prometheus's text format (exposition format 0.0.4).

use std::fmt::Write;

use super::state::{Condition, State};

/// The text as it grows. Writing into a string cannot fail, so the results say nothing.
struct Page(String);

impl Page {
    /// Begins a metric that only grows.
    fn counter<'a>(&'a mut self, name: &'a str, help: &str) -> Metric<'a> {
        self.metric(name, "counter", help)
    }

    /// Begins a metric that goes up and down.
    fn gauge<'a>(&'a mut self, name: &'a str, help: &str) -> Metric<'a> {
        self.metric(name, "gauge", help)
    }

    fn metric<'a>(&'a mut self, name: &'a str, kind: &str, help: &str) -> Metric<'a> {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Metric {
            text: &mut self.0,
            name,
        }
    }
}

/// A metric that gets its values.
struct Metric<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl Metric<'_> {
    fn value(&mut self, labels: &[(&str, &str)], value: u64) {
        self.text.push_str(self.name);
        for (number, (label, value)) in labels.iter().enumerate() {
            let before = if number == 0 { '{' } else { ',' };
            let value = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = write!(self.text, "{before}{label}=\"{value}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }
}

pub(super) fn render(state: &State) -> String {
    let mut page = Page(String::with_capacity(4096));
    page.gauge("hedgerow_build_info", "The version that runs.")
        .value(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.counter("hedgerow_events_total", "Messages that became events.")
        .value(&[], state.events);
    page.counter("hedgerow_left_out_total", "Messages left out on purpose.")
        .value(&[], state.left_out);
    let mut left_out = page.counter(
        "hedgerow_left_out_for_total",
        "Messages left out on purpose, by the code of the reason; what `integrations` keep back, \
         `mapping.integrations: ignore` would send.",
    );
    for (code, number) in &state.left_out_for {
        left_out.value(&[("code", code)], *number);
    }
    let mut refused = page.counter(
        "hedgerow_refused_total",
        "Messages refused, by the code of the reason.",
    );
    for (code, number) in &state.refused {
        refused.value(&[("code", code)], *number);
    }
    let mut notices = page.counter(
        "hedgerow_notices_total",
        "Messages and bodies that were taken with something amiss, by its code.",
    );
    for (code, number) in &state.notices {
        notices.value(&[("code", code)], *number);
    }
    let mut requests = page.counter(
        "hedgerow_requests_total",
        "Requests of Segment routes, and those that Hedgerow itself answered elsewhere, by route, \
         call, status and code.",
    );
    for count in &state.requests {
        let labels = [
            ("route", count.route.as_str()),
            ("call", count.asked.word()),
            ("status", count.answered.status()),
            ("code", count.answered.code()),
        ];
        requests.value(&labels, count.number);
    }
    page.counter(
        "hedgerow_told_to_come_back_total",
        "Requests whose client was told 503.",
    )
    .value(&[], state.busy);
    page.gauge(
        "hedgerow_ready",
        "Whether requests should come here: 1 or 0.",
    )
    .value(&[], u64::from(state.unready.is_empty()));
    page.gauge(
        "hedgerow_config_generation",
        "The configuration at work: 1 at the start, one more with each reload.",
    )
    .value(&[], state.config.generation);
    page.gauge(
        "hedgerow_config_last_reload_timestamp_seconds",
        "When the configuration at work came into force.",
    )
    .value(&[], state.config.since);
    let mut reloads = page.counter(
        "hedgerow_config_reloads_total",
        "Changes of the configuration, by whether they came into force.",
    );
    reloads.value(&[("result", "applied")], state.config.applied);
    reloads.value(&[("result", "refused")], state.config.refused);
    page.gauge("hedgerow_held_bytes", "Bytes that all requests hold.")
        .value(&[], state.held as u64);
    connections(&mut page, state);
    projects(&mut page, state);
    if let Some(spool) = &state.spool {
        let mut events = page.counter(
            "hedgerow_spool_events_total",
            "Events of the spool, by what became of them.",
        );
        events.value(&[("what", "appended")], spool.appended);
        events.value(&[("what", "collapsed")], spool.collapsed);
        events.value(&[("what", "settled")], spool.settled);
        events.value(&[("what", "buried")], spool.buried);
        events.value(&[("what", "expired")], spool.expired);
        events.value(&[("what", "crowded_out")], spool.crowded_out);
        events.value(&[("what", "refused")], spool.refused);
    }
    let mut forwarded = page.counter(
        "hedgerow_forwarded_total",
        "Requests that went on to a Segment account.",
    );
    forwarded.value(&[("result", "delivered")], state.forwarded.delivered);
    forwarded.value(&[("result", "refused")], state.forwarded.refused);
    forwarded.value(&[("result", "expired")], state.forwarded.expired);
    forwarded.value(&[("result", "full")], state.forwarded.full);
    forwarded.value(&[("result", "withheld")], state.forwarded.withheld);
    page.0
}

fn connections(page: &mut Page, state: &State) {
    page.counter(
        "hedgerow_log_lines_dropped_total",
        "Lines of the log that were dropped because nothing read them.",
    )
    .value(&[], state.log_dropped);
    let counts = &state.connections;
    page.gauge(
        "hedgerow_connections",
        "Connections of clients that are open.",
    )
    .value(&[], counts.open);
    let mut refused = page.counter(
        "hedgerow_connections_refused_total",
        "Connections of clients that were refused, by the bound: of all, or of one client.",
    );
    refused.value(&[("bound", "all")], counts.refused_full);
    refused.value(&[("bound", "client")], counts.refused_for_one_client);
    page.counter(
        "hedgerow_connections_closed_for_room_total",
        "Idle connections that were closed so that others could be taken.",
    )
    .value(&[], counts.closed_for_room);
}

fn projects(page: &mut Page, state: &State) {
    let mut batches = page.counter(
        "hedgerow_batches_total",
        "Batches sent to PostHog, by its answer.",
    );
    for project in &state.projects {
        for (answer, number) in [
            ("accepted", project.answers.accepted),
            ("refused", project.answers.refused),
            ("busy", project.answers.busy),
            ("unreachable", project.answers.unreachable),
        ] {
            batches.value(&[("project", &project.name), ("answer", answer)], number);
        }
    }
    let mut available = page.gauge(
        "hedgerow_posthog_available",
        "Whether PostHog is believed to take batches.",
    );
    for project in &state.projects {
        let is_available = u64::from(project.posthog == Condition::Available);
        available.value(&[("project", &project.name)], is_available);
    }
    let mut waiting = page.gauge(
        "hedgerow_spool_waiting_events",
        "Events that wait in the spool.",
    );
    for project in &state.projects {
        waiting.value(&[("project", &project.name)], project.waiting);
    }
    let mut bytes = page.gauge("hedgerow_spool_waiting_bytes", "Their JSON in bytes.");
    for project in &state.projects {
        bytes.value(&[("project", &project.name)], project.waiting_bytes);
    }
    let mut stalled = page.gauge(
        "hedgerow_spool_not_draining_since_timestamp_seconds",
        "Since when the spool does not let its events be drained, in seconds since 1970; 0 while \
         it does.",
    );
    for project in &state.projects {
        let since = project.stalled.as_ref().map_or(0, |stalled| stalled.since);
        stalled.value(&[("project", &project.name)], since);
    }
}
