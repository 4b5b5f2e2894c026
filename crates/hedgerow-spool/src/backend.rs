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

/// The bounds of a spool, of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolLimits {
    /// Bytes that it may hold, dead letters included.
    pub max_size: u64,
    /// How long an event or a dead letter is kept before it is dropped and counted.
    pub max_age: Duration,
}

/// The facts that a spool needs about the proxy that opens it.
#[derive(Clone)]
pub struct Terms {
    /// The bounds that the configuration sets.
    pub limits: SpoolLimits,
    /// The longest time that a delivery to PostHog takes, its timeouts added up.
    pub longest_delivery: Duration,
    /// The largest event that may come, in bytes.
    pub largest_event: usize,
    /// The time of day.
    pub clock: Clock,
}

/// An open spool.
pub struct OpenedSpool {
    /// The spool.
    pub store: Arc<dyn Store>,
    /// Its folder, if it is in one: two processes on it have to agree which of them drains it. The other
    /// kinds agree by themselves, through [`Store::lead`].
    pub folder: Option<Arc<dyn SharedFolder>>,
}

/// A spool in a folder that several processes of one machine may use: a predecessor and its successor.
#[async_trait]
pub trait SharedFolder: Send + Sync {
    /// The folder.
    fn path(&self) -> &Path;

    /// Whether this process leads: drains the spool. It does from now on if no other process does.
    ///
    /// A follower must not stream: it does not know which events the leader has just stored or is
    /// sending. It becomes the leader when the other one resigns or ends, and then has to
    /// [`reload`](Self::reload) before it streams.
    fn leadership(&self) -> Leadership;

    /// Notifies the leader that a follower exists.
    fn announce_follower(&self);

    /// Takes that back.
    fn withdraw_follower(&self);

    /// Whether a follower uses this spool as well.
    fn has_follower(&self) -> bool;

    /// Tells the follower that this process knows of it, and only appends from now on.
    fn acknowledge_follower(&self);

    /// Takes that back.
    fn resume_leading(&self);

    /// Whether the leader knows of a follower, and only appends.
    fn is_follower_known(&self) -> bool;

    /// Reads the waiting events from the file. Otherwise this process sees the changes of another
    /// process within a second, and its deliveries not at all.
    async fn reload(&self);
}

/// The findings of `hedgerow doctor` about a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examination {
    /// Which spool it is about.
    pub about: String,
    /// How it is.
    pub found: SpoolHealth,
}

/// How a part of a spool is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpoolHealth {
    /// As it should be.
    Well(String),
    /// It could not be determined.
    Unknown(SpoolTrouble),
    /// Events will be refused.
    Bad(SpoolTrouble),
}

/// The problem of a spool, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolTrouble {
    /// The problem.
    pub what: String,
    /// What to do.
    pub advice: &'static str,
}

/// A spool that is not open yet: all that the proxy and its commands ask of it. Each kind has its own, in
/// its folder of this crate.
pub trait Backend: Send + Sync {
    /// Where the spool is, for people; no login.
    fn describe(&self) -> String;

    /// Opens it. A place that cannot be used for now is no error: appends are, until it can.
    ///
    /// # Errors
    /// Those with which a process should not start: a format that this version does not know, a setting
    /// that can never work.
    fn open(&self, terms: Terms) -> Result<OpenedSpool, SpoolError>;

    /// Whether [`open`](Self::open) would succeed and the spool take events, as far as that can be seen
    /// without a connection. Changes nothing.
    ///
    /// # Errors
    /// The problem, if there is one; [`SpoolError::prevents_start`] says whether a process would
    /// start with it.
    fn check(&self) -> Result<(), SpoolError>;

    /// Carries out a command, while proxies may be running, and writes the answer as lines.
    ///
    /// # Errors
    /// [`SpoolError::NoSuchDeadLetter`] for a number that no dead letter has (then nothing has been
    /// changed), else what kept the command from being carried out.
    fn run(
        &self,
        limits: SpoolLimits,
        command: &SpoolCommand,
        out: &mut dyn Write,
    ) -> Result<(), CommandError>;

    /// Looks at the spool for an operator, with the largest event in bytes that may come. May open a
    /// connection and wait for seconds: not to be called on a runtime's thread.
    fn examine(&self, limits: SpoolLimits, largest_event: usize) -> Vec<Examination>;

    /// The folder that the spool is in, if it is in one.
    fn folder(&self) -> Option<&Path> {
        None
    }

    /// The parts of its login.
    fn secrets(&self) -> Vec<&str> {
        Vec::new()
    }

    /// A PEM file of authorities that it names, and the server that they are for.
    fn authorities(&self) -> Option<(&Path, String)> {
        None
    }

    /// The warning for a configuration that allows events of this size.
    fn warning_of_large_events(&self, _largest: usize) -> Option<Cow<'static, str>> {
        None
    }
}
