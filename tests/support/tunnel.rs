//! A way to a server behind TLS for clients that speak without: each connection is taken through TLS as it is,
//! with its ends.

use std::net::SocketAddr;
use std::sync::Arc;

use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::protocols::ALPN;
use pingora::upstreams::peer::HttpPeer;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::tls::Certificates;

pub struct Tunnel {
    pub address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Tunnel {
    /// To this server, which has to speak this protocol.
    pub async fn to(server: SocketAddr, certificates: &Certificates, speaks: ALPN) -> Self {
        let mut options = ConnectorOptions::new(1);
        options.ca_file = certificates.file("ca.pem").to_str().map(str::to_owned);
        let connector = Arc::new(TransportConnector::new(Some(options)));
        let mut peer = HttpPeer::new(server, true, "localhost".to_owned());
        peer.options.alpn = speaks;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let accepting = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (connector, peer) = (Arc::clone(&connector), peer.clone());
                socket.set_nodelay(true).expect("a TCP socket");
                tokio::spawn(async move {
                    let mut inner = connector.new_stream(&peer).await.expect("a handshake");
                    // A connection that breaks ends here; the client sees it.
                    let _ = tokio::io::copy_bidirectional(&mut socket, &mut inner).await;
                });
            }
        });
        Self { address, accepting }
    }
}
