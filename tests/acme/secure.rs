//! TLS clients that check the certificate they get.

use std::net::SocketAddr;
use std::sync::Arc;

use pingora::tls::{
    install_default_crypto_provider, ClientConfig, ClientTlsStream, RootCertStore, ServerName,
    TlsConnector,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use x509_parser::pem::Pem;

/// The authorities that a client trusts.
#[derive(Clone)]
pub struct TrustedAuthorities(Arc<ClientConfig>);

/// A connection whose certificate was valid for its name.
pub struct Connection {
    stream: ClientTlsStream<TcpStream>,
    host: String,
}

impl TrustedAuthorities {
    /// The authorities in this PEM text.
    pub fn in_pem(pem: &[u8]) -> Self {
        install_default_crypto_provider();
        let mut store = RootCertStore::empty();
        for block in Pem::iter_from_buffer(pem) {
            store.add(block.unwrap().contents.into()).unwrap();
        }
        let config = ClientConfig::builder().with_root_certificates(store);
        Self(Arc::new(config.with_no_client_auth()))
    }

    /// Connects to a name at an address. The error says what was wrong.
    pub async fn connect(&self, address: SocketAddr, name: &str) -> Result<Connection, String> {
        let socket = TcpStream::connect(address).await;
        let socket = socket.map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(Arc::clone(&self.0));
        let server = ServerName::try_from(name.to_owned()).unwrap();
        let stream = connector.connect(server, socket).await;
        Ok(Connection {
            stream: stream.map_err(|error| error.to_string())?,
            host: name.to_owned(),
        })
    }
}

impl Connection {
    /// The certificate as it was sent.
    pub fn certificate(&self) -> Vec<u8> {
        let chain = self.stream.get_ref().1.peer_certificates().unwrap();
        chain[0].to_vec()
    }

    /// The body of an answer with a length; the connection stays open.
    pub async fn get(&mut self, path: &str) -> Result<String, String> {
        let said = |error: std::io::Error| error.to_string();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        let written = self.stream.write_all(request.as_bytes()).await;
        written.map_err(said)?;
        let mut received = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&received);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = super::support::client::header(head, "content-length");
                let length = length.and_then(|length| length.parse().ok());
                if body.len() >= length.unwrap_or(0) {
                    return Ok(body.to_owned());
                }
            }
            match self.stream.read_buf(&mut received).await.map_err(said)? {
                0 => return Err("the connection was closed".to_owned()),
                _ => continue,
            }
        }
    }
}
