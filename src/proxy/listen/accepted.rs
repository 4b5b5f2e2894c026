//! Prepares accepted connections for the framework, and serves a handler on its own listener.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use pingora::apps::ServerApp;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::{GetSocketDigest, SocketDigest};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::handler::Handler;
use crate::proxy::handler_app::HandlerApp;
use crate::proxy::listen::coalescing::CoalescingStream;

/// Returns an accepted connection in the form that the framework's own listeners produce: with its
/// addresses.
pub fn accepted(socket: TcpStream, peer: std::net::SocketAddr) -> Stream {
    // Those listeners set this option too: an answer in two writes would otherwise wait for the peer's
    // delayed acknowledgement, some 40 ms. A socket that does not accept the option still works.
    let _ = socket.set_nodelay(true);
    let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
    // The digest is new, so the value is not set yet.
    let _ = digest.peer_addr.set(Some(SocketAddr::Inet(peer)));
    if let Err(error) = socket.set_nodelay(true) {
        log::debug!("a connection had closed before it was accepted: {error}");
    }
    let mut stream = Stream::from(socket);
    stream.set_socket_digest(digest);
    stream
}

/// Serves a handler on a listener until the future is dropped.
pub async fn serve(listener: TcpListener, handler: Arc<dyn Handler>) {
    let app = Arc::new(HandlerApp::new(handler));
    let (_stop, shutdown) = watch::channel(false);
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                let (app, shutdown) = (Arc::clone(&app), shutdown.clone());
                tokio::spawn(async move {
                    let stream = CoalescingStream::new(accepted(socket, peer));
                    app.process_new(Box::new(stream), &shutdown).await;
                });
            }
            Err(error) => {
                log::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}
