//! Sees every message of every request: counts it, reports refused ones, and shows it to an
//! observer if there is one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::admin::live::{FinalOutcome, Live, MessageOrigin};
use crate::admin::metrics::DurationHistogram;
use crate::delivery::Refusal;
use crate::rewrite::{Fault, MessageOutcome, Notice, Omission, Watch};

use crate::proxy::limits::log_limit::LogLimit;

/// Sees each original message and its outcome. It is called while the request is processed, so it
/// must be quick.
///
/// An event that is shown here may still fail to be delivered; the client then sends it again.
///
/// ```
/// use std::sync::Arc;
///
/// use hedgerow::{Config, Hedgerow, MessageOutcome, Observer};
///
/// struct Refused;
///
/// impl Observer for Refused {
///     fn message(&self, came: &[u8], fate: MessageOutcome<'_>) {
///         if let MessageOutcome::Refused(fault) = fate {
///             eprintln!("{} bytes became no event: {}", came.len(), fault.code());
///         }
///     }
/// }
///
/// fn hedgerow(config: Config) -> Result<Hedgerow, hedgerow::BuildError> {
///     Hedgerow::builder(config).watch(Arc::new(Refused)).build()
/// }
/// ```
pub trait Observer: Send + Sync {
    /// Receives one message: its original bytes, and the event that it became or the reason why it
    /// became none. If PostHog rejects the event later, the observer is called again, with the event's
    /// bytes in place of the message's.
    fn message(&self, came: &[u8], fate: MessageOutcome<'_>);
}

/// The numbers of messages since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that became events.
    pub events: u64,
    /// Messages that were left out on purpose.
    pub left_out: u64,
    /// Messages that were left out on purpose, by the code of the reason.
    pub left_out_for: BTreeMap<&'static str, u64>,
    /// Messages that were refused, by the code of the reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Other notices about messages and bodies, by code.
    pub notices: BTreeMap<&'static str, u64>,
    /// Requests whose clients were told to try again later.
    pub busy: u64,
    /// The bytes of memory that all requests hold now.
    pub held: usize,
}

/// The counters behind [`Counts`].
#[derive(Debug)]
pub(crate) struct EventCounters {
    events: AtomicU64,
    left_out: ReasonCounts,
    refused: ReasonCounts,
    notices: ReasonCounts,
    busy: AtomicU64,
    session_cookies: AtomicU64,
    rewriting: DurationHistogram,
}

impl Default for EventCounters {
    fn default() -> Self {
        Self {
            events: AtomicU64::new(0),
            left_out: ReasonCounts::default(),
            refused: ReasonCounts::default(),
            notices: ReasonCounts::default(),
            busy: AtomicU64::new(0),
            session_cookies: AtomicU64::new(0),
            rewriting: DurationHistogram::of_computing(),
        }
    }
}

/// The number of codes of one kind that are counted without a lock. There are fewer codes than this.
const CODES: usize = 32;

/// Counts messages by the code of a reason. Counting takes no lock: each code takes a place when it
/// is first counted, and keeps it.
#[derive(Debug)]
struct ReasonCounts {
    places: [(OnceLock<&'static str>, AtomicU64); CODES],
    /// The counts of codes for which no place was left.
    others: Mutex<BTreeMap<&'static str, u64>>,
}

impl Default for ReasonCounts {
    fn default() -> Self {
        Self {
            places: std::array::from_fn(|_| (OnceLock::new(), AtomicU64::new(0))),
            others: Mutex::default(),
        }
    }
}

impl ReasonCounts {
    fn count(&self, code: &'static str) {
        let place = self.places.iter().find(|(known, _)| {
            // If another thread sets the place first, its code is compared.
            *known.get_or_init(|| code) == code
        });
        match place {
            Some((_, number)) => {
                number.fetch_add(1, Ordering::Relaxed);
            }
            None => {
                let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
                *others.entry(code).or_default() += 1;
            }
        }
    }

    fn read(&self) -> BTreeMap<&'static str, u64> {
        let taken = self.places.iter().filter_map(|(code, number)| {
            let number = number.load(Ordering::Relaxed);
            Some((*code.get()?, number))
        });
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        taken.chain(others.clone()).collect()
    }
}

impl EventCounters {
    pub(crate) fn busy(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answer that sets the cookie of a visitor's session.
    pub(crate) fn session_cookie(&self) {
        self.session_cookies.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn session_cookies(&self) -> u64 {
        self.session_cookies.load(Ordering::Relaxed)
    }

    /// The durations of the rewriting of bodies.
    pub(crate) fn rewriting(&self) -> &DurationHistogram {
        &self.rewriting
    }

    pub(crate) fn read(&self, held: usize) -> Counts {
        let left_out_for = self.left_out.read();
        Counts {
            events: self.events.load(Ordering::Relaxed),
            left_out: left_out_for.values().sum(),
            left_out_for,
            refused: self.refused.read(),
            notices: self.notices.read(),
            busy: self.busy.load(Ordering::Relaxed),
            held,
        }
    }
}

/// Watches one request.
pub(crate) struct Watcher<'a> {
    pub(crate) counters: &'a EventCounters,
    pub(crate) log_limit: &'a LogLimit,
    pub(crate) observer: Option<&'a Arc<dyn Observer>>,
    pub(crate) live: Option<&'a Arc<Live>>,
    /// The route's name and the call, for the live view.
    pub(crate) route: &'a str,
    pub(crate) call: &'static str,
    /// The origins of the events' properties, by the number of the message. Filled while the live
    /// view is open.
    pub(crate) explanations: Vec<(usize, Vec<u8>)>,
    /// The project's name, for the log.
    pub(crate) project: &'a str,
    /// The number of messages so far.
    pub(crate) seen: usize,
    /// The last fault among them.
    pub(crate) fault: Option<Fault>,
    /// The entries of the live view without a final outcome, while the page is open.
    pub(crate) open: Vec<u64>,
}

/// The number of entries whose outcome is awaited. The live view stores no more of them, so the
/// outcome of any others could not be shown.
const OPEN: usize = 4000;

impl Watcher<'_> {
    /// Shows in the live view the outcome of the events since the last call.
    pub(crate) fn settle(&mut self, outcome: &FinalOutcome) {
        if let Some(live) = self.live.filter(|_| !self.open.is_empty()) {
            live.settle(&self.open, outcome);
            self.open.clear();
        }
    }

