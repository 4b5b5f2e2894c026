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
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{Ssl, ALPN, IO};
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{timeout, timeout_at, Instant};

use crate::config::{H2c, Listener};
use crate::proxy::client::is_trusted;
use crate::proxy::life::drain::{Connection, Door, Drain, Stage};
use crate::proxy::limits::connection_limits::{ConnectionLimits, Slow};
use crate::proxy::listen::connection::{self, Ends};
use crate::proxy::listen::direct::Direct;
use crate::proxy::listen::gathered::Gathered;
use crate::proxy::listen::preamble::{begins, proxied, Begins};
use crate::proxy::operator::log_limit::LogLimit;
use crate::proxy::operator::serve::accepted;
use crate::proxy::ServerError;

/// Connections that the kernel keeps for us until we take them; it cuts this to its own limit.
const BACKLOG: i32 = 65_535;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(60);
/// The first bytes of an HTTP/2 connection (RFC 9113, 3.4).
const PREFACE: usize = 24;
/// Before a door is closed for good, connections are taken until none comes for so long.
const QUIET: Duration = Duration::from_millis(10);
/// And for so long at most: clients that go on coming have come after the end.
const EMPTYING: Duration = Duration::from_millis(200);
/// How long the head of a request to the operator's own listeners may take.
const HEAD: Duration = Duration::from_secs(30);
/// After an accept that failed for lack of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// How connections are spoken to on an address: the options of its listener are looked up where they
/// decide.
pub(crate) struct Manner {
    pub(crate) listener: Listener,
    pub(crate) tls: Option<Arc<Acceptor>>,
}

