//! A metric and its values.

use prometheus::proto;

use crate::admin::state::ProxyState;
use crate::admin::times::Times;

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
    pub(super) read: fn(&ProxyState, &mut MetricSamples),
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

    pub(super) fn of_the_library(self) -> proto::MetricType {
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
pub(super) struct MetricSamples {
    pub(super) kind: MetricKind,
    pub(super) names: &'static [&'static str],
    pub(super) metrics: Vec<proto::Metric>,
}

impl MetricSamples {
    /// Adds a value with these label values.
    pub(super) fn add(&mut self, labels: &[&str], value: f64) {
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
    pub(super) fn count(&mut self, labels: &[&str], value: u64) {
        self.add(labels, value as f64);
    }

    /// Adds a histogram with these label values.
    pub(super) fn times(&mut self, labels: &[&str], times: &Times) {
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
