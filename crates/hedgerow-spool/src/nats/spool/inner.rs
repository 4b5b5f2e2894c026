//! The state that the clones of a spool share, and what its tasks know of the servers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tokio::sync::Mutex;

use crate::error::SpoolError;
use crate::store::{Counters, Gauges};

use super::connection::NatsConnection;
use super::faults::{self, remote};
use super::limits::{event_in, AFTER_FAILED_APPEND};
use super::project_queue::ProjectQueue;
use super::settings::NatsSettings;
use super::streams::{self, Streams};
use super::trouble::Outlook;

/// What the clones of a spool share.
pub(super) struct NatsSpoolInner {
    pub(super) connection: NatsConnection,
    pub(super) settings: NatsSettings,
    pub(super) streams: Mutex<Option<Arc<Streams>>>,
    /// When the stream of waiting events was created, as this process last read it.
    pub(super) created: std::sync::Mutex<Option<streams::Created>>,
    pub(super) queues: std::sync::Mutex<HashMap<String, Arc<Mutex<ProjectQueue>>>>,
    /// The number of the latest message that this process published, by project.
    pub(super) last_published: std::sync::Mutex<HashMap<String, i64>>,
    pub(super) gauges: Gauges,
    pub(super) counters: Counters,
    /// The number up to which messages have been dropped because they were too old.
    pub(super) expired: AtomicI64,
    /// `false` once a lasting error has kept this process from storing the age of the events.
    pub(super) age_is_shared: AtomicBool,
    /// Why the spool cannot be used, according to the most recent checks; `None` if it can be used.
    pub(super) unusable: std::sync::Mutex<Option<String>>,
    /// When and why an append last failed; `None` after an append has succeeded.
    pub(super) failed_append: std::sync::Mutex<Option<(Instant, String)>>,
}

impl NatsSpoolInner {
    pub(super) async fn streams(&self) -> Result<Arc<Streams>, SpoolError> {
        self.connection.present()?;
        let mut streams = self.streams.lock().await;
        if let Some(streams) = &*streams {
            return Ok(Arc::clone(streams));
        }
        // If the login may not receive the servers' answers, every request would end with a timeout.
        if let Some(denied) = self.connection.denials().of_answers() {
            return Err(remote("find its streams", denied));
        }
        let opened = Arc::new(Streams::open(&self.connection, &self.settings).await?);
        *streams = Some(Arc::clone(&opened));
        let current = streams::created(&opened.waiting);
        let mut created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
        if created
            .replace(current.clone())
            .is_some_and(|before| before != current)
        {
            log::error!("the spool's stream was deleted, and with it the waiting events");
            // The new stream numbers its messages from the start.
            let mut last_published = self
                .last_published
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            last_published.clear();
        }
        Ok(opened)
    }

    /// After an error of the streams, forgets them, so that the next operation finds or creates them again:
    /// any of them may have been deleted. A recent denial replaces the error, as it is probably the cause.
    pub(super) async fn recheck<T>(&self, result: Result<T, SpoolError>) -> Result<T, SpoolError> {
        let Err(SpoolError::Remote { doing, source }) = result else {
            return result;
        };
        self.forget_streams().await;
        // The servers do not answer a forbidden operation.
        match self.connection.denials().recent() {
            Some(denied) => Err(remote(doing, denied)),
            None => Err(SpoolError::Remote { doing, source }),
        }
    }

    /// Returns whether waiting may help after this error.
    pub(super) fn outlook(&self, error: &SpoolError) -> Outlook {
        match error {
            SpoolError::Away(_) => self.connection.outlook(),
            error => faults::outlook(error),
        }
    }

    /// Records the result of an append.
    pub(super) fn note(&self, appended: &Result<(), SpoolError>) {
        let mut failed_append = self
            .failed_append
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match appended {
            Ok(()) => *failed_append = None,
            // This error concerns one message only. Other appends may succeed.
            Err(SpoolError::TooLarge { .. }) => {}
            Err(error) => *failed_append = Some((Instant::now(), error.to_string())),
        }
    }

    /// Returns why an append failed within the last [`AFTER_FAILED_APPEND`], if one did.
    pub(super) fn refuses(&self) -> Option<String> {
        let failed_append = self
            .failed_append
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let recent_failure = failed_append
            .as_ref()
            .filter(|(at, _)| at.elapsed() < AFTER_FAILED_APPEND);
        recent_failure.map(|(_, error)| error.clone())
    }

    /// Returns why the spool accepts no events, if it accepts none.
    pub(super) fn trouble(&self) -> Option<String> {
        let unusable = self.unusable.lock().unwrap_or_else(PoisonError::into_inner);
        unusable.clone().or_else(|| self.refuses())
    }

    pub(super) async fn forget_streams(&self) {
        *self.streams.lock().await = None;
    }

    /// Returns the size of the largest event that fits into a message. Returns `None` until a server
    /// has answered.
    pub(super) async fn largest_event(&self) -> Option<usize> {
        let servers = Some(self.connection.client.server_info().max_payload);
        let servers = servers.filter(|limit| *limit > 0);
        let streams = self.streams.lock().await;
        let stream = streams
            .as_ref()
            .and_then(|streams| streams.largest_message());
        servers.into_iter().chain(stream).min().map(event_in)
    }

    pub(super) fn leads(&self, project: &str) -> bool {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        // If the queue is locked, this process is draining the project.
        queues
            .get(project)
            .is_some_and(|queue| queue.try_lock().map_or(true, |queue| queue.leads()))
    }
}
