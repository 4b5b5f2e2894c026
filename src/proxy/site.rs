//! The proxy of the `hedgerow` binary: Hedgerow first, then the site itself.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{header, HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};

use crate::config::{Action, Origin, OriginServer, UpstreamHttp};
use crate::posthog::Host;

use super::body::end_when_idle;
use super::intercept::authority;
use super::upstream::{Addresses, Timeouts, Upstream};
use super::{client, BuildError, Hedgerow};

/// How long a site may take for an answer. The framework counts this while the client is still
/// uploading (pingora 2.4), so it must be longer than the slowest upload.
const SITE_PATIENCE: Duration = Duration::from_secs(300);
/// Addresses of a site that are tried before a request fails.
const CONNECTS: usize = 3;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What a client could claim about itself in front of a site that believes its proxy.
const CLAIMS: [HeaderName; 4] = [
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
    HeaderName::from_static("x-real-ip"),
    header::FORWARDED,
];

/// The site proxy: Segment routes are Hedgerow's, `origin` routes are proxied, the rest is 404.
#[derive(Debug)]
pub struct Site {
    hedgerow: Hedgerow,
    origins: HashMap<String, Servers>,
}

/// The servers of one origin, in turn.
#[derive(Debug)]
struct Servers {
    list: Vec<Arc<Upstream>>,
    next: AtomicUsize,
}

/// What is known of one request of a site.
#[derive(Debug, Default)]
pub struct Context {
    origin: Option<String>,
    addresses: Option<Arc<Addresses>>,
    tried: Vec<SocketAddr>,
}

impl Site {
    /// The site proxy around this Hedgerow, for the routes of its configuration.
    ///
    /// # Errors
    ///
    /// When an origin's name cannot stand in a URL.
    pub fn new(hedgerow: Hedgerow) -> Result<Self, BuildError> {
        let mut origins = HashMap::new();
        for route in &hedgerow.config().routes {
            let Action::Origin(origin) = &route.action else {
                continue;
            };
            let servers = Servers {
                list: origin
                    .servers
                    .iter()
                    .map(|server| upstream(server, &hedgerow).map(Arc::new))
                    .collect::<Result<_, _>>()?,
                next: AtomicUsize::new(0),
            };
            origins.insert(name(origin), servers);
        }
        Ok(Self { hedgerow, origins })
    }

    /// The addresses of the next server in turn that has any.
    async fn next(&self, context: &mut Context) -> Option<(Arc<Upstream>, SocketAddr)> {
        let servers = self.origins.get(context.origin.as_ref()?)?;
        for _ in 0..servers.list.len() {
            let turn = servers.next.fetch_add(1, Ordering::Relaxed);
            let upstream = servers.list.get(turn % servers.list.len())?;
            let Ok(known) = upstream.addresses().await else {
                continue;
            };
            if let Some(address) = upstream.pick(&known, &context.tried) {
                context.addresses = Some(known);
                return Some((Arc::clone(upstream), address));
            }
        }
        None
    }

    /// The peer's address, and whether its headers are believed.
    fn peer(&self, session: &Session) -> Option<(IpAddr, bool)> {
        let address = session.client_addr()?.as_inet()?.ip().to_canonical();
        let trusted = &self.hedgerow.config().trusted_proxies;
        Some((address, client::is_trusted(address, trusted)))
    }
}

/// The two spell it differently: an origin is a server of a site, a host one of PostHog's.
fn upstream(server: &OriginServer, hedgerow: &Hedgerow) -> Result<Upstream, BuildError> {
    let host: Host = server.to_string().parse().map_err(|_| BuildError::Origin {
        origin: server.to_string(),
    })?;
    let timeouts = Timeouts {
        connect: hedgerow.config().delivery.connect_timeout,
        exchange: SITE_PATIENCE,
    };
    Ok(Upstream::new(&host, UpstreamHttp::Http1, timeouts))
}

fn name(origin: &Origin) -> String {
    let servers = origin.servers.iter().map(ToString::to_string);
    servers.collect::<Vec<_>>().join(" ")
}

