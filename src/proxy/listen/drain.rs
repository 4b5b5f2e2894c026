//! How a server leaves, or closes one of its listeners: no new connections, what is under way ends,
//! idle connections are closed, and no fixed time is waited for when there is nothing left to wait for.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
pub(crate) enum Stage {
    Serving,
    /// Another process has the listening sockets; what still waits in them is its.
    HandedOver,
    /// No other process has them: what waits in them is taken before they are closed.
    Stopping,
}

/// What the listeners of a server and the one who waits for their end share.
pub(crate) struct Drain {
    listeners: Mutex<Vec<Arc<ListenerConnections>>>,
    /// Turns true when connections without a request are to be closed everywhere.
    closing: watch::Sender<bool>,
}

/// A listener, and the connections that came in there.
pub(crate) struct ListenerConnections {
    stage: watch::Sender<Stage>,
    /// The framework's own word for it: answers close their connections once it is true.
    leaving: watch::Sender<bool>,
    /// Has seen nothing yet, so that copies of it tell of a departure that began before them.
    unaware: watch::Receiver<bool>,
    /// Turns true when connections without a request are to be closed.
    closing: watch::Sender<bool>,
    /// The socket once more, for a successor, until the departure begins.
    socket: Mutex<Option<OwnedFd>>,
    /// Whether it may still take connections.
    open: AtomicBool,
    connections: AtomicUsize,
    /// Connections that are not ready for a request yet.
    opening: AtomicUsize,
    /// When the newest one was ready, in milliseconds since `begun`.
    newest: AtomicU64,
    begun: Instant,
}

impl Drain {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            listeners: Mutex::default(),
            closing: watch::Sender::new(false),
        })
    }

    /// Returns once connections without a request are to be closed everywhere.
    pub(crate) async fn closing(&self) {
        let mut closing = self.closing.subscribe();
        // An error means that the sender is gone.
        let _ = closing.wait_for(|closing| *closing).await;
    }

    /// A listener more, with its socket once more.
    pub(crate) fn listener(&self, socket: OwnedFd) -> Arc<ListenerConnections> {
        let (leaving, unaware) = watch::channel(false);
        let listener = Arc::new(ListenerConnections {
            stage: watch::Sender::new(Stage::Serving),
            leaving,
            unaware,
            closing: watch::Sender::new(false),
            socket: Mutex::new(Some(socket)),
            open: AtomicBool::new(true),
            connections: AtomicUsize::new(0),
            opening: AtomicUsize::new(0),
            newest: AtomicU64::new(0),
            begun: Instant::now(),
        });
        self.listeners().push(Arc::clone(&listener));
        listener
    }

    /// Leaves, in `grace` at most. Besides connections, whatever `rest` counts is waited for.
    pub(crate) async fn leave(&self, stage: Stage, grace: Duration, rest: impl Fn() -> usize) {
        let start = Instant::now();
        let end = start + grace;
        let listeners = self.listeners().clone();
        let here = || {
            listeners
                .iter()
                .map(|listener| listener.here())
                .sum::<usize>()
        };
        log::info!(
            "leaving: {} connections are open, {} requests to Segment accounts under way; at most \
             {} s",
            here(),
            rest(),
            grace.as_secs()
        );
        for listener in &listeners {
            listener.begin(stage);
        }
        while listeners.iter().any(|listener| !listener.is_empty()) || rest() > 0 {
            if Instant::now() >= end {
                log::warn!(
                    "server.grace is over: {} connections are cut, {} requests to Segment accounts \
                     given up",
                    here(),
                    rest()
                );
                return;
            }
            // All at once: one that closes early must not be the last that is listened to.
            if listeners.iter().all(|listener| listener.has_called(start)) {
                for listener in &listeners {
                    listener.closing.send_replace(true);
                }
                self.closing.send_replace(true);
            }
            sleep(LOOK).await;
        }
    }

    /// Closes one listener while the server goes on. Requests under way end as they would anyway.
    pub(crate) async fn close(&self, listener: &Arc<ListenerConnections>) {
        let start = Instant::now();
        listener.begin(Stage::Stopping);
        while !listener.is_empty() {
            if listener.has_called(start) {
                listener.closing.send_replace(true);
            }
            sleep(LOOK).await;
        }
        self.listeners()
            .retain(|other| !Arc::ptr_eq(other, listener));
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Arc<ListenerConnections>>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl ListenerConnections {
    /// Returns once the listener must not wait for connections any longer.
    pub(crate) fn stage(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// For the framework's connections.
    pub(crate) fn leaving(&self) -> watch::Receiver<bool> {
        self.unaware.clone()
    }

    /// Turns true once connections without a request are to be closed.
    pub(crate) fn when_closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// No connection is taken here any more.
    pub(crate) fn is_closed(&self) {
        self.open.store(false, Ordering::Release);
    }

    /// A connection that is open until the guard goes.
    pub(crate) fn connection(self: &Arc<Self>) -> ClientConnection {
        self.connections.fetch_add(1, Ordering::AcqRel);
        self.opening.fetch_add(1, Ordering::AcqRel);
        ClientConnection {
            listener: Arc::clone(self),
            ready: false,
        }
    }

    /// Its socket once more, while it serves.
    pub(crate) fn socket(&self) -> io::Result<OwnedFd> {
        match self.held_socket().as_ref() {
            Some(socket) => socket.try_clone(),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn held_socket(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, stage: Stage) {
        *self.held_socket() = None;
        self.leaving.send_replace(true);
        self.stage.send_replace(stage);
    }

    fn here(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    fn is_empty(&self) -> bool {
        !self.open.load(Ordering::Acquire) && self.here() == 0
    }

    /// Whether every connection has had the time for one request more since the departure began.
    fn has_called(&self, start: Instant) -> bool {
        let newest = self.begun + Duration::from_millis(self.newest.load(Ordering::Acquire));
        !self.open.load(Ordering::Acquire)
            && self.opening.load(Ordering::Acquire) == 0
            && Instant::now() >= start.max(newest) + LAST_CALL
    }
}

/// One connection of a client.
pub(crate) struct ClientConnection {
    listener: Arc<ListenerConnections>,
    ready: bool,
}

impl ClientConnection {
    /// The handshakes are over: from now on it can bring requests.
    pub(crate) fn ready(&mut self) {
        if !self.ready {
            self.ready = true;
            let age = self.listener.begun.elapsed().as_millis();
            let age = u64::try_from(age).unwrap_or(u64::MAX);
            self.listener.newest.fetch_max(age, Ordering::AcqRel);
            self.listener.opening.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        if !self.ready {
            self.listener.opening.fetch_sub(1, Ordering::AcqRel);
        }
        self.listener.connections.fetch_sub(1, Ordering::AcqRel);
    }
}
