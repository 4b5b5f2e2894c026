//! Histograms of durations.

use std::time::Duration;

use prometheus::core::Metric;
use prometheus::{proto, Histogram, HistogramOpts};

/// The upper bounds of the buckets for operations that wait for the network, in seconds.
const WAITING: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// The upper bounds of the buckets for computations, in seconds. A message takes about ten microseconds.
const COMPUTING: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05,
    0.25,
];

/// Counts durations in buckets. An observation takes no lock and allocates nothing: it is three
/// atomic additions.
#[derive(Debug, Clone)]
pub struct DurationHistogram(Option<Histogram>);

impl DurationHistogram {
    /// Creates a histogram for operations that wait for the network: 1 millisecond to 30 seconds.
    pub fn of_waiting() -> Self {
        Self::new(WAITING)
    }

    /// Creates a histogram for computations: 10 microseconds to 250 milliseconds.
    pub fn of_computing() -> Self {
        Self::new(COMPUTING)
    }

    fn new(bounds: &[f64]) -> Self {
        // This name is never shown: the table of metrics has the names. The constructor cannot fail,
        // because the bounds are in ascending order.
        let options = HistogramOpts::new("duration", "duration").buckets(bounds.to_vec());
        Self(Histogram::with_opts(options).ok())
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        if let Some(histogram) = &self.0 {
            histogram.observe(duration.as_secs_f64());
        }
    }

    /// Returns the counts so far.
    pub fn read(&self) -> Times {
        Times(
            self.0
                .as_ref()
                .map(|histogram| histogram.metric().get_histogram().clone()),
        )
    }
}

/// The counts of a [`DurationHistogram`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Times(Option<proto::Histogram>);

impl Times {
    /// Returns the number of durations.
    pub fn number(&self) -> u64 {
        self.0
            .as_ref()
            .map_or(0, proto::Histogram::get_sample_count)
    }

    pub(super) fn of_the_library(&self) -> Option<proto::Histogram> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_counted_in_its_bucket_from_as_many_threads_as_there_are() {
        for timing in [
            DurationHistogram::of_waiting(),
            DurationHistogram::of_computing(),
        ] {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for millis in 0..1_000 {
                            timing.observe(Duration::from_millis(millis));
                        }
                    });
                }
            });
            let times = timing.read();
            assert_eq!(times.number(), 4_000);
            let histogram = times.of_the_library().unwrap();
            for bucket in histogram.get_bucket() {
                let expected = (0..1_000).filter(|millis| {
                    Duration::from_millis(*millis).as_secs_f64() <= bucket.upper_bound()
                });
                let expected = 4 * expected.count() as u64;
                assert_eq!(bucket.cumulative_count(), expected, "{bucket:?}");
            }
        }
    }
}
