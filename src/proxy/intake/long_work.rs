//! Permits for long work on one body, so that it does not delay other requests.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::OnceLock;
use std::thread::available_parallelism;

use tokio::runtime::{Handle, RuntimeFlavor};

/// Work on a held body of more than this many bytes needs a permit: the rewriting of 128 KiB takes
/// a millisecond or two at worst.
pub(crate) const LONG: usize = 128 * 1024;

/// The number of permits that are in use.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// Whether the system could not start a thread at the last attempt, which is logged once and not at
/// each attempt.
static LOGGED: AtomicBool = AtomicBool::new(false);

/// The permit to occupy a thread while a body is rewritten; another thread takes over the requests
/// of this one. There are as many permits as processors, so that many large bodies at once cannot
/// take more threads from other requests. Without a permit the work is done in steps, and other
/// requests run in between.
#[derive(Debug)]
pub(crate) struct LongWorkPermit(());

impl LongWorkPermit {
    /// Returns a free permit; `None` if all are in use, if the runtime has only one thread, or if
    /// the system starts no thread.
    pub(crate) fn take() -> Option<Self> {
        static PERMITS: OnceLock<usize> = OnceLock::new();
        let permits = *PERMITS.get_or_init(|| available_parallelism().map_or(1, usize::from));
        let runtime = Handle::try_current().ok()?;
        if runtime.runtime_flavor() != RuntimeFlavor::MultiThread {
            return None;
        }
        let free = |taken: usize| (taken < permits).then_some(taken + 1);
        let taken = TAKEN.fetch_update(Ordering::AcqRel, Ordering::Acquire, free);
        // Not `then_some`: a permit that is created and dropped at once would release another one.
        let permit = taken.is_ok().then(|| Self(()))?;
        starts_threads().then_some(permit)
    }

    /// Does the work, and then releases the permit.
    pub(crate) fn work<R>(self, work: impl FnOnce() -> R) -> R {
        tokio::task::block_in_place(work)
    }
}

/// Whether the system can start a thread now. `block_in_place` needs a thread that takes over the
/// other requests, and panics if none can be started (tokio 1.54). To start a thread takes a
/// hundredth of the time of long work.
fn starts_threads() -> bool {
    let started = std::thread::Builder::new()
        .name("long-work".to_owned())
        .spawn(|| ());
    let before = LOGGED.swap(started.is_err(), Ordering::Relaxed);
    if let (Err(error), false) = (&started, before) {
        log::warn!(
            "the system starts no more threads for this process ({error}): raise `ulimit -u`, or the limit \
             of the container. Until then, large bodies delay other requests"
        );
    }
    started.is_ok()
}

impl Drop for LongWorkPermit {
    fn drop(&mut self) {
        TAKEN.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_permits_as_processors_and_one_thread_has_none() {
        let one = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        one.block_on(async { assert!(LongWorkPermit::take().is_none()) });
        let mut several = tokio::runtime::Builder::new_multi_thread();
        let several = several.worker_threads(2).build().unwrap();
        let done = several.block_on(several.spawn(async {
            let processors = available_parallelism().map_or(1, usize::from);
            let mut permits: Vec<LongWorkPermit> = std::iter::from_fn(LongWorkPermit::take)
                .take(processors + 1)
                .collect();
            assert!(permits.len() <= processors, "{}", permits.len());
            let permit = permits.pop();
            // Other tasks run while it is used.
            let (sender, receiver) = std::sync::mpsc::channel();
            tokio::spawn(async move { sender.send(()) });
            permit.is_none_or(|permit| permit.work(|| receiver.recv().is_ok()))
        }));
        assert!(done.unwrap());
        // Permits are released; other tests may hold them for a moment.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while several.block_on(async { LongWorkPermit::take() }).is_none() {
            assert!(std::time::Instant::now() < until, "no permit is given back");
        }
    }
}
