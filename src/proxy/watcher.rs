//! Sees every message of every request: counts it, reports refused ones, and shows it to an
//! observer if there is one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::admin::Admin;
use crate::rewrite::{Fate, Fault, Notice, Watch};

use super::gate::Gate;

/// Sees each message as it came and what became of it. Called while the request is worked on,
/// so it must be quick.
///
/// An event that is shown here may still fail to be delivered; the client then sends it again.
pub trait Observer: Send + Sync {
    /// One message: its bytes as they came, and the event it became or why it became none.
    fn message(&self, came: &[u8], fate: Fate<'_>);
}

/// How many messages there were since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that became events.
    pub events: u64,
    /// Messages that were left out on purpose.
    pub left_out: u64,
    /// Messages that were refused, by the code of the reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// What else was noticed of messages and bodies, by its code.
    pub notices: BTreeMap<&'static str, u64>,
    /// Requests that were answered with an invitation to try again.
    pub busy: u64,
    /// Bytes that all requests hold at the moment.
    pub held: usize,
}

/// The counters behind [`Counts`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    events: AtomicU64,
    left_out: AtomicU64,
    refused: Mutex<Tally>,
    notices: Mutex<Tally>,
    busy: AtomicU64,
}

impl Counters {
    pub(super) fn busy(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, held: usize) -> Counts {
        Counts {
            events: self.events.load(Ordering::Relaxed),
            left_out: self.left_out.load(Ordering::Relaxed),
            refused: list(&self.refused).clone(),
            notices: list(&self.notices).clone(),
            busy: self.busy.load(Ordering::Relaxed),
            held,
        }
    }
}

/// Counts by code.
type Tally = BTreeMap<&'static str, u64>;

/// The list is whole between any two statements, whatever became of a thread.
fn list(counts: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Watches one request.
pub(super) struct Watcher<'a> {
    pub(super) counters: &'a Counters,
    pub(super) gate: &'a Gate,
    pub(super) observer: Option<&'a Arc<dyn Observer>>,
    pub(super) admin: Option<&'a Arc<Admin>>,
    /// The project's name, for the log.
    pub(super) project: &'a str,
    /// Messages seen so far, and the last fault among them.
    pub(super) seen: usize,
    pub(super) fault: Option<Fault>,
}

impl Watch for Watcher<'_> {
    fn message(&mut self, index: usize, came: &[u8], fate: Fate<'_>) {
        self.seen += 1;
        match fate {
            Fate::Event(_) => {
                self.counters.events.fetch_add(1, Ordering::Relaxed);
            }
            Fate::LeftOut(_) => {
                self.counters.left_out.fetch_add(1, Ordering::Relaxed);
            }
            Fate::Refused(fault) => {
                self.fault = Some(fault);
                let code = fault.code();
                *list(&self.counters.refused).entry(code).or_default() += 1;
                if let Some(more) = self.gate.pass(self.project, code) {
                    log::warn!(
                        "project {}: message {index} of a request was refused: {code}{more}",
                        self.project
                    );
                }
            }
        }
        if let Some(admin) = self.admin {
            admin.message(came, fate);
        }
        if let Some(observer) = self.observer {
            observer.message(came, fate);
        }
    }

    /// Counts each, and says each kind once for a project. The name in it is the sender's, and so
    /// no matter for a log.
    fn notice(&mut self, notice: Notice<'_>) {
        let code = notice.code();
        *list(&self.counters.notices).entry(code).or_default() += 1;
        if self.gate.first(self.project, code) {
            log::warn!("project {}: {code}: {notice}", self.project);
        }
    }
}
