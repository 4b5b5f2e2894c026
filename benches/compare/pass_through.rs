//! The smallest proxy with the framework: it passes everything through. It is this program, so it
//! is built like the release.

use std::net::SocketAddr;

use async_trait::async_trait;
use pingora::proxy::{http_proxy_service, ProxyHttp, Session};
use pingora::server::configuration::ServerConf;
use pingora::server::Server;
use pingora::upstreams::peer::HttpPeer;

/// Set for the process that is the pass-through: its own address and the upstream's.
pub const PASS_THROUGH: &str = "HEDGEROW_COMPARE_PASS_THROUGH";

struct PassThrough(SocketAddr);

#[async_trait]
impl ProxyHttp for PassThrough {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

/// Serves until the process is killed.
pub fn run(addresses: &str, threads: usize) {
    let (listen, upstream) = addresses.split_once(' ').expect("two addresses");
    let conf = ServerConf {
        threads,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let upstream = upstream.parse().expect("an address");
    let mut service = http_proxy_service(&server.configuration, PassThrough(upstream));
    service.add_tcp(listen);
    server.add_service(service);
    server.run_forever();
}
