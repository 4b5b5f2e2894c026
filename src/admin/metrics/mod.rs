//! Metrics in Prometheus's text format (exposition format 0.0.4). One table contains the name, the meaning
//! and the source of the values of each metric; the reference page is generated from it too.

use prometheus::proto;
use prometheus::TextEncoder;

use super::state::ProxyState;

mod reference;
mod table;

pub use super::process::ProcessState;
pub use super::times::{DurationHistogram, Times};
pub use reference::reference;
pub use table::metrics;

/// One metric: its name, its meaning, and what to do about it.
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// The kind of its values.
    pub kind: MetricKind,
    /// The names of its labels, in their order.
    pub labels: &'static [&'static str],
    /// Its meaning.
    pub help: &'static str,
    /// What an operator should do.
    pub action: &'static str,
    read: fn(&ProxyState, &mut MetricSamples),
}

/// The kind of a metric's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// The value only grows, and is zero when the process starts.
    Counter,
    /// The value goes up and down.
    Gauge,
    /// Durations, in cumulative buckets.
    Histogram,
}

impl MetricKind {
    /// Returns Prometheus's name for the kind.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }

    fn of_the_library(self) -> proto::MetricType {
        match self {
            Self::Counter => proto::MetricType::COUNTER,
            Self::Gauge => proto::MetricType::GAUGE,
            Self::Histogram => proto::MetricType::HISTOGRAM,
        }
    }
}

impl std::fmt::Debug for Metric {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Metric").field(&self.name).finish()
    }
}

/// The values of one metric, as its `read` function adds them.
struct MetricSamples {
    kind: MetricKind,
    names: &'static [&'static str],
    metrics: Vec<proto::Metric>,
}

impl MetricSamples {
    /// Adds a value with these label values.
    fn add(&mut self, labels: &[&str], value: f64) {
        let mut metric = proto::Metric::from_label(self.pairs(labels));
        match self.kind {
            MetricKind::Counter => {
                let mut counter = proto::Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            MetricKind::Gauge | MetricKind::Histogram => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        self.metrics.push(metric);
    }

    /// Adds a count with these label values. It is exact up to 2^53.
    fn count(&mut self, labels: &[&str], value: u64) {
        self.add(labels, value as f64);
    }

    /// Adds a histogram with these label values.
    fn times(&mut self, labels: &[&str], times: &Times) {
        if let Some(histogram) = times.of_the_library() {
            let mut metric = proto::Metric::from_label(self.pairs(labels));
            metric.set_histogram(histogram);
            self.metrics.push(metric);
        }
    }

    fn pairs(&self, labels: &[&str]) -> Vec<proto::LabelPair> {
        debug_assert_eq!(self.names.len(), labels.len(), "{:?}", self.names);
        let pairs = self.names.iter().zip(labels).map(|(name, value)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        pairs.collect()
    }
}

/// Returns the text of all metrics that have a value.
pub(super) fn render(state: &ProxyState) -> String {
    let mut families = Vec::new();
    for metric in metrics() {
        let mut samples = MetricSamples {
            kind: metric.kind,
            names: metric.labels,
            metrics: Vec::new(),
        };
        (metric.read)(state, &mut samples);
        // The library returns an error for a metric without values.
        if samples.metrics.is_empty() {
            continue;
        }
        let mut family = proto::MetricFamily::default();
        family.set_name(metric.name.to_owned());
        family.set_help(metric.help.to_owned());
        family.set_field_type(metric.kind.of_the_library());
        family.set_metric(samples.metrics);
        families.push(family);
    }
    let mut text = String::with_capacity(16 * 1024);
    if let Err(error) = TextEncoder::new().encode_utf8(&families, &mut text) {
        log::error!("the metrics cannot be written: {error}");
    }
    text
}
