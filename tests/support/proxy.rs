//! Hedgerow's own site proxy in this process, on a free port.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use chrono::Utc;
use hedgerow::config::{Config, Environment};
use hedgerow::demo::capture::{Capture, StoreCapacity, StoredEvent};
use hedgerow::demo::http::Handler;
use hedgerow::proxy::{accepted, serve, CoalescingStream, Site};
use hedgerow::Hedgerow;
use pingora::apps::{HttpServerOptions, ServerApp};
use pingora::proxy::{http_proxy, HttpProxy, ProxyHttp};
use pingora::server::configuration::ServerConf;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A proxy that ends with the test.
pub struct Proxy {
    pub address: SocketAddr,
    pub hedgerow: Hedgerow,
    accepting: JoinHandle<()>,
    _stop: watch::Sender<bool>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The HTTP versions that a client may use on a plain connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Http1,
    Both,
}

/// The configuration in this YAML.
pub fn config(yaml: &str) -> Config {
    match hedgerow::Config::parse(yaml, &Environment::new(Path::new("."))) {
        Ok((config, _)) => config,
        Err(problems) => panic!("{problems:?}\n{yaml}"),
    }
}

/// A project with this host, and a route for it at `/hr/`.
pub fn yaml(host: &str) -> String {
    format!(
        "projects:\n  shop: {{host: \"{host}\", api_key: phc_test}}\n\
         routes:\n  - path: /hr/\n    segment: {{project: shop, write_keys: any}}\n\
         delivery: {{connect_timeout: 2s, timeout: 5s, spool: \"off\"}}\n"
    )
}

/// The same with HTTP/2 to the host.
pub fn yaml_http2(host: &str) -> String {
    yaml(host).replace("api_key: phc_test", "api_key: phc_test, http: 2")
}

impl Proxy {
    /// The binary's proxy for this YAML.
    pub async fn start(yaml: &str) -> Self {
        Self::of(
            Hedgerow::new(config(yaml)).expect("it can be built"),
            Speaks::Http1,
        )
        .await
    }

    /// The same for clients of both HTTP versions.
    pub async fn start_h2c(yaml: &str) -> Self {
        Self::of(
            Hedgerow::new(config(yaml)).expect("it can be built"),
            Speaks::Both,
        )
        .await
    }

    pub async fn of(hedgerow: Hedgerow, speaks: Speaks) -> Self {
        let site = Site::new(hedgerow.clone()).expect("its origins are servers");
        Self::around(hedgerow, site, speaks).await
    }

    /// Any proxy with this Hedgerow inside.
    pub async fn around<P>(hedgerow: Hedgerow, host: P, speaks: Speaks) -> Self
    where
        P: ProxyHttp + Send + Sync + 'static,
        P::CTX: Send + Sync,
    {
        let app = app(host, speaks);
        let (stop, shutdown) = watch::channel(false);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let app = Arc::new(app);
        let accepting = tokio::spawn(async move {
            while let Ok((socket, peer)) = listener.accept().await {
                let (app, shutdown) = (Arc::clone(&app), shutdown.clone());
                tokio::spawn(async move {
                    let stream = Box::new(CoalescingStream::new(accepted(socket, peer)));
                    app.process_new(stream, &shutdown).await;
                });
            }
        });
        Self {
            address,
            hedgerow,
            accepting,
            _stop: stop,
        }
    }
}

/// The framework's server around any proxy.
pub fn app<P>(host: P, speaks: Speaks) -> HttpProxy<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let conf = Arc::new(ServerConf {
        // The test needs none of the machine's certificates.
        ca_file: Some("/dev/null".to_owned()),
        ..ServerConf::default()
    });
    let mut app = http_proxy(&conf, host);
    let mut options = HttpServerOptions::default();
    options.h2c = speaks == Speaks::Both;
    app.server_options = Some(options);
    app
}

/// The stand-in for PostHog on a free port.
pub struct PostHog {
    pub address: SocketAddr,
    pub capture: Arc<Capture>,
    serving: JoinHandle<()>,
}

impl Drop for PostHog {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl PostHog {
    pub async fn start() -> Self {
        Self::with(StoreCapacity::UNBOUNDED).await
    }

    /// One that drops its oldest events above this bound.
    pub async fn with(capacity: StoreCapacity) -> Self {
        let capture = Arc::new(Capture::new(Arc::new(Utc::now), capacity));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let handler: Arc<dyn Handler> = Arc::clone(&capture) as _;
        let serving = tokio::spawn(serve(listener, handler));
        Self {
            address,
            capture,
            serving,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The stored events, as soon as there are so many.
    pub async fn events(&self, count: u64) -> Vec<Arc<StoredEvent>> {
        super::eventually(&format!("{count} events"), || {
            (self.capture.stored() >= count).then(|| self.capture.events())
        })
        .await
    }
}
