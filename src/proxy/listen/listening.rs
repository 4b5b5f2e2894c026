//! Our own doors: the framework's listening service closes them with connections still waiting in
//! them, and cannot say whether any connection is left (pingora 2.5).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::listeners::tls::Acceptor;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use tokio::runtime::Handle;

use crate::config::Listener;
use crate::proxy::limits::connection_limits::ConnectionLimits;
use crate::proxy::listen::direct::Direct;
use crate::proxy::listen::drain::{Drain, ListenerConnections};
use crate::proxy::listen::reception::AcceptLoop;
use crate::proxy::ServerError;

/// Connections that the kernel keeps for us until we take them; it cuts this to its own limit.
const BACKLOG: i32 = 65_535;

/// How connections are spoken to on an address: the options of its listener are looked up where they
/// decide.
pub(crate) struct ListenerOptions {
    pub(crate) listener: Listener,
    pub(crate) tls: Option<Arc<Acceptor>>,
}

impl ListenerOptions {
    /// Without TLS and without options.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self {
            listener: Listener::plain(address),
            tls: None,
        }
    }
}

/// An address that is listened on.
pub(crate) struct BoundSocket {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
}

impl BoundSocket {
    /// Listens on an address; on a free port for port 0.
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        Self::of(TcpListener::bind(address)?)
    }

    /// Goes on listening on a socket of the predecessor's.
    pub(crate) fn inherited(socket: OwnedFd) -> io::Result<Self> {
        Self::of(TcpListener::from(socket))
    }

    fn of(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        // On a socket that listens already this only changes its queue's length.
        rustix::net::listen(&listener, BACKLOG)?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
        })
    }
}

/// An application of the framework behind doors of ours, which open and close while it serves.
pub(crate) struct ListenerGroup<A> {
    app: Arc<A>,
    drain: Arc<Drain>,
    idle: u64,
    /// What the connections are bounded with; nothing where only the operator comes in.
    connection_limits: Option<Arc<ConnectionLimits>>,
    /// What answers Segment's calls without the framework; nothing where none come in.
    direct: Option<Direct>,
    doors: Mutex<Vec<OpenListener>>,
    /// Where its connections are served, once they are.
    runtime: OnceLock<Handle>,
}

/// One address of a hall.
struct OpenListener {
    /// As the configuration has it: its port may be 0.
    configured: SocketAddr,
    address: SocketAddr,
    manner: Arc<ArcSwap<ListenerOptions>>,
    state: OpenState,
}

enum OpenState {
    /// It listens, and here is its socket once more; connections wait until the server runs.
    Waiting(TcpListener, OwnedFd),
    Open(Arc<ListenerConnections>),
    /// For a moment, between the two.
    Closed,
}

impl OpenState {
    fn socket(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Waiting(_, socket) => socket.try_clone(),
            Self::Open(door) => door.socket(),
            Self::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// What a hall is to have: what is there stays, what is new listens already.
pub(crate) struct Plan {
    doors: Vec<(SocketAddr, ListenerOptions, Option<BoundSocket>)>,
}

impl<A: HttpServerApp + Send + Sync + 'static> ListenerGroup<A> {
    /// A hall without doors. Connections may wait `idle` seconds for their next request.
    pub(crate) fn new(app: A, drain: Arc<Drain>, idle: u64) -> Self {
        Self {
            app: Arc::new(app),
            drain,
            idle,
            connection_limits: None,
            direct: None,
            doors: Mutex::default(),
            runtime: OnceLock::new(),
        }
    }

    /// Bounds what clients take.
    pub(crate) fn bounded(mut self, connection_limits: Arc<ConnectionLimits>) -> Self {
        self.connection_limits = Some(connection_limits);
        self
    }

    /// Answers Segment's calls with this where they need nothing of the framework.
    pub(crate) fn directly(mut self, direct: Direct) -> Self {
        self.direct = Some(direct);
        self
    }

    /// Where it listens, in order.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.doors().iter().map(|door| door.address).collect()
    }

    /// Its sockets once more, for a successor.
    pub(crate) fn sockets(&self) -> io::Result<Vec<(SocketAddr, OwnedFd)>> {
        let doors = self.doors();
        let sockets = doors.iter();
        let sockets = sockets.map(|door| Ok((door.address, door.state.socket()?)));
        sockets.collect()
    }

