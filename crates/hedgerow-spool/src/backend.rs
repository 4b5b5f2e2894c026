//! The functions that the proxy and its commands need from a kind of spool.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::command::{CommandError, SpoolCommand};
use crate::error::SpoolError;
use crate::store::{Clock, Leadership, Store};

/// The limits that every kind of spool has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolLimits {
    /// The largest size of the spool in bytes, dead letters included.
    pub max_size: u64,
    /// The age at which an event or a dead letter is dropped and counted.
    pub max_age: Duration,
}

/// The facts that a spool needs about the proxy that opens it.
#[derive(Clone)]
pub struct Terms {
    /// The limits that the configuration sets.
    pub limits: SpoolLimits,
    /// The longest time that a delivery to PostHog can take: the sum of its timeouts.
    pub longest_delivery: Duration,
    /// The size of the largest event that can arrive, in bytes.
    pub largest_event: usize,
    /// The time of day.
    pub clock: Clock,
}

/// An open spool.
pub struct OpenedSpool {
    /// The spool.
    pub store: Arc<dyn Store>,
    /// The folder of the spool, if it is in one. Two processes that use one folder have to agree which of
    /// them drains it. The other kinds of spool agree by themselves, through [`Store::lead`].
    pub folder: Option<Arc<dyn SharedFolder>>,
}

/// A spool in a folder that several processes of one machine may use: a predecessor and its successor.
#[async_trait]
pub trait SharedFolder: Send + Sync {
    /// Returns the path of the folder.
    fn path(&self) -> &Path;

    /// Returns whether this process is the leader, which drains the spool. If no other process is the
    /// leader, this process becomes it.
    ///
    /// A follower must not stream, because it does not know which events the leader has just stored or is
    /// sending. It becomes the leader when the other process resigns or ends, and then has to
    /// [`reload`](Self::reload) before it streams.
    fn leadership(&self) -> Leadership;

    /// Notifies the leader that a follower exists.
    fn announce_follower(&self);

    /// Withdraws the notice of [`announce_follower`](Self::announce_follower).
    fn withdraw_follower(&self);

    /// Returns whether a follower uses this spool as well.
    fn has_follower(&self) -> bool;

    /// Tells the follower that the leader, this process, knows of it and only appends from now on.
    fn acknowledge_follower(&self);

    /// Withdraws the notice of [`acknowledge_follower`](Self::acknowledge_follower).
    fn resume_leading(&self);

    /// Returns whether the leader has acknowledged a follower and only appends.
    fn is_follower_known(&self) -> bool;

    /// Reads the waiting events from the file. Without this, the process sees another process's changes
    /// only up to a second later, and never sees its deliveries.
    async fn reload(&self);
}

/// The findings of `hedgerow doctor` about a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examination {
    /// The spool, or the part of it, that was examined.
    pub about: String,
    /// The result.
    pub found: SpoolHealth,
}

/// The health of a part of a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpoolHealth {
    /// The part works. The text describes it.
    Well(String),
    /// The health could not be determined.
    Unknown(SpoolTrouble),
    /// The spool will refuse events.
    Bad(SpoolTrouble),
}

/// A problem of a spool, and the advice for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolTrouble {
    /// The problem.
    pub what: String,
    /// The steps that an operator should take.
    pub advice: &'static str,
}

/// A spool that is not open yet, with the functions that the proxy and its commands call. Each kind of
/// spool implements this trait in its folder of this crate.
pub trait Backend: Send + Sync {
    /// Describes for people where the spool is. The text contains no login.
    fn describe(&self) -> String;

    /// Opens the spool. If its place cannot be used for now, this succeeds, and appends fail until the
    /// place can be used.
    ///
    /// # Errors
    /// An error with which a process should not start: the spool has a format that this version does not
    /// know, or a setting can never work.
    fn open(&self, terms: Terms) -> Result<OpenedSpool, SpoolError>;

    /// Checks whether [`open`](Self::open) would succeed and the spool would take events, as far as that is
    /// known without a connection. Changes nothing.
    ///
    /// # Errors
    /// The problem, if there is one. [`SpoolError::prevents_start`] returns whether it prevents a process
    /// from starting.
    fn check(&self) -> Result<(), SpoolError>;

    /// Runs a command and writes its answer as lines. Proxies may be running meanwhile.
    ///
    /// # Errors
    /// [`SpoolError::NoSuchDeadLetter`] if no dead letter has a given number (then nothing was changed),
    /// otherwise the error that made the command fail.
    fn run(
        &self,
        limits: SpoolLimits,
        command: &SpoolCommand,
        out: &mut dyn Write,
    ) -> Result<(), CommandError>;

    /// Examines the spool for an operator. `largest_event` is the size of the largest event that can
    /// arrive, in bytes. This may open a connection and block for seconds, so do not call it on a
    /// runtime's thread.
    fn examine(&self, limits: SpoolLimits, largest_event: usize) -> Vec<Examination>;

    /// Returns the folder of the spool, if it is in one.
    fn folder(&self) -> Option<&Path> {
        None
    }

    /// Returns the parts of the spool's login.
    fn secrets(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Returns the PEM file of certificate authorities that the settings name, and the server that the
    /// authorities are for.
    fn authorities(&self) -> Option<(&Path, String)> {
        None
    }

    /// Returns a warning if the configuration allows events of a size that the spool may not accept.
    /// `_largest` is the limit for an event, in bytes.
    fn warning_of_large_events(&self, _largest: usize) -> Option<Cow<'static, str>> {
        None
    }
}
