//! The table of all metrics, with one file for each subject.

use super::metric::Metric;

mod posthog;
mod process;
mod requests;
mod spool;

/// Returns all metrics in the order in which they are shown.
pub fn metrics() -> impl Iterator<Item = &'static Metric> {
    let subjects = [
        requests::METRICS,
        posthog::METRICS,
        spool::METRICS,
        process::METRICS,
    ];
    subjects.into_iter().flatten()
}
