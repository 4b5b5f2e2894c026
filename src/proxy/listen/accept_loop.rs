//! Accepts connections, and determines their protocol.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::apps::HttpServerApp;
use pingora::listeners::tls::Acceptor;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{Ssl, ALPN, IO};
use pingora::server::ShutdownWatch;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{timeout, timeout_at, Instant};

use crate::config::{H2c, Listener};
use crate::proxy::client::is_trusted;
use crate::proxy::limits::connection_limits::{ClientProtocol, ConnectionLimits, SlowStep};
use crate::proxy::limits::log_limit::LogLimit;
use crate::proxy::listen::accepted::accepted;
use crate::proxy::listen::balancer::proxied;
use crate::proxy::listen::coalescing::CoalescingStream;
use crate::proxy::listen::connection::{self, Lifetime};
use crate::proxy::listen::detect_protocol::{detect_protocol, DetectedProtocol, NoProtocol};
use crate::proxy::listen::direct::DirectIntake;
use crate::proxy::listen::drain::{ClientConnection, ListenerConnections, ShutdownStage};
use crate::proxy::listen::http2;
use crate::proxy::listen::tls;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(60);
/// Before a listener closes for good, it accepts connections until none arrives for this time.
const QUIET: Duration = Duration::from_millis(10);
/// The maximum time for that: clients that connect later have connected after the end.
const EMPTYING: Duration = Duration::from_millis(200);
/// How long the head of a request to the operator's own listeners may take.
const HEAD: Duration = Duration::from_secs(30);
/// The pause after an accept that failed for lack of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// The options of a listening address.
pub(crate) struct ListenerOptions {
    pub(crate) listener: Listener,
    pub(crate) tls: Option<Arc<Acceptor>>,
}

impl ListenerOptions {
    /// Returns the options of an address without TLS, with the defaults.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self {
            listener: Listener::plain(address),
            tls: None,
        }
    }
}

/// The loop that accepts the connections of one listener.
pub(super) struct AcceptLoop<A> {
    pub(super) app: Arc<A>,
    pub(super) options: Arc<ArcSwap<ListenerOptions>>,
    pub(super) connections: Arc<ListenerConnections>,
    pub(super) idle: u64,
    pub(super) connection_limits: Option<Arc<ConnectionLimits>>,
    pub(super) direct: Option<DirectIntake>,
}

impl<A: HttpServerApp + Send + Sync + 'static> AcceptLoop<A> {
    /// Accepts connections until the listener is closed.
    pub(super) async fn take(&self, listener: TcpListener) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let mut stage = self.connections.stage();
        let log_limit = LogLimit::default();
        loop {
            let result = tokio::select! {
                result = listener.accept() => result,
                _ = stage.wait_for(|stage| *stage != ShutdownStage::Serving) => break,
            };
            match result {
                Ok((socket, peer)) => self.handle_connection(socket, peer),
                Err(error) => {
                    if let Some(more) = log_limit.pass("accept", "accept") {
                        log::warn!("a connection could not be accepted: {error}{more}");
                    }
                    if let Some(connection_limits) = &self.connection_limits {
                        connection_limits.make_room();
                    }
                    // After a connection that its client has aborted, the next may already wait.
                    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted) {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        }
        if *self.connections.stage().borrow() == ShutdownStage::Stopping {
            // Closing the socket would reset the connections that wait in its queue.
            let end = Instant::now() + EMPTYING;
            while let Ok(Ok(Ok((socket, peer)))) =
                timeout_at(end, timeout(QUIET, listener.accept())).await
            {
                self.handle_connection(socket, peer);
            }
        }
        Ok(())
    }

    fn handle_connection(&self, socket: TcpStream, peer: SocketAddr) {
        let options = self.options.load_full();
        let accepted_connection = AcceptedConnection {
            app: Arc::clone(&self.app),
            connection: self.connections.connection(),
            idle: self.idle,
            closing: self.connections.when_closing(),
            leaving: self.connections.leaving(),
            connection_limits: self.connection_limits.clone(),
            direct: self.direct.clone(),
        };
        if is_trusted(peer.ip().to_canonical(), &options.listener.proxy_protocol) {
            tokio::spawn(accepted_connection.through_a_balancer(socket, peer, options));
        } else if let Some(lifetime) = accepted_connection.lifetime(peer, &options) {
            let AcceptedConnection {
                app, connection, ..
            } = accepted_connection;
            let socket = Box::new(accepted(socket, peer));
            tokio::spawn(serve(socket, options, app, connection, lifetime));
        }
    }
}

