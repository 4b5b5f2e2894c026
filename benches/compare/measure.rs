//! One slice of the comparison: load for a fixed time, the CPU time of the process, and a check of
//! everything that arrived.

use std::sync::Arc;
use std::time::Duration;

use crate::load::{self, Outcome, Pace, Target};
use crate::process::Process;
use crate::sink::Sink;
use crate::verify::{self, Carries};
use crate::work::Template;

/// The measurements of one subject with one load, over all rounds.
#[derive(Debug, Default)]
pub struct Sum {
    pub requests: usize,
    pub events: usize,
    /// Requests that the stand-in for PostHog accepted.
    pub upstream: usize,
    /// The measured duration of the load, with the wait for the last answers.
    pub time: Duration,
    /// CPU time of a request in each round, in microseconds.
    costs: Vec<f64>,
    latencies: Vec<Duration>,
    pub mistakes: Vec<String>,
}

impl Sum {
    /// CPU time of a request: the median of the rounds, in microseconds.
    pub fn cost(&self) -> f64 {
        median(&self.costs)
    }

    /// CPU time of an event, in microseconds.
    pub fn cost_of_event(&self) -> f64 {
        self.cost() * self.requests as f64 / self.events as f64
    }

    /// The ratio of this cost to another: the median of the rounds' ratios.
    pub fn ratio(&self, other: &Self) -> f64 {
        let ratios = self.costs.iter().zip(&other.costs);
        median(&ratios.map(|(one, other)| one / other).collect::<Vec<_>>())
    }

    /// The latency below which so many of a hundred requests stayed.
    pub fn percentile(&self, percent: f64) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        let at = (last as f64 * percent / 100.0).round() as usize;
        sorted.get(at).copied().unwrap_or_default()
    }

    pub fn events_per_second(&self) -> f64 {
        self.events as f64 / self.time.as_secs_f64()
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[length / 2],
        length => (values[length / 2 - 1] + values[length / 2]) / 2.0,
    }
}

/// The load of a slice.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub purpose: Purpose,
    pub pace: Pace,
    pub connections: usize,
    pub length: Duration,
}

/// What a slice is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Opens the connections and warms up the code. Only its mistakes count.
    WarmUp,
    Measurement,
}

/// Sends the load of one slice and adds the result to the sum.
pub fn slice(
    sum: &mut Sum,
    process: &Process,
    target: &Target,
    carries: Carries,
    template: &Arc<Template>,
    load: Load,
    sink: &Sink,
) {
    let before = process.cpu();
    let Load {
        purpose,
        pace,
        connections,
        length,
    } = load;
    let outcome = load::run(target, template, pace, connections, length);
    let spent = process.cpu().since(before);
    let arrived = sink.take();
    let Outcome {
        latencies,
        sent,
        failures,
        time,
    } = outcome;
    let verdict = verify::look(carries, template, &sent, &arrived);
    let name = process.name;
    let mistakes = failures.into_iter().chain(verdict.mistakes);
    sum.mistakes
        .extend(mistakes.map(|mistake| format!("{name}, {purpose:?}: {mistake}")));
    if purpose == Purpose::WarmUp {
        return;
    }
    sum.costs
        .push(spent.as_secs_f64() * 1e6 / sent.len().max(1) as f64);
    sum.requests += sent.len();
    sum.events += sent.len() * template.size.events();
    sum.upstream += verdict.requests;
    sum.time += time;
    sum.latencies.extend(latencies);
}
