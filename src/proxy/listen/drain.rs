//! Shuts down a server, or closes one of its listeners: accepts no new connections, completes the
//! requests in flight, closes idle connections, and stops as soon as nothing is left.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, Instant};

/// This long after the newest connection was opened, connections that have no request under way are
/// closed. Until then each gets one more request answered, with `Connection: close`: a request
/// that crosses the closing of its connection would have to be sent again.
const LAST_CALL: Duration = Duration::from_secs(1);

/// How often the drain checks whether all connections have ended.
const LOOK: Duration = Duration::from_millis(5);

/// The stage of a shutdown. Later stages are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ShutdownStage {
    Serving,
    /// Another process has the listening sockets, and takes the connections that wait in them.
    HandedOver,
    /// No other process has them: waiting connections are accepted before they are closed.
    Stopping,
}

/// The state of a shutdown, shared by the listeners of a server and the task that waits for their end.
pub(crate) struct Drain {
    listeners: Mutex<Vec<Arc<ListenerConnections>>>,
    /// Turns true when connections without a request are to be closed everywhere.
    closing: watch::Sender<bool>,
}

/// A listener, and the connections that it has accepted.
pub(crate) struct ListenerConnections {
    stage: watch::Sender<ShutdownStage>,
    /// The framework's own signal: answers close their connections once it is true.
    leaving: watch::Sender<bool>,
    /// A receiver that has seen no change yet, so that its clones also report a shutdown that began
    /// before they were made.
    unaware: watch::Receiver<bool>,
    /// Turns true when connections without a request are to be closed.
    closing: watch::Sender<bool>,
    /// A duplicate of the socket, for a successor, until the shutdown begins.
    socket: Mutex<Option<OwnedFd>>,
    /// Whether the listener may still accept connections.
    open: AtomicBool,
    connections: AtomicUsize,
    /// Connections that are not ready for a request yet.
    opening: AtomicUsize,
    /// When the newest connection was ready, in milliseconds since `begun`.
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
        // An error means that the sender was dropped.
        let _ = closing.wait_for(|closing| *closing).await;
    }

    /// Adds a listener, with a duplicate of its socket.
    pub(crate) fn listener(&self, socket: OwnedFd) -> Arc<ListenerConnections> {
        let (leaving, unaware) = watch::channel(false);
        let listener = Arc::new(ListenerConnections {
            stage: watch::Sender::new(ShutdownStage::Serving),
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

    /// Shuts down within `grace` at most. Waits until all connections have ended and `rest` returns zero.
    pub(crate) async fn drain(
        &self,
        stage: ShutdownStage,
        grace: Duration,
        rest: impl Fn() -> usize,
    ) {
        let start = Instant::now();
        let end = start + grace;
        let listeners = self.listeners().clone();
        let open_connections = || {
            listeners
                .iter()
                .map(|listener| listener.number_open())
                .sum::<usize>()
        };
        log::info!(
            "shutting down: {} connections are open, and {} requests to Segment accounts are in \
             flight; Hedgerow waits for them for at most {} s",
            open_connections(),
            rest(),
            grace.as_secs()
        );
        for listener in &listeners {
            listener.begin(stage);
        }
        while listeners.iter().any(|listener| !listener.is_empty()) || rest() > 0 {
            if Instant::now() >= end {
                log::warn!(
                    "`server.grace` is over: Hedgerow closes {} connections, and drops {} requests to \
                     Segment accounts",
                    open_connections(),
                    rest()
                );
                return;
            }
            // Idle connections are closed at all listeners at once: a listener that closes early must not
            // be the last one that the drain waits for.
            if listeners
                .iter()
                .all(|listener| listener.all_had_time(start))
            {
                for listener in &listeners {
                    listener.closing.send_replace(true);
                }
                self.closing.send_replace(true);
            }
            sleep(LOOK).await;
        }
    }

    /// Closes one listener while the server keeps running. Requests in flight are completed.
    pub(crate) async fn close(&self, listener: &Arc<ListenerConnections>) {
        let start = Instant::now();
        listener.begin(ShutdownStage::Stopping);
        while !listener.is_empty() {
            if listener.all_had_time(start) {
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
    /// Returns a receiver for the stage of the shutdown. After `Serving`, the listener must not wait for
    /// connections.
    pub(crate) fn stage(&self) -> watch::Receiver<ShutdownStage> {
        self.stage.subscribe()
    }

    /// Returns the signal to shut down, for the framework's connections.
    pub(crate) fn leaving(&self) -> watch::Receiver<bool> {
        self.unaware.clone()
    }

    /// Returns a receiver that turns true once connections without a request are to be closed.
    pub(crate) fn when_closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Records that this listener accepts no more connections.
    pub(crate) fn is_closed(&self) {
        self.open.store(false, Ordering::Release);
    }

    /// Counts a connection as open until the returned guard is dropped.
    pub(crate) fn connection(self: &Arc<Self>) -> ClientConnection {
        self.connections.fetch_add(1, Ordering::AcqRel);
        self.opening.fetch_add(1, Ordering::AcqRel);
        ClientConnection {
            listener: Arc::clone(self),
            ready: false,
        }
    }

    /// Returns a duplicate of the socket. Fails when the shutdown has begun.
    pub(crate) fn socket(&self) -> io::Result<OwnedFd> {
        match self.held_socket().as_ref() {
            Some(socket) => socket.try_clone(),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn held_socket(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, stage: ShutdownStage) {
        *self.held_socket() = None;
        self.leaving.send_replace(true);
        self.stage.send_replace(stage);
    }

    fn number_open(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    fn is_empty(&self) -> bool {
        !self.open.load(Ordering::Acquire) && self.number_open() == 0
    }

    /// Whether every connection has had time for one more request since the shutdown began.
    fn all_had_time(&self, start: Instant) -> bool {
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
    /// Records that the handshakes are complete: from now on the connection can bring requests.
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