/// An accepted connection.
struct AcceptedConnection<A> {
    app: Arc<A>,
    connection: ClientConnection,
    idle: u64,
    closing: watch::Receiver<bool>,
    leaving: ShutdownWatch,
    connection_limits: Option<Arc<ConnectionLimits>>,
    direct: Option<DirectIntake>,
}

impl<A: HttpServerApp + Send + Sync + 'static> AcceptedConnection<A> {
    /// Returns when the connection ends, or `None` if there is no place for a client at this address.
    fn lifetime(&self, client: SocketAddr, options: &ListenerOptions) -> Option<Lifetime> {
        // The protocol that needs the most memory of those that are possible, until the real one is
        // known.
        let protocol = match (&options.tls, options.listener.h2c) {
            (Some(_), _) => ClientProtocol::Http2OverTls,
            (None, H2c::On) => ClientProtocol::Http2,
            (None, H2c::Off) => ClientProtocol::Http1,
        };
        let connection_limits = self.connection_limits.as_ref();
        let permit = match connection_limits {
            None => None,
            Some(connection_limits) => Some(connection_limits.enter(client.ip(), protocol)?),
        };
        Some(Lifetime {
            idle: self.idle,
            closing: self.closing.clone(),
            leaving: self.leaving.clone(),
            head: self.head(),
            connection_limits: connection_limits.cloned(),
            direct: self.direct.clone(),
            permit,
        })
    }

    /// How long the head of a request may take.
    fn head(&self) -> Duration {
        let connection_limits = self.connection_limits.as_ref();
        connection_limits.map_or(HEAD, |connection_limits| connection_limits.head())
    }

    /// Reads from the load balancer's header which client has opened the connection, and serves it.
    /// Places are for clients, so the balancer itself takes none.
    async fn through_a_balancer(
        self,
        mut socket: TcpStream,
        peer: SocketAddr,
        options: Arc<ListenerOptions>,
    ) {
        let client = match timeout(self.head(), proxied(&mut socket)).await {
            Ok(Ok(client)) => client.unwrap_or(peer),
            Ok(Err(error)) => {
                log::debug!("a connection from the balancer {peer} was closed: {error}");
                return;
            }
            Err(_) => {
                log::debug!("the balancer {peer} did not send its PROXY header in time");
                return;
            }
        };
        if let Some(lifetime) = self.lifetime(client, &options) {
            let socket = Box::new(accepted(socket, client));
            serve(socket, options, self.app, self.connection, lifetime).await;
        }
    }
}

/// Serves one connection from its handshake to its end.
///
/// While it is idle, which is most of the time, a connection uses the memory of this whole future:
/// so large values are boxed, and no value that is moved away later is borrowed here.
async fn serve<A: HttpServerApp + Send + Sync + 'static>(
    socket: Box<L4Stream>,
    options: Arc<ListenerOptions>,
    app: Arc<A>,
    mut connection: ClientConnection,
    mut lifetime: Lifetime,
) {
    match &options.tls {
        None => {
            let h2c = options.listener.h2c;
            drop(options);
            connection.ready();
            let mut stream = Box::new(CoalescingStream::new(*socket));
            let protocol = match h2c {
                // Boxed, as handshakes are.
                H2c::On => Box::pin(protocol_without_tls(stream.inner(), &lifetime)).await,
                H2c::Off => Some(DetectedProtocol::Http1),
            };
            if let Some(protocol) = protocol {
                if (h2c, protocol) == (H2c::On, DetectedProtocol::Http1) {
                    lifetime.set_protocol(ClientProtocol::Http1);
                }
                serve_stream(stream, protocol, app, lifetime).await;
            }
        }
        Some(tls) => {
            let established = Box::pin(handshake(tls, *socket, &lifetime)).await;
            drop(options);
            if let Some((stream, protocol)) = established {
                connection.ready();
                if protocol == DetectedProtocol::Http1 {
                    lifetime.set_protocol(ClientProtocol::Http1OverTls);
                }
                serve_stream(stream, protocol, app, lifetime).await;
            }
        }
    }
    drop(connection);
}

