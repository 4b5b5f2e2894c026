//! Reloads of the configuration: keeps the settings that a reload cannot change, and counts the reloads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::admin::{ConfigRefusal, ConfigState};
use crate::config::Config;

/// Copies into `config` those settings of the active configuration that only a new process can change.
/// Returns the names of the settings that differed.
pub(crate) fn keep_fixed(config: &mut Config, running: &Config) -> Vec<&'static str> {
    let mut kept = Vec::new();
    let (new, current) = (&mut config.server, &running.server);
    keep_running(
        &mut new.threads,
        &current.threads,
        "server.threads",
        &mut kept,
    );
    let (socket, running_socket) = (&mut new.upgrade_socket, &current.upgrade_socket);
    keep_running(socket, running_socket, "server.upgrade_socket", &mut kept);
    let (new, current) = (&mut config.delivery, &running.delivery);
    keep_running(&mut new.spool, &current.spool, "delivery.spool", &mut kept);
    if current.spool.is_some() {
        // The time for which one process may hold drained events is computed from these.
        let (timeout, connect) = (&mut new.timeout, &mut new.connect_timeout);
        if *timeout > current.timeout {
            keep_running(timeout, &current.timeout, "delivery.timeout", &mut kept);
        }
        if *connect > current.connect_timeout {
            let name = "delivery.connect_timeout";
            keep_running(connect, &current.connect_timeout, name, &mut kept);
        }
    }
    if let (Some(new), Some(running)) = (&config.outline, &running.outline) {
        let in_force = new.as_ref().clone().keeping(&kept, running);
        config.outline = Some(Arc::new(in_force));
    }
    kept
}

fn keep_running<T: Clone + PartialEq>(
    new: &mut T,
    running: &T,
    name: &'static str,
    kept: &mut Vec<&'static str>,
) {
    if new != running {
        kept.push(name);
        running.clone_into(new);
    }
}

/// The numbers of applied and refused reloads, and the last refusal.
#[derive(Debug)]
pub(crate) struct Reloads {
    applied: AtomicU64,
    refused: AtomicU64,
    /// When the current configuration became active, in seconds since 1970.
    since: AtomicU64,
    last_refusal: StdMutex<Option<ConfigRefusal>>,
}

impl Default for Reloads {
    fn default() -> Self {
        Self {
            applied: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            since: AtomicU64::new(now()),
            last_refusal: StdMutex::default(),
        }
    }
}

impl Reloads {
    pub(crate) fn state(&self) -> ConfigState {
        let applied = self.applied.load(Ordering::Relaxed);
        let refusal = self.last_refusal.lock();
        ConfigState {
            generation: applied + 1,
            applied,
            refused: self.refused.load(Ordering::Relaxed),
            since: self.since.load(Ordering::Relaxed),
            last_refusal: refusal.unwrap_or_else(PoisonError::into_inner).clone(),
            outline: None,
        }
    }

    /// Records that a new configuration is active, and returns its number.
    pub(crate) fn apply(&self) -> u64 {
        self.since.store(now(), Ordering::Relaxed);
        self.remember(None);
        self.applied.fetch_add(1, Ordering::Relaxed) + 2
    }

    pub(crate) fn refuse(&self, reason: String) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.remember(Some(ConfigRefusal {
            at: now(),
            says: reason,
        }));
    }

    fn remember(&self, refusal: Option<ConfigRefusal>) {
        let mut last = self.last_refusal.lock();
        *last.as_deref_mut().unwrap_or(&mut None) = refusal;
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
