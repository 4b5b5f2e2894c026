//! Stores the last hour in samples of ten seconds, and the recent rejections. Samples are taken even if no
//! page is open, so that a page that is opened later can show them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{json, Value};

use super::state::ProxyState;

/// Seconds between two samples.
pub const EVERY: u64 = 10;

/// The maximum number of samples: one hour.
const KEPT: usize = 360;

/// The number of samples for recent rejections: five minutes.
const LATELY: usize = 30;

/// The upper bounds of the classes in which response times are counted, in milliseconds.
const CLASSES: [u64; 20] = [
    1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200, 300, 500, 800, 1200, 2000, 3000, 5000, 10_000,
];

/// Response times, counted in classes. To record one costs an addition.
#[derive(Debug, Default)]
struct Latencies([AtomicU64; CLASSES.len() + 1]);

impl Latencies {
    fn note(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let class = CLASSES.partition_point(|bound| *bound <= millis);
        if let Some(count) = self.0.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the counts since the last sample and resets them.
    fn take(&self) -> Vec<u64> {
        let counts = self.0.iter();
        counts
            .map(|count| count.swap(0, Ordering::Relaxed))
            .collect()
    }
}

/// Returns the upper bound, in milliseconds, of the class that contains this quantile, at most the last
/// bound. Returns `None` if there were no answers.
fn quantile(counts: &[u64], share: f64) -> Option<u64> {
    let all: u64 = counts.iter().sum();
    let needed = (all as f64 * share).ceil() as u64;
    let mut seen = 0;
    let class = counts.iter().position(|count| {
        seen += count;
        seen >= needed
    });
    let longest = CLASSES.last().copied().unwrap_or_default();
    class
        .filter(|_| all > 0)
        .map(|class| CLASSES.get(class).copied().unwrap_or(longest))
}

/// The data of ten seconds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Sample {
    /// The end of the sample, in seconds since 1970.
    at: i64,
    events: u64,
    median: Option<u64>,
    slow: Option<u64>,
    refused: BTreeMap<String, u64>,
}

/// The counts at the end of the last sample.
#[derive(Debug, Default)]
struct Totals {
    events: u64,
    refused: BTreeMap<String, u64>,
}

impl Totals {
    fn of(state: &ProxyState) -> Self {
        let messages = state.refused.iter();
        let messages = messages.map(|(code, number)| ((*code).to_owned(), *number));
        let requests = state
            .requests
            .iter()
            .filter(|one| one.answered.is_refusal());
        let requests = requests.map(|one| {
            let label = format!("{} {}", one.answered.status(), one.answered.code());
            (label, one.number)
        });
        let mut refused = BTreeMap::new();
        for (label, number) in messages.chain(requests) {
            *refused.entry(label).or_default() += number;
        }
        Self {
            events: state.events,
            refused,
        }
    }
}

/// The samples.
#[derive(Debug, Default)]
pub(super) struct SampleHistory {
    latencies: Latencies,
    buffer: Mutex<SampleBuffer>,
}

#[derive(Debug, Default)]
struct SampleBuffer {
    before: Option<Totals>,
    samples: VecDeque<Sample>,
    /// For each project with waiting events, the time since when events wait, in seconds since 1970.
    waiting_since: BTreeMap<String, i64>,
}

impl SampleHistory {
    /// Records how long a request took until its answer.
    pub(super) fn observe(&self, duration: Duration) {
        self.latencies.note(duration);
    }

    /// Ends a sample and begins the next one. The first call only begins the first sample.
    pub(super) fn sample(&self, state: &ProxyState, now: i64) {
        let totals = Totals::of(state);
        let counts = self.latencies.take();
        let mut buffer = self.buffer();
        if let Some(before) = buffer.before.take() {
            let refused = totals.refused.iter().filter_map(|(label, number)| {
                let known = before.refused.get(label).copied().unwrap_or_default();
                let more = number.saturating_sub(known);
                (more > 0).then(|| (label.clone(), more))
            });
            let sample = Sample {
                at: now,
                events: totals.events.saturating_sub(before.events),
                median: quantile(&counts, 0.5),
                slow: quantile(&counts, 0.95),
                refused: refused.collect(),
            };
            buffer.samples.push_back(sample);
            if buffer.samples.len() > KEPT {
                buffer.samples.pop_front();
            }
        }
        buffer.before = Some(totals);
        buffer.note_waiting(state, now);
    }

    /// Returns, for each project with waiting events, how long events have waited without a break, in
    /// seconds.
    pub(super) fn waiting_for(&self, state: &ProxyState, now: i64) -> BTreeMap<String, i64> {
        let mut buffer = self.buffer();
        buffer.note_waiting(state, now);
        let since = buffer.waiting_since.iter();
        since
            .map(|(project, since)| (project.clone(), now.saturating_sub(*since).max(0)))
            .collect()
    }

