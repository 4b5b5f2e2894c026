//! A proxy of your own that answers Segment's and posthog-js's calls.

use std::path::Path;

use async_trait::async_trait;
use hedgerow::{Config, Hedgerow};
use pingora::proxy::{http_proxy_service, ProxyHttp, Session};
use pingora::server::Server;
use pingora::upstreams::peer::HttpPeer;

struct MyProxy {
    hedgerow: Hedgerow,
}

#[async_trait]
impl ProxyHttp for MyProxy {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> pingora::Result<bool> {
        self.hedgerow.intercept(session).await // true: Hedgerow has answered a request on one of its routes
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> pingora::Result<Box<HttpPeer>> {
        let site = HttpPeer::new("127.0.0.1:3000", false, String::new());
        Ok(Box::new(site))
    }
}

/// Serves the routes of `hedgerow.yaml`.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (config, warnings) = Config::load(Path::new("hedgerow.yaml"))?;
    for warning in &warnings {
        eprintln!("hedgerow.yaml:{warning}");
    }
    let hedgerow = Hedgerow::in_a_host(config)?;
    let mut server = Server::new(None)?;
    server.bootstrap();
    let config = hedgerow.config();
    let mut service = http_proxy_service(&server.configuration, MyProxy { hedgerow });
    for address in config.addresses() {
        service.add_tcp(&address.to_string());
    }
    server.add_service(service);
    server.run_forever()
}
