//! Hedgerow's own listeners: the framework's listening service closes sockets while connections wait in
//! them, and cannot report whether any connection is left (pingora 2.5).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use tokio::runtime::Handle;

use crate::proxy::limits::connection_limits::ConnectionLimits;
use crate::proxy::listen::accept_loop::{AcceptLoop, ListenerOptions};
use crate::proxy::listen::direct::DirectIntake;
use crate::proxy::listen::drain::{Drain, ListenerConnections};
use crate::proxy::server_error::ServerError;
use crate::proxy::telemetry::tasks::CountedRuntime;

/// The maximum number of connections that the kernel queues until they are accepted; its own limit may be
/// lower.
const BACKLOG: i32 = 65_535;

/// A listening socket and its address.
pub(crate) struct BoundSocket {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
}

impl BoundSocket {
    /// Listens on an address, or on a free port if its port is 0.
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        Self::of(TcpListener::bind(address)?)
    }

    /// Takes over a listening socket of the predecessor.
    pub(crate) fn inherited(socket: OwnedFd) -> io::Result<Self> {
        Self::of(TcpListener::from(socket))
    }

    fn of(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        // On a listening socket this only changes the length of its queue.
        rustix::net::listen(&listener, BACKLOG)?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
        })
    }
}

/// An application of the framework, and listeners for it that can open and close while it serves.
pub(crate) struct ListenerGroup<A> {
    app: Arc<A>,
    drain: Arc<Drain>,
    idle: u64,
    /// The limits of connections; none for the operator's listeners.
    connection_limits: Option<Arc<ConnectionLimits>>,
    /// Answers Segment's calls without the framework; none for the operator's listeners.
    direct: Option<DirectIntake>,
    listeners: Mutex<Vec<OpenListener>>,
    /// The runtime that serves the connections, once the server runs.
    runtime: OnceLock<Handle>,
}

/// One address of a group.
struct OpenListener {
    /// The address in the configuration: its port may be 0.
    configured: SocketAddr,
    address: SocketAddr,
    options: Arc<ArcSwap<ListenerOptions>>,
    state: OpenState,
}

enum OpenState {
    /// The socket listens, and its connections wait until the server runs. The second value is a
    /// duplicate of the socket.
    Waiting(TcpListener, OwnedFd),
    Open(Arc<ListenerConnections>),
    /// The state only while the listener changes from `Waiting` to `Open`.
    Closed,
}

impl OpenState {
    fn socket(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Waiting(_, socket) => socket.try_clone(),
            Self::Open(listener) => listener.socket(),
            Self::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// The listeners that a group will have. Existing listeners stay as they are; the sockets of new ones
/// listen already.
pub(crate) struct ListenerPlan {
    listeners: Vec<(SocketAddr, ListenerOptions, Option<BoundSocket>)>,
}

impl<A: HttpServerApp + Send + Sync + 'static> ListenerGroup<A> {
    /// Returns a group without listeners. Connections may wait `idle` seconds for their next request.
    pub(crate) fn new(app: A, drain: Arc<Drain>, idle: u64) -> Self {
        Self {
            app: Arc::new(app),
            drain,
            idle,
            connection_limits: None,
            direct: None,
            listeners: Mutex::default(),
            runtime: OnceLock::new(),
        }
    }

    /// Sets the limits of client connections.
    pub(crate) fn bounded(mut self, connection_limits: Arc<ConnectionLimits>) -> Self {
        self.connection_limits = Some(connection_limits);
        self
    }

    /// Makes `direct` answer Segment's calls if they do not need the framework.
    pub(crate) fn directly(mut self, direct: DirectIntake) -> Self {
        self.direct = Some(direct);
        self
    }

    /// Returns the addresses of the listeners, in order.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners()
            .iter()
            .map(|listener| listener.address)
            .collect()
    }

    /// Returns duplicates of the sockets, for a successor.
    pub(crate) fn sockets(&self) -> io::Result<Vec<(SocketAddr, OwnedFd)>> {
        let listeners = self.listeners();
        let sockets = listeners.iter();
        let sockets = sockets.map(|listener| Ok((listener.address, listener.state.socket()?)));
        sockets.collect()
    }

