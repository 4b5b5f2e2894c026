//! How a server leaves: no new connections, what is under way ends, idle connections are closed,
//! and nobody waits for a clock when there is nothing left to wait for.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, Instant};

/// So long after the newest connection was opened, connections that have no request under way are
/// closed. Until then each gets one more request answered, with `Connection: close`: a request
/// that crosses the closing of its connection would have to be sent again.
const LAST_CALL: Duration = Duration::from_secs(1);

/// How often it is looked whether all is done.
const LOOK: Duration = Duration::from_millis(5);

/// Where the server is in its life. Later stages are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Serving,
    /// Another process has the listening sockets; what still waits in them is its.
    HandedOver,
    /// Nobody else has them: what waits in them is taken before they are closed.
    Stopping,
}

/// What listeners, connections and the one who waits for their end share.
pub(super) struct Departure {
    stage: watch::Sender<Stage>,
    /// The framework's own word for it: answers close their connections once it is true.
    leaving: watch::Sender<bool>,
    /// Has seen nothing yet, so that copies of it tell of a departure that began before them.
    unaware: watch::Receiver<bool>,
    /// Turns true when connections without a request are to be closed.
    closing: watch::Sender<bool>,
    connections: AtomicUsize,
    /// Listeners that may still take connections.
    doors: AtomicUsize,
    /// Connections that are not ready for a request yet.
    opening: AtomicUsize,
    /// When the newest one was ready, in milliseconds since `begun`.
    newest: AtomicU64,
    begun: Instant,
}

impl Departure {
    pub(super) fn new() -> Arc<Self> {
        let (leaving, unaware) = watch::channel(false);
        Arc::new(Self {
            stage: watch::Sender::new(Stage::Serving),
            leaving,
            unaware,
            closing: watch::Sender::new(false),
            connections: AtomicUsize::new(0),
            doors: AtomicUsize::new(0),
            opening: AtomicUsize::new(0),
            newest: AtomicU64::new(0),
            begun: Instant::now(),
        })
    }

    /// For a listener: returns once it must not wait for connections any longer.
    pub(super) fn stage(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// For the framework's connections.
    pub(super) fn leaving(&self) -> watch::Receiver<bool> {
        self.unaware.clone()
    }

    /// Turns true once connections without a request are to be closed.
    pub(super) fn when_closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Returns once connections without a request are to be closed.
    pub(super) async fn closing(&self) {
        let mut closing = self.when_closing();
        // An error means that nobody is left to say anything.
        let _ = closing.wait_for(|closing| *closing).await;
    }

    /// A listener that is open until the guard goes.
    pub(super) fn door(self: &Arc<Self>) -> Door {
        self.doors.fetch_add(1, Ordering::AcqRel);
        Door(Arc::clone(self))
    }

    /// A connection that is open until the guard goes.
    pub(super) fn connection(self: &Arc<Self>) -> Connection {
        self.connections.fetch_add(1, Ordering::AcqRel);
        self.opening.fetch_add(1, Ordering::AcqRel);
        Connection {
            departure: Arc::clone(self),
            ready: false,
        }
    }

    /// Leaves, in `grace` at most. Besides connections, whatever `rest` counts is waited for.
    pub(super) async fn leave(&self, stage: Stage, grace: Duration, rest: impl Fn() -> usize) {
        let start = Instant::now();
        let end = start + grace;
        log::info!(
            "leaving: {} connections are open, {} requests to Segment accounts under way; at most \
             {} s",
            self.connections.load(Ordering::Acquire),
            rest(),
            grace.as_secs()
        );
        self.leaving.send_replace(true);
        self.stage.send_replace(stage);
        let here = |count: &AtomicUsize| count.load(Ordering::Acquire);
        while here(&self.doors) > 0 || here(&self.connections) > 0 || rest() > 0 {
            let now = Instant::now();
            if now >= end {
                log::warn!(
                    "server.grace is over: {} connections are cut, {} requests to Segment accounts \
                     given up",
                    here(&self.connections),
                    rest()
                );
                return;
            }
            let newest = self.begun + Duration::from_millis(self.newest.load(Ordering::Acquire));
            let called = here(&self.doors) == 0 && here(&self.opening) == 0;
            if called && now >= start.max(newest) + LAST_CALL {
                self.closing.send_replace(true);
            }
            sleep(LOOK).await;
        }
    }
}

/// A listener.
pub(super) struct Door(Arc<Departure>);

impl Drop for Door {
    fn drop(&mut self) {
        self.0.doors.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One connection of a client.
pub(super) struct Connection {
    departure: Arc<Departure>,
    ready: bool,
}

impl Connection {
    /// The handshakes are over: from now on it can bring requests.
    pub(super) fn ready(&mut self) {
        if !self.ready {
            self.ready = true;
            let age = self.departure.begun.elapsed().as_millis();
            let age = u64::try_from(age).unwrap_or(u64::MAX);
            self.departure.newest.fetch_max(age, Ordering::AcqRel);
            self.departure.opening.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.ready {
            self.departure.opening.fetch_sub(1, Ordering::AcqRel);
        }
        self.departure.connections.fetch_sub(1, Ordering::AcqRel);
    }
}