    /// Makes ready for these addresses; `enter` listens on one that is not there yet.
    ///
    /// # Errors
    ///
    /// The first address that cannot be listened on. Nothing has changed then.
    pub(crate) fn plan(
        &self,
        wanted: Vec<(SocketAddr, ListenerOptions)>,
        mut enter: impl FnMut(SocketAddr) -> io::Result<BoundSocket>,
    ) -> Result<Plan, ServerError> {
        let mut there: Vec<SocketAddr> = self.doors().iter().map(|door| door.configured).collect();
        let doors = wanted.into_iter().map(|(address, manner)| {
            let known = there.iter().position(|known| *known == address);
            let bound_socket = match known {
                Some(place) => {
                    there.swap_remove(place);
                    None
                }
                None => {
                    let bound_socket = enter(address);
                    Some(bound_socket.map_err(|source| ServerError::Listen { address, source })?)
                }
            };
            Ok((address, manner, bound_socket))
        });
        Ok(Plan {
            doors: doors.collect::<Result<_, ServerError>>()?,
        })
    }

    /// Opens, keeps and closes doors by the plan.
    ///
    /// # Errors
    ///
    /// When the system has no descriptor left for a new door. Those before it are open then.
    pub(crate) fn adopt(&self, plan: Plan) -> io::Result<()> {
        let mut doors = self.doors();
        let mut before = std::mem::take(&mut *doors);
        let mut failed = None;
        for (configured, manner, bound_socket) in plan.doors {
            let Some(bound_socket) = bound_socket else {
                let place = before.iter().position(|door| door.configured == configured);
                if let Some(place) = place {
                    let door = before.remove(place);
                    door.manner.store(Arc::new(manner));
                    doors.push(door);
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
            let mut door = OpenListener {
                configured,
                address: bound_socket.address,
                manner: Arc::new(ArcSwap::from_pointee(manner)),
                state: OpenState::Waiting(bound_socket.listener, socket),
            };
            if let Some(runtime) = self.runtime.get() {
                self.open(&mut door, runtime);
            }
            doors.push(door);
        }
        for gone in before {
            let address = gone.address;
            if let OpenState::Open(door) = gone.state {
                log::info!("{address} is listened on no more: its connections end");
                let drain = Arc::clone(&self.drain);
                if let Some(runtime) = self.runtime.get() {
                    runtime.spawn(async move { drain.close(&door).await });
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Serves on this runtime from now on.
    pub(crate) fn begin(&self, runtime: &Handle) {
        let runtime = self.runtime.get_or_init(|| runtime.clone());
        for door in self.doors().iter_mut() {
            self.open(door, runtime);
        }
    }

    /// Whether each door is open, so that what comes in is served.
    pub(crate) fn is_open(&self) -> bool {
        let doors = self.doors();
        let mut doors = doors.iter();
        doors.all(|door| matches!(door.state, OpenState::Open(_)))
    }

    fn open(&self, doorway: &mut OpenListener, runtime: &Handle) {
        let (listener, socket) = match std::mem::replace(&mut doorway.state, OpenState::Closed) {
            OpenState::Waiting(listener, socket) => (listener, socket),
            open => {
                doorway.state = open;
                return;
            }
        };
        let door = self.drain.door(socket);
        doorway.state = OpenState::Open(Arc::clone(&door));
        let reception = AcceptLoop {
            app: Arc::clone(&self.app),
            manner: Arc::clone(&doorway.manner),
            door: Arc::clone(&door),
            idle: self.idle,
            connection_limits: self.connection_limits.clone(),
            direct: self.direct.clone(),
        };
        let address = doorway.address;
        runtime.spawn(async move {
            if let Err(error) = reception.take(listener).await {
                log::error!("{address} is listened on no more: {error}");
            }
            door.is_closed();
        });
    }

    fn doors(&self) -> MutexGuard<'_, Vec<OpenListener>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hall as a service of the framework.
pub(crate) struct Listening<A> {
    name: &'static str,
    hall: Arc<ListenerGroup<A>>,
}

impl<A> Listening<A> {
    pub(crate) fn new(name: &'static str, hall: Arc<ListenerGroup<A>>) -> Self {
        Self { name, hall }
    }
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> Service for Listening<A> {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        // The framework starts the thread of its clock at the first use, and never again if that fails:
        // every later request would panic. Before the first client there are threads.
        pingora::time::sleep(Duration::from_millis(1)).await;
        self.hall.begin(&Handle::current());
        tokio::select! {
            () = self.hall.drain.closing() => {}
            _ = shutdown.wait_for(|over| *over) => {}
        }
        // Connections that wait for a request are closed by this.
        self.hall.app.cleanup().await;
    }

    fn name(&self) -> &str {
        self.name
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}