    /// Prepares these addresses; `open` listens on a new one.
    ///
    /// # Errors
    ///
    /// When an address cannot be listened on. The error names the first one, and nothing has changed
    /// then.
    pub(crate) fn plan(
        &self,
        wanted: Vec<(SocketAddr, ListenerOptions)>,
        mut open: impl FnMut(SocketAddr) -> io::Result<BoundSocket>,
    ) -> Result<ListenerPlan, ServerError> {
        let mut existing: Vec<SocketAddr> = self
            .listeners()
            .iter()
            .map(|listener| listener.configured)
            .collect();
        let listeners = wanted.into_iter().map(|(address, options)| {
            let known = existing.iter().position(|known| *known == address);
            let bound_socket = match known {
                Some(position) => {
                    existing.swap_remove(position);
                    None
                }
                None => {
                    let bound_socket = open(address);
                    Some(bound_socket.map_err(|source| ServerError::Listen { address, source })?)
                }
            };
            Ok((address, options, bound_socket))
        });
        Ok(ListenerPlan {
            listeners: listeners.collect::<Result<_, ServerError>>()?,
        })
    }

    /// Opens, keeps and closes listeners as planned.
    ///
    /// # Errors
    ///
    /// When the system has no descriptor left for a new listener. All other planned listeners are open
    /// then.
    pub(crate) fn activate(&self, plan: ListenerPlan) -> io::Result<()> {
        let mut listeners = self.listeners();
        let mut previous = std::mem::take(&mut *listeners);
        let mut failed = None;
        for (configured, options, bound_socket) in plan.listeners {
            let Some(bound_socket) = bound_socket else {
                let position = previous
                    .iter()
                    .position(|listener| listener.configured == configured);
                if let Some(position) = position {
                    let listener = previous.remove(position);
                    listener.options.store(Arc::new(options));
                    listeners.push(listener);
                }
                continue;
            };
            let socket = match bound_socket.listener.try_clone() {
                Ok(socket) => socket.into(),
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            let mut listener = OpenListener {
                configured,
                address: bound_socket.address,
                options: Arc::new(ArcSwap::from_pointee(options)),
                state: OpenState::Waiting(bound_socket.listener, socket),
            };
            if let Some(runtime) = self.runtime.get() {
                self.open(&mut listener, runtime);
            }
            listeners.push(listener);
        }
        for removed in previous {
            let address = removed.address;
            if let OpenState::Open(listener) = removed.state {
                log::info!("no longer listening on {address}: its connections are drained");
                let drain = Arc::clone(&self.drain);
                if let Some(runtime) = self.runtime.get() {
                    runtime.spawn(async move { drain.close(&listener).await });
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Serves on this runtime from now on.
    pub(crate) fn begin(&self, runtime: &Handle) {
        let runtime = self.runtime.get_or_init(|| runtime.clone());
        for listener in self.listeners().iter_mut() {
            self.open(listener, runtime);
        }
    }

    /// Returns whether each listener is open, so that connections are served.
    pub(crate) fn is_open(&self) -> bool {
        let listeners = self.listeners();
        let mut listeners = listeners.iter();
        listeners.all(|listener| matches!(listener.state, OpenState::Open(_)))
    }

    fn open(&self, listener: &mut OpenListener, runtime: &Handle) {
        let (accepting, socket) = match std::mem::replace(&mut listener.state, OpenState::Closed) {
            OpenState::Waiting(accepting, socket) => (accepting, socket),
            open => {
                listener.state = open;
                return;
            }
        };
        let connections = self.drain.listener(socket);
        listener.state = OpenState::Open(Arc::clone(&connections));
        let accept_loop = AcceptLoop {
            app: Arc::clone(&self.app),
            options: Arc::clone(&listener.options),
            connections: Arc::clone(&connections),
            idle: self.idle,
            connection_limits: self.connection_limits.clone(),
            direct: self.direct.clone(),
        };
        let address = listener.address;
        runtime.spawn(async move {
            if let Err(error) = accept_loop.take(accepting).await {
                log::error!("no longer listening on {address}: {error}");
            }
            connections.is_closed();
        });
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<OpenListener>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a group as a service of the framework.
pub(crate) struct ListenerService<A> {
    name: &'static str,
    group: Arc<ListenerGroup<A>>,
}

impl<A> ListenerService<A> {
    pub(crate) fn new(name: &'static str, group: Arc<ListenerGroup<A>>) -> Self {
        Self { name, group }
    }
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> Service for ListenerService<A> {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        // The framework starts the thread of its clock at the first use, and never again if that fails:
        // every later request would panic. So it is started before the first client.
        pingora::time::sleep(Duration::from_millis(1)).await;
        self.group.begin(&Handle::current());
        let _counted = CountedRuntime::of_this_thread();
        tokio::select! {
            () = self.group.drain.closing() => {}
            _ = shutdown.wait_for(|over| *over) => {}
        }
        // This closes idle connections.
        self.group.app.cleanup().await;
    }

    fn name(&self) -> &str {
        self.name
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}