/// Performs the TLS handshake and returns the stream with its protocol, or `None` if the connection ends
/// with the handshake.
async fn handshake(
    tls: &Acceptor,
    socket: L4Stream,
    lifetime: &Lifetime,
) -> Option<(Box<CoalescingStream<impl IO + 'static>>, DetectedProtocol)> {
    let stream = match timeout(HANDSHAKE, tls.tls_handshake(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            log::debug!("a TLS handshake failed: {error}");
            return None;
        }
        Err(_) => {
            lifetime.too_slow(SlowStep::Handshake);
            return None;
        }
    };
    if proves_a_name(&stream) {
        return None;
    }
    let protocol = match stream.selected_alpn_proto() == Some(ALPN::H2) {
        true => DetectedProtocol::Http2,
        false => DetectedProtocol::Http1,
    };
    Some((Box::new(CoalescingStream::new(stream)), protocol))
}

/// Returns whether a certificate authority made the handshake only to check a name. Nothing follows then
/// (RFC 8737, 3).
fn proves_a_name(stream: &impl Ssl) -> bool {
    match stream.selected_alpn_proto() {
        Some(ALPN::Custom(chosen)) => chosen.protocol() == tls::CHALLENGE,
        _ => false,
    }
}

/// Serves the protocol of a stream until its end.
async fn serve_stream<A, S>(
    mut stream: Box<CoalescingStream<S>>,
    protocol: DetectedProtocol,
    app: Arc<A>,
    lifetime: Lifetime,
) where
    A: HttpServerApp + Send + Sync + 'static,
    S: IO + 'static,
{
    match protocol {
        DetectedProtocol::Http2 => {
            // The framework has no time limit for a head.
            stream.bound_heads(lifetime.head, lifetime.connection_limits.clone());
            // Boxed, so that connections over HTTP/1.x do not include its memory.
            Box::pin(http2::serve(stream, app, lifetime)).await;
        }
        DetectedProtocol::Http1 => connection::serve(stream, &app, &lifetime).await,
    }
}

/// Returns the protocol of a client without TLS, or `None` if the connection ends before its protocol is
/// known.
async fn protocol_without_tls(
    socket: &mut L4Stream,
    lifetime: &Lifetime,
) -> Option<DetectedProtocol> {
    let asked_to_close = async {
        match &lifetime.connection_limits {
            Some(connection_limits) => connection_limits.asked_to_close().await,
            None => std::future::pending().await,
        }
    };
    let mut closing = lifetime.closing.clone();
    tokio::select! {
        biased; // bytes that have already arrived are served
        detected = detect_protocol(socket, Duration::from_secs(lifetime.idle), lifetime.head) => {
            if detected == Err(NoProtocol::Slow) {
                lifetime.too_slow(SlowStep::Head);
            }
            detected.ok()
        }
        _ = closing.wait_for(|closing| *closing) => None,
        () = asked_to_close => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::handler::{Handler, Request, Response};
    use crate::proxy::handler_app::HandlerApp;
    use crate::proxy::listen::drain::Drain;

    struct Nothing;

    impl Handler for Nothing {
        fn handle(&self, _: &Request) -> Response {
            Response::empty(http::StatusCode::NOT_FOUND)
        }
    }

    #[tokio::test]
    async fn a_connection_that_waits_takes_hardly_any_memory() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = TcpStream::connect(address).await.unwrap();
        let listener = Drain::new().listener(listener.into());
        let accepted_connection = AcceptedConnection {
            app: Arc::new(HandlerApp::new(Arc::new(Nothing))),
            connection: listener.connection(),
            idle: 60,
            closing: listener.when_closing(),
            leaving: listener.leaving(),
            connection_limits: None,
            direct: None,
        };
        let options = Arc::new(ListenerOptions::plain(address));
        let lifetime = accepted_connection.lifetime(address, &options).unwrap();
        let socket = Box::new(accepted(socket, address));
        let task = serve(
            socket,
            options,
            accepted_connection.app,
            accepted_connection.connection,
            lifetime,
        );
        let size = size_of_val(&task);
        println!("{size} bytes for a connection that waits");
        assert!(size < 3 << 10, "{size} bytes");
    }
}
