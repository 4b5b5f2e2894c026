//! Our own doors: the framework's listening service closes them with connections still waiting in
//! them, and cannot say whether any connection is left (pingora 2.5).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::listeners::tls::Acceptor;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{Ssl, Stream, ALPN};
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at, Instant};

use super::connection::{self, Ends};
use super::crowd::Crowd;
use super::departure::{Connection, Departure, Stage};
use super::gate::Gate;
use super::gathered::Gathered;
use super::serve::accepted;
use super::HEAD;

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
/// After an accept that failed for lack of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// An address that is listened on.
pub(super) struct Entrance {
    pub(super) address: SocketAddr,
    listener: TcpListener,
    tls: Option<Arc<Acceptor>>,
}

impl Entrance {
    /// Listens on an address; on a free port for port 0.
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        Self::of(TcpListener::bind(address)?)
    }

    /// Goes on listening on a socket of the predecessor's.
    pub(super) fn inherited(socket: OwnedFd) -> io::Result<Self> {
        Self::of(TcpListener::from(socket))
    }

    fn of(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        // On a socket that listens already this only changes its queue's length.
        rustix::net::listen(&listener, BACKLOG)?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            tls: None,
        })
    }

    pub(super) fn secured(mut self, acceptor: Acceptor) -> Self {
        self.tls = Some(Arc::new(acceptor));
        self
    }

    /// The socket once more, for a successor.
    pub(super) fn socket(&self) -> io::Result<OwnedFd> {
        Ok(self.listener.try_clone()?.into())
    }
}

/// An application of the framework behind doors of ours.
pub(super) struct Listening<A> {
    name: String,
    app: Arc<A>,
    entrances: Vec<Entrance>,
    departure: Arc<Departure>,
    idle: u64,
    bounds: Bounds,
}

/// What clients may take, beside `idle`.
#[derive(Clone)]
pub(super) struct Bounds {
    /// What the connections are counted with; nothing where only the operator comes in.
    pub(super) crowd: Option<Arc<Crowd>>,
    /// How long the head of a request may take.
    pub(super) head: Duration,
}

impl<A: HttpServerApp + Send + Sync + 'static> Listening<A> {
    /// Connections may wait `idle` seconds for their next request.
    pub(super) fn new(
        name: &str,
        app: A,
        entrances: Vec<Entrance>,
        departure: Arc<Departure>,
        idle: u64,
    ) -> Self {
        Self {
            name: name.to_owned(),
            app: Arc::new(app),
            entrances,
            departure,
            idle,
            bounds: Bounds {
                crowd: None,
                head: HEAD,
            },
        }
    }

    /// Bounds what clients take.
    pub(super) fn bounded(&mut self, bounds: Bounds) {
        self.bounds = bounds;
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
        for entrance in self.entrances.drain(..) {
            let (app, departure) = (Arc::clone(&self.app), Arc::clone(&self.departure));
            let address = entrance.address;
            let door = departure.door();
            let taking = take(entrance, app, departure, self.idle, self.bounds.clone());
            tokio::spawn(async move {
                if let Err(error) = taking.await {
                    log::error!("nobody listens on {address} any more: {error}");
                }
                drop(door);
            });
        }
        tokio::select! {
            () = self.departure.closing() => {}
            _ = shutdown.wait_for(|over| *over) => {}
        }
        // Connections that wait for a request are closed by this.
        self.app.cleanup().await;
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}

/// Takes connections until the server leaves.
async fn take<A: HttpServerApp + Send + Sync + 'static>(
    entrance: Entrance,
    app: Arc<A>,
    departure: Arc<Departure>,
    idle: u64,
    bounds: Bounds,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(entrance.listener)?;
    let mut stage = departure.stage();
    let gate = Gate::default();
    let welcome = |socket: TcpStream, peer: SocketAddr| {
        let place = match &bounds.crowd {
            None => None,
            Some(crowd) => match crowd.enter(peer.ip()) {
                None => return,
                place => place,
            },
        };
        let (app, tls) = (Arc::clone(&app), entrance.tls.clone());
        let connection = departure.connection();
        let ends = Ends {
            idle,
            closing: departure.when_closing(),
            leaving: departure.leaving(),
            head: bounds.head,
            crowd: bounds.crowd.clone(),
            _place: place,
        };
        let socket = accepted(socket, peer);
        tokio::spawn(serve(socket, tls, app, connection, ends));
    };
    loop {
        let came = tokio::select! {
            came = listener.accept() => came,
            _ = stage.wait_for(|stage| *stage != Stage::Serving) => break,
        };
        match came {
            Ok((socket, peer)) => welcome(socket, peer),
            Err(error) => {
                if let Some(more) = gate.pass("accept", "accept") {
                    log::warn!("a connection could not be accepted: {error}{more}");
                }
                if let Some(crowd) = &bounds.crowd {
                    crowd.make_room();
                }
                // Of those that have gone again, the next may be there already.
                if !matches!(error.kind(), io::ErrorKind::ConnectionAborted) {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
    if *departure.stage().borrow() == Stage::Stopping {
        // Closing the socket would reset those who have come and stand in its queue.
        let end = Instant::now() + EMPTYING;
        while let Ok(Ok(Ok((socket, peer)))) =
            timeout_at(end, timeout(QUIET, listener.accept())).await
        {
            welcome(socket, peer);
        }
    }
    Ok(())
}

/// One connection from its handshake to its end.
async fn serve<A: HttpServerApp + Send + Sync + 'static>(
    socket: L4Stream,
    tls: Option<Arc<Acceptor>>,
    app: Arc<A>,
    mut connection: Connection,
    ends: Ends,
) {
    let head = ends.head;
    let stream: Stream = match tls {
        None => Box::new(Gathered::new(socket)),
        // Boxed, so that a connection does not hold the room for its handshake all its life.
        Some(tls) => match Box::pin(timeout(HANDSHAKE, tls.tls_handshake(socket))).await {
            Ok(Ok(stream)) => {
                let is_h2 = stream.selected_alpn_proto() == Some(ALPN::H2);
                let stream = Gathered::new(stream);
                match is_h2 {
                    // The framework waits for the first bytes of HTTP/2 as long as they take.
                    true => Box::new(stream.begun_within(PREFACE, head)),
                    false => Box::new(stream),
                }
            }
            Ok(Err(error)) => {
                log::debug!("a TLS handshake failed: {error}");
                return;
            }
            Err(_) => {
                log::debug!("a TLS handshake took too long");
                return;
            }
        },
    };
    connection.ready();
    if stream.selected_alpn_proto() == Some(ALPN::H2) {
        app.process_new(stream, &ends.leaving).await;
    } else {
        connection::serve(stream, &app, ends).await;
    }
    drop(connection);
}