    /// Returns the samples of the last hour, for the plots.
    pub(super) fn hour(&self) -> Value {
        let buffer = self.buffer();
        let all = |value: &dyn Fn(&Sample) -> Value| buffer.samples.iter().map(value).collect();
        let (at, events): (Value, Value) = (
            all(&|sample| json!(sample.at)),
            all(&|sample| json!(sample.events as f64 / EVERY as f64)),
        );
        let (median, slow): (Value, Value) = (
            all(&|sample| json!(sample.median)),
            all(&|sample| json!(sample.slow)),
        );
        json!({"every": EVERY, "at": at, "events": events, "median": median, "slow": slow})
    }

    /// Returns the rejections of the last five minutes and since the last sample, by code, the most
    /// frequent first.
    pub(super) fn refused_lately(&self, state: &ProxyState) -> Value {
        let now = Totals::of(state);
        let buffer = self.buffer();
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for sample in buffer.samples.iter().rev().take(LATELY) {
            for (label, number) in &sample.refused {
                *sums.entry(label).or_default() += number;
            }
        }
        let before = buffer.before.as_ref();
        for (label, number) in &now.refused {
            let known = before.and_then(|before| before.refused.get(label).copied());
            let more = number.saturating_sub(known.unwrap_or_default());
            if more > 0 {
                *sums.entry(label).or_default() += more;
            }
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by_key(|(label, number)| (u64::MAX - number, *label));
        let named = sums
            .iter()
            .map(|(label, number)| json!({"code": label, "number": number}));
        named.collect()
    }

    fn buffer(&self) -> MutexGuard<'_, SampleBuffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SampleBuffer {
    fn note_waiting(&mut self, state: &ProxyState, now: i64) {
        for project in &state.projects {
            if project.waiting == 0 {
                self.waiting_since.remove(&project.name);
            } else {
                let since = self.waiting_since.entry(project.name.clone());
                since.or_insert(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{BatchAnswers, PostHogCondition, ProjectState};

    fn state(events: u64, refused: u64, waiting: u64) -> ProxyState {
        ProxyState {
            events,
            refused: [("missing_event", refused)].into(),
            projects: vec![ProjectState {
                waiting,
                ..ProjectState::new("shop", PostHogCondition::Available, BatchAnswers::default())
            }],
            ..ProxyState::default()
        }
    }

    #[test]
    fn an_hour_is_kept_as_rates_and_five_minutes_of_refusals() {
        let samples = SampleHistory::default();
        for number in 0..400 {
            samples.observe(Duration::from_millis(4));
            samples.sample(&state(number * 50, number, 0), number as i64 * 10);
        }
        let hour = samples.hour();
        assert_eq!(hour["events"].as_array().unwrap().len(), KEPT);
        assert_eq!(hour["events"][7], 5.0);
        assert_eq!(hour["median"][7], 5);
        assert_eq!(hour["at"][KEPT - 1], 3990);
        // Thirty samples with one rejection each, and two rejections since the last sample.
        let lately = samples.refused_lately(&state(0, 401, 0));
        assert_eq!(lately, json!([{"code": "missing_event", "number": 32}]));
    }

    #[test]
    fn the_first_rejections_are_shown_before_the_first_sample_ends() {
        let samples = SampleHistory::default();
        let lately = samples.refused_lately(&state(0, 3, 0));
        assert_eq!(lately, json!([{"code": "missing_event", "number": 3}]));
    }

    #[test]
    fn the_waiting_time_restarts_when_the_spool_was_empty() {
        let samples = SampleHistory::default();
        let waits = |waiting, now| {
            let waiting = samples.waiting_for(&state(0, 0, waiting), now);
            waiting.get("shop").copied()
        };
        assert_eq!(waits(0, 100), None);
        assert_eq!(waits(3, 110), Some(0));
        samples.sample(&state(0, 0, 2), 120);
        assert_eq!(waits(1, 150), Some(40));
        assert_eq!(waits(0, 160), None);
        assert_eq!(waits(5, 170), Some(0));
    }

    #[test]
    fn a_quantile_is_the_bound_that_so_many_keep() {
        let latencies = Latencies::default();
        assert_eq!(quantile(&latencies.take(), 0.5), None);
        for millis in [0, 0, 0, 4, 4, 4, 4, 4, 90, 60_000] {
            latencies.note(Duration::from_millis(millis));
        }
        let counts = latencies.take();
        assert_eq!(quantile(&counts, 0.5), Some(5));
        assert_eq!(quantile(&counts, 0.9), Some(120));
        assert_eq!(quantile(&counts, 1.0), Some(10_000));
    }
}
