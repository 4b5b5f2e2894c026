//! An existing proxy that has a health page, adds a header to requests, and removes the `Server`
//! header from responses. One line in its `request_filter` adds Hedgerow.
//!
//! ```text
//! POSTHOG_API_KEY=phc_… cargo run --example existing_proxy -- 127.0.0.1:8080 127.0.0.1:3000
//! ```
#![allow(missing_docs)]

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use hedgerow::{Config, Environment, Hedgerow};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{http_proxy_service, ProxyHttp, Session};
use pingora::server::Server;
use pingora::upstreams::peer::HttpPeer;
use pingora::Result;

/// The configuration: the path of Segment's calls, and the project that gets their events.
const CONFIGURATION: &str = "
projects:
  shop: {host: us, api_key: env:POSTHOG_API_KEY}
routes:
  - path: /hr/
    segment: {project: shop, write_keys: any}
";

/// The existing proxy, with Hedgerow as one more field.
pub struct Shop {
    pub site: std::net::SocketAddr,
    pub requests: AtomicU64,
    pub hedgerow: Hedgerow,
}

/// The state that the proxy stores for one request.
#[derive(Default)]
pub struct Ticket {
    number: u64,
}

#[async_trait]
impl ProxyHttp for Shop {
    type CTX = Ticket;

    fn new_ctx(&self) -> Ticket {
        Ticket {
            number: self.requests.fetch_add(1, Ordering::Relaxed),
        }
    }

    async fn request_filter(&self, session: &mut Session, _: &mut Ticket) -> Result<bool> {
        if session.req_header().uri.path() == "/health" {
            let page = Bytes::from_static(b"well\n");
            session.respond_error_with_body(200, page).await?;
            return Ok(true);
        }
        self.hedgerow.intercept(session).await
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Ticket) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.site, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        ticket: &mut Ticket,
    ) -> Result<()> {
        request.insert_header("X-Ticket", ticket.number)
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        _: &mut Ticket,
    ) -> Result<()> {
        response.remove_header("Server");
        Ok(())
    }
}

#[allow(dead_code)]
fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().unwrap_or("127.0.0.1:8080".to_owned());
    let site = arguments.next().unwrap_or("127.0.0.1:3000".to_owned());
    let (config, _) = Config::parse(CONFIGURATION, &Environment::new("."))?;
    let shop = Shop {
        site: site.parse()?,
        requests: AtomicU64::new(0),
        hedgerow: Hedgerow::in_a_host(config)?,
    };
    let mut server = Server::new(None)?;
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, shop);
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever()
}
