//! Certificates made for a test, and the stand-in for PostHog behind TLS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use hedgerow::proxy::accepted;
use pingora::apps::ServerApp;
use pingora::connectors::http::Connector;
use pingora::connectors::ConnectorOptions;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::listeners::tls::TlsSettings;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The number of authorities so far.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// An authority, and a certificate that it has signed.
pub struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    /// A certificate for these names and addresses.
    pub fn new(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority_key = rcgen::KeyPair::generate().expect("a key");
        let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        // Clients tell authorities apart by their names.
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("authority {number} of {}", std::process::id());
        let common = rcgen::DnType::CommonName;
        authority.distinguished_name.push(common, name);
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_certificate = authority.self_signed(&authority_key).expect("it is signed");
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(names)
            .expect("parameters")
            .signed_by(&key, &issuer)
            .expect("it is signed");
        let write = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).expect("it is written");
        };
        write("ca.pem", authority_certificate.pem());
        write("certificate.pem", certificate.pem());
        write("key.pem", key.serialize_pem());
        Self { folder }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Any server of the framework, behind TLS.
pub struct Secure {
    pub address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The offered HTTP versions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AlpnOffer {
    Http1,
    Both,
}

impl Secure {
    pub async fn start<A>(app: A, certificates: &Certificates, offers: AlpnOffer) -> Self
    where
        A: ServerApp + Send + Sync + 'static,
    {
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let certificate = text(&certificates.file("certificate.pem"));
        let key = text(&certificates.file("key.pem"));
        let mut settings = TlsSettings::intermediate(&certificate, &key).expect("files");
        if offers == AlpnOffer::Both {
            settings.enable_h2();
        }
        let acceptor = Arc::new(settings.build());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let app = Arc::new(app);
        let accepting = tokio::spawn(async move {
            let (_stop, shutdown) = watch::channel(false);
            while let Ok((socket, peer)) = listener.accept().await {
                let (app, acceptor) = (Arc::clone(&app), Arc::clone(&acceptor));
                let shutdown = shutdown.clone();
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.tls_handshake(accepted(socket, peer)).await {
                        app.process_new(Box::new(stream), &shutdown).await;
                    }
                });
            }
        });
        Self { address, accepting }
    }
}

/// One POST over TLS: the head of its answer, and the HTTP version.
pub async fn exchange(
    address: SocketAddr,
    certificates: &Certificates,
    offers: AlpnOffer,
    path: &str,
    body: &str,
) -> (ResponseHeader, http::Version) {
    exchange_with(address, certificates, offers, path, &[], body)
        .await
        .expect("an answer")
}

/// The same with these further headers; `None` if the connection ends without an answer.
pub async fn exchange_with(
    address: SocketAddr,
    certificates: &Certificates,
    offers: AlpnOffer,
    path: &str,
    headers: &[(&'static str, String)],
    body: &str,
) -> Option<(ResponseHeader, http::Version)> {
    let mut options = ConnectorOptions::new(1);
    options.ca_file = certificates.file("ca.pem").to_str().map(str::to_owned);
    let connector = Connector::new(Some(options));
    let mut peer = HttpPeer::new(address, true, "localhost".to_owned());
    if offers == AlpnOffer::Both {
        peer.options.set_http_version(2, 1);
    }
    let (mut session, _) = connector.get_http_session(&peer).await.expect("a session");
    let version = match session {
        HttpSession::H2(_) => http::Version::HTTP_2,
        _ => http::Version::HTTP_11,
    };
    let mut head = RequestHeader::build("POST", path.as_bytes(), None).expect("a head");
    head.insert_header("Host", "localhost").expect("a header");
    head.insert_header("Content-Length", body.len())
        .expect("a header");
    for (name, value) in headers {
        head.insert_header(*name, value).expect("a header");
    }
    session
        .write_request_header(Box::new(head))
        .await
        .expect("it is open");
    let body = bytes::Bytes::copy_from_slice(body.as_bytes());
    session.write_request_body(body, true).await.ok()?;
    session.finish_request_body().await.ok()?;
    session.read_response_header().await.ok()?;
    Some((session.response_header()?.clone(), version))
}