    /// Counts and reports an event that was sent and that PostHog rejects for good. The live view
    /// shows the event, because its message has been freed.
    pub(crate) fn rejected_event(&mut self, event: &[u8], refusal: &Refusal) {
        let fault = Fault::RefusedByPostHog;
        self.counters.refused.count(fault.code());
        if let Some(more) = self.log_limit.pass(self.project, fault.code()) {
            log::error!(
                "project {}: PostHog refuses an event for good ({}: {}); Hedgerow drops it. The other \
                 events of its batch have arrived. The live view shows the event{more}",
                self.project,
                refusal.status,
                refusal.for_log()
            );
        }
        if let Some(live) = self.live {
            live.refused_by_posthog(self.project, event, refusal);
        }
        if let Some(observer) = self.observer {
            observer.message(event, MessageOutcome::Refused(fault));
        }
    }

    fn show(&mut self, index: usize, came: &[u8], fate: MessageOutcome<'_>) {
        if let Some(live) = self.live {
            let origin = MessageOrigin {
                project: self.project,
                route: self.route,
                call: self.call,
            };
            let is_of_message = |(number, _): &(usize, Vec<u8>)| *number == index;
            let position = self.explanations.iter().rposition(is_of_message);
            let explanation = position.map(|position| self.explanations.swap_remove(position).1);
            if let Some(number) = live.message(origin, came, fate, explanation.as_deref()) {
                if self.open.len() >= OPEN {
                    self.open.remove(0);
                }
                self.open.push(number);
            }
        }
        if let Some(observer) = self.observer {
            observer.message(came, fate);
        }
    }
}

impl Watch for Watcher<'_> {
    fn message(&mut self, index: usize, came: &[u8], fate: MessageOutcome<'_>) {
        self.seen += 1;
        match fate {
            MessageOutcome::Event(_) => {
                self.counters.events.fetch_add(1, Ordering::Relaxed);
            }
            MessageOutcome::LeftOut(omission) => {
                self.counters.left_out.count(omission.code());
                if omission == Omission::Integrations
                    && self.log_limit.first(self.project, omission.code())
                {
                    log::warn!(
                        "project {}: `integrations` of messages (`All: false`, or `PostHog: false`) exclude PostHog, \
                         so Hedgerow drops these messages, and their clients get 200. To send such messages too, set \
                         `mapping.integrations: ignore`. This line appears once",
                        self.project
                    );
                }
            }
            MessageOutcome::Refused(fault) => {
                self.fault = Some(fault);
                let code = fault.code();
                self.counters.refused.count(code);
                if let Some(more) = self.log_limit.pass(self.project, code) {
                    log::warn!(
                        "project {}: message {} of a request was refused: {code}{more}",
                        self.project,
                        index + 1
                    );
                }
            }
        }
        self.show(index, came, fate);
    }

    fn explained(&mut self, index: usize, explanation: &[u8]) {
        // If the messages of a batch are discarded and rewritten, they are explained again.
        self.explanations.retain(|(number, _)| *number != index);
        self.explanations.push((index, explanation.to_vec()));
    }

    /// Counts each notice, and logs each kind once for a project. The text of a notice leaves out
    /// the names that the sender chose, so that they do not reach the log.
    fn notice(&mut self, notice: Notice<'_>) {
        let code = notice.code();
        self.counters.notices.count(code);
        if self.log_limit.first(self.project, code) {
            log::warn!("project {}: {code}: {notice}", self.project);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_codes_than_places_are_counted_all_the_same() {
        let reasons = ReasonCounts::default();
        let codes: Vec<&'static str> = (0..CODES + 3)
            .map(|number| &*format!("code {number}").leak())
            .collect();
        for code in codes.iter().chain(&codes) {
            reasons.count(code);
        }
        let expected: BTreeMap<&str, u64> = codes.into_iter().map(|code| (code, 2)).collect();
        assert_eq!(reasons.read(), expected);
    }

    #[test]
    fn each_code_is_counted_from_many_threads_at_once() {
        const ALL: [&str; 5] = ["a", "b", "c", "d", "e"];
        let reasons = ReasonCounts::default();
        assert!(reasons.read().is_empty());
        std::thread::scope(|scope| {
            for start in 0..4 {
                let reasons = &reasons;
                scope.spawn(move || {
                    for number in 0..1_000 {
                        reasons.count(ALL[(start + number) % ALL.len()]);
                    }
                });
            }
        });
        let expected: BTreeMap<&str, u64> = ALL.into_iter().map(|code| (code, 800)).collect();
        assert_eq!(reasons.read(), expected);
    }
}
