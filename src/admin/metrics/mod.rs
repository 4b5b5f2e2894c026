//! Metrics in Prometheus's text format (exposition format 0.0.4). One table contains the name, the meaning
//! and the source of the values of each metric; the reference page is generated from it too.

use prometheus::proto;
use prometheus::TextEncoder;

use super::state::ProxyState;

mod metric;
mod reference;
mod table;

use metric::MetricSamples;
pub use metric::{Metric, MetricKind};

pub use super::process::ProcessState;
pub use super::times::{DurationHistogram, Times};
pub use reference::reference;
pub use table::metrics;

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