impl Manner {
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
pub(crate) struct Hall<A> {
    app: Arc<A>,
    drain: Arc<Drain>,
    idle: u64,
    /// What the connections are bounded with; nothing where only the operator comes in.
    connection_limits: Option<Arc<ConnectionLimits>>,
    /// What answers Segment's calls without the framework; nothing where none come in.
    direct: Option<Direct>,
    doors: Mutex<Vec<Doorway>>,
    /// Where its connections are served, once they are.
    runtime: OnceLock<Handle>,
}

/// One address of a hall.
struct Doorway {
    /// As the configuration has it: its port may be 0.
    configured: SocketAddr,
    address: SocketAddr,
    manner: Arc<ArcSwap<Manner>>,
    state: DoorState,
}

enum DoorState {
    /// It listens, and here is its socket once more; connections wait until the server runs.
    Waiting(TcpListener, OwnedFd),
    Open(Arc<Door>),
    /// For a moment, between the two.
    Closed,
}

impl DoorState {
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
    doors: Vec<(SocketAddr, Manner, Option<BoundSocket>)>,
}

impl<A: HttpServerApp + Send + Sync + 'static> Hall<A> {
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
        wanted: Vec<(SocketAddr, Manner)>,
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
            let mut door = Doorway {
                configured,
                address: bound_socket.address,
                manner: Arc::new(ArcSwap::from_pointee(manner)),
                state: DoorState::Waiting(bound_socket.listener, socket),
            };
            if let Some(runtime) = self.runtime.get() {
                self.open(&mut door, runtime);
            }
            doors.push(door);
        }
        for gone in before {
            let address = gone.address;
            if let DoorState::Open(door) = gone.state {
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
        doors.all(|door| matches!(door.state, DoorState::Open(_)))
    }

    fn open(&self, doorway: &mut Doorway, runtime: &Handle) {
        let (listener, socket) = match std::mem::replace(&mut doorway.state, DoorState::Closed) {
            DoorState::Waiting(listener, socket) => (listener, socket),
            open => {
                doorway.state = open;
                return;
            }
        };
        let door = self.drain.door(socket);
        doorway.state = DoorState::Open(Arc::clone(&door));
        let reception = Reception {
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

    fn doors(&self) -> MutexGuard<'_, Vec<Doorway>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hall as a service of the framework.
pub(crate) struct Listening<A> {
    name: &'static str,
    hall: Arc<Hall<A>>,
}

impl<A> Listening<A> {
    pub(crate) fn new(name: &'static str, hall: Arc<Hall<A>>) -> Self {
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

/// Where the connections of one door are received.
struct Reception<A> {
    app: Arc<A>,
    manner: Arc<ArcSwap<Manner>>,
    door: Arc<Door>,
    idle: u64,
    connection_limits: Option<Arc<ConnectionLimits>>,
    direct: Option<Direct>,
}

impl<A: HttpServerApp + Send + Sync + 'static> Reception<A> {
    /// Takes connections until the door is closed.
    async fn take(&self, listener: TcpListener) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let mut stage = self.door.stage();
        let log_limit = LogLimit::default();
        loop {
            let came = tokio::select! {
                came = listener.accept() => came,
                _ = stage.wait_for(|stage| *stage != Stage::Serving) => break,
            };
            match came {
                Ok((socket, peer)) => self.welcome(socket, peer),
                Err(error) => {
                    if let Some(more) = log_limit.pass("accept", "accept") {
                        log::warn!("a connection could not be accepted: {error}{more}");
                    }
                    if let Some(connection_limits) = &self.connection_limits {
                        connection_limits.make_room();
                    }
                    // Of those that have gone again, the next may be there already.
                    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted) {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        }
        if *self.door.stage().borrow() == Stage::Stopping {
            // Closing the socket would reset those who have come and stand in its queue.
            let end = Instant::now() + EMPTYING;
            while let Ok(Ok(Ok((socket, peer)))) =
                timeout_at(end, timeout(QUIET, listener.accept())).await
            {
                self.welcome(socket, peer);
            }
        }
        Ok(())
    }

    fn welcome(&self, socket: TcpStream, peer: SocketAddr) {
        let manner = self.manner.load_full();
        let arrival = Arrival {
            app: Arc::clone(&self.app),
            connection: self.door.connection(),
            idle: self.idle,
            closing: self.door.when_closing(),
            leaving: self.door.leaving(),
            connection_limits: self.connection_limits.clone(),
            direct: self.direct.clone(),
        };
        if is_trusted(peer.ip().to_canonical(), &manner.listener.proxy_protocol) {
            tokio::spawn(arrival.through_a_balancer(socket, peer, manner));
        } else if let Some(ends) = arrival.ends(peer) {
            let Arrival {
                app, connection, ..
            } = arrival;
            let socket = accepted(socket, peer);
            tokio::spawn(serve(socket, manner, app, connection, ends));
        }
    }
}

/// A connection that has come.
struct Arrival<A> {
    app: Arc<A>,
    connection: Connection,
    idle: u64,
    closing: watch::Receiver<bool>,
    leaving: ShutdownWatch,
    connection_limits: Option<Arc<ConnectionLimits>>,
    direct: Option<Direct>,
}

impl<A: HttpServerApp + Send + Sync + 'static> Arrival<A> {
    /// When it ends, if there is a place for a client at this address.
    fn ends(&self, client: SocketAddr) -> Option<Ends> {
        let connection_limits = self.connection_limits.as_ref();
        let place = match connection_limits {
            None => None,
            Some(connection_limits) => Some(connection_limits.enter(client.ip())?),
        };
        Some(Ends {
            idle: self.idle,
            closing: self.closing.clone(),
            leaving: self.leaving.clone(),
            head: self.head(),
            connection_limits: connection_limits.cloned(),
            direct: self.direct.clone(),
            _place: place,
        })
    }

    /// How long the head of a request may take.
    fn head(&self) -> Duration {
        let connection_limits = self.connection_limits.as_ref();
        connection_limits.map_or(HEAD, |connection_limits| connection_limits.head())
    }

    /// Learns from a balancer whose connection it is, and serves it. Places are for clients, so the
    /// balancer itself takes none.
    async fn through_a_balancer(
        self,
        mut socket: TcpStream,
        peer: SocketAddr,
        manner: Arc<Manner>,
    ) {
        let client = match timeout(self.head(), proxied(&mut socket)).await {
            Ok(Ok(client)) => client.unwrap_or(peer),
            Ok(Err(error)) => {
                log::debug!("a connection from the balancer {peer} was closed: {error}");
                return;
            }
            Err(_) => {
                log::debug!("the balancer {peer} did not say in time whose connection it brings");
                return;
            }
        };
        if let Some(ends) = self.ends(client) {
            let socket = accepted(socket, client);
            serve(socket, manner, self.app, self.connection, ends).await;
        }
    }
}

/// One connection from its handshake to its end.
async fn serve<A: HttpServerApp + Send + Sync + 'static>(
    mut socket: L4Stream,
    manner: Arc<Manner>,
    app: Arc<A>,
    mut connection: Connection,
    mut ends: Ends,
) {
    let head = ends.head;
    match &manner.tls {
        None => {
            let mut speaks = Begins::Http1;
            if manner.listener.h2c == H2c::On {
                connection.ready();
                match beginning(&mut socket, &mut ends).await {
                    Some(begins) => speaks = begins,
                    None => return,
                }
            }
            drop(manner);
            connection.ready();
            speak(Box::new(Gathered::new(socket)), speaks, app, ends).await;
        }
        // Boxed, so that a connection does not hold the room for its handshake all its life.
        Some(tls) => match Box::pin(timeout(HANDSHAKE, tls.tls_handshake(socket))).await {
            Ok(Ok(stream)) => {
                let is_h2 = stream.selected_alpn_proto() == Some(ALPN::H2);
                let stream = Gathered::new(stream);
                drop(manner);
                connection.ready();
                match is_h2 {
                    // The framework waits for the first bytes of HTTP/2 as long as they take.
                    true => {
                        let connection_limits = ends.connection_limits.clone();
                        let stream = stream.begun_within(PREFACE, head, connection_limits);
                        speak(Box::new(stream), Begins::Http2, app, ends).await;
                    }
                    false => speak(Box::new(stream), Begins::Http1, app, ends).await,
                }
            }
            Ok(Err(error)) => {
                log::debug!("a TLS handshake failed: {error}");
            }
            Err(_) => {
                ends.too_slow(Slow::Handshake);
            }
        },
    }
    drop(connection);
}

/// Serves what is spoken on a stream until its end.
async fn speak<A, S>(stream: Box<Gathered<S>>, speaks: Begins, app: Arc<A>, ends: Ends)
where
    A: HttpServerApp + Send + Sync + 'static,
    S: IO + 'static,
{
    match speaks {
        Begins::Http2 => {
            app.process_new(stream, &ends.leaving).await;
        }
        Begins::Http1 => connection::serve(stream, &app, ends).await,
    }
}

/// What a client without TLS begins with; nothing where it does not begin before it has to go.
async fn beginning(socket: &mut L4Stream, ends: &mut Ends) -> Option<Begins> {
    let connection_limits = ends.connection_limits.clone();
    let sent_away = async {
        match &connection_limits {
            Some(connection_limits) => connection_limits.sent_away().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased; // what has come already is served
        begun = timeout(Duration::from_secs(ends.idle), begins(socket)) => begun.ok()?.ok(),
        _ = ends.closing.wait_for(|closing| *closing) => None,
        () = sent_away => None,
    }
}
