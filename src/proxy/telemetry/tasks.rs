//! The number of running tasks: one for each connection, and background tasks.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Handle, Id};

/// The runtimes of the services that run now. The framework creates one for each.
static RUNTIMES: Mutex<Vec<Handle>> = Mutex::new(Vec::new());

/// Counts the tasks of a runtime until it is dropped.
pub(crate) struct CountedRuntime(Id);

impl CountedRuntime {
    /// Counts the tasks of the runtime that this is called on.
    pub(crate) fn of_this_thread() -> Self {
        let handle = Handle::current();
        let id = handle.id();
        runtimes().push(handle);
        Self(id)
    }
}

impl Drop for CountedRuntime {
    fn drop(&mut self) {
        let mut runtimes = runtimes();
        let position = runtimes.iter().position(|handle| handle.id() == self.0);
        if let Some(position) = position {
            runtimes.swap_remove(position);
        }
    }
}

/// The number of tasks that are alive on all counted runtimes.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub(super) fn alive() -> u64 {
    let runtimes = runtimes();
    let tasks = runtimes
        .iter()
        .map(|handle| handle.metrics().num_alive_tasks() as u64);
    tasks.sum()
}

fn runtimes() -> MutexGuard<'static, Vec<Handle>> {
    RUNTIMES.lock().unwrap_or_else(PoisonError::into_inner)
}