#[async_trait]
impl ProxyHttp for Site {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::default()
    }

    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        end_when_idle(session, self.hedgerow.inner.idle_seconds);
        if self.hedgerow.intercept(session).await? {
            return Ok(true);
        }
        let head = session.req_header();
        let route = self
            .hedgerow
            .config()
            .route(authority(head), head.uri.path());
        if let Some((route, _)) = route {
            if let Action::Origin(origin) = &route.action {
                context.origin = Some(name(origin));
                return Ok(false);
            }
        }
        page(session, 404).await?;
        Ok(true)
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        context: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        match self.next(context).await {
            Some((upstream, address)) => Ok(Box::new(upstream.peer(address))),
            None => Err(Error::explain(
                ErrorType::HTTPStatus(502),
                "the site has no address to connect to",
            )),
        }
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        _context: &mut Context,
    ) -> Result<()> {
        // An HTTP/2 client may end its body with an empty frame. Sent on as an empty chunk it
        // would end the body twice, and the second end would begin the next request on that
        // connection (pingora 2.2, cloudflare/pingora#935).
        if end_of_stream && body.as_ref().is_some_and(Bytes::is_empty) {
            *body = None;
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _context: &mut Context,
    ) -> Result<()> {
        let peer = self.peer(session);
        let trusted = peer.is_some_and(|(_, trusted)| trusted);
        if !trusted {
            for claim in &CLAIMS {
                request.remove_header(claim);
            }
        }
        if let Some((address, _)) = peer {
            let before = trusted
                .then(|| {
                    let values = request.headers.get_all(X_FORWARDED_FOR).iter();
                    let texts = values.filter_map(|value| value.to_str().ok());
                    texts.collect::<Vec<_>>().join(", ")
                })
                .filter(|list| !list.is_empty());
            let list = match before {
                Some(list) => format!("{list}, {address}"),
                None => address.to_string(),
            };
            request.insert_header(X_FORWARDED_FOR, list)?;
        }
        let tls = session
            .digest()
            .is_some_and(|digest| digest.ssl_digest.is_some());
        let scheme = HeaderValue::from_static(if tls { "https" } else { "http" });
        insert_if_missing(request, X_FORWARDED_PROTO, scheme)?;
        let host =
            authority(session.req_header()).and_then(|host| HeaderValue::from_str(host).ok());
        if let Some(host) = host {
            insert_if_missing(request, X_FORWARDED_HOST, host)?;
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        _context: &mut Context,
    ) -> Result<()> {
        // Said by the site to its own connection with us, not to the client.
        response.remove_header("keep-alive");
        response.remove_header("proxy-connection");
        Ok(())
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        peer: &HttpPeer,
        context: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Some(address) = peer._address.as_inet() {
            context.tried.push(*address);
            if let Some(addresses) = &context.addresses {
                addresses.avoid(*address);
            }
        }
        // Nothing was sent yet.
        error.set_retry(context.tried.len() < CONNECTS);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        _context: &mut Context,
    ) -> FailToProxy {
        let code = status(error);
        if code > 0 {
            session.set_keepalive(None);
            if let Err(error) = page(session, code).await {
                log::debug!("the client was gone before its answer: {error}");
            }
        }
        FailToProxy {
            error_code: code,
            can_reuse_downstream: false,
        }
    }

    /// Without the query: it may hold what people typed.
    fn request_summary(&self, session: &Session, _context: &Context) -> String {
        let head = session.req_header();
        format!("{} {}", head.method, head.uri.path())
    }
}

fn insert_if_missing(
    request: &mut RequestHeader,
    name: HeaderName,
    value: HeaderValue,
) -> Result<()> {
    if request.headers.contains_key(&name) {
        return Ok(());
    }
    request.insert_header(name, value)
}

/// The status for a request that could not be proxied; 0 when nobody is left to read it.
fn status(error: &Error) -> u16 {
    match (error.etype(), error.esource()) {
        (ErrorType::HTTPStatus(code), _) => *code,
        (
            ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed,
            ErrorSource::Downstream,
        ) => 0,
        (_, ErrorSource::Downstream) => 400,
        (ErrorType::ReadTimedout | ErrorType::ConnectTimedout, ErrorSource::Upstream) => 504,
        (_, ErrorSource::Upstream) => 502,
        _ => 500,
    }
}

/// A plain page that names neither the framework nor Hedgerow.
async fn page(session: &mut Session, code: u16) -> Result<()> {
    let mut head = ResponseHeader::build(code, Some(4))?;
    let reason = head.status.canonical_reason().unwrap_or("Error");
    let body = Bytes::from(format!("{code} {reason}\n"));
    head.insert_header(header::CONTENT_TYPE, "text/plain; charset=utf-8")?;
    head.insert_header(header::CONTENT_LENGTH, body.len())?;
    head.insert_header(header::CACHE_CONTROL, "no-store")?;
    let bodiless = session.req_header().method == http::Method::HEAD;
    session
        .write_response_header(Box::new(head), bodiless)
        .await?;
    let body = (!bodiless).then_some(body);
    session.write_response_body(body, true).await
}
