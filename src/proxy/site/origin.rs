//! The servers of a site: the framework's load balancer chooses between them and watches their
//! health, and their pages get the snippet while they stream.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::header::{self, HeaderMap, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::lb::discovery::ServiceDiscovery;
use pingora::lb::health_check::{HealthCheck, HttpHealthCheck, TcpHealthCheck};
use pingora::lb::selection::RoundRobin;
use pingora::lb::{Backend, Backends, Extensions, LoadBalancer};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::Result;
use sha1::{Digest, Sha1};
use tokio::sync::watch;

use crate::config::{ServerHealthCheck, SiteOrigin, UpstreamHttp};
use crate::posthog::{Host, Scheme};
use crate::site::forwarding_headers::Underscores;
use crate::site::inject::{self, PageStream};
use crate::site::snippet::{self, Page};

use crate::proxy::intake::long_work::LongWorkPermit;
use crate::proxy::outbound::keepalive::KeepAlive;
use crate::proxy::outbound::upstream::{Addresses, Timeouts, Unresolved, UpstreamHost};

/// How often the names of several servers are resolved again.
const RESOLVE: Duration = Duration::from_secs(30);
/// The connect timeout and the read timeout of a health check.
const CHECK: Duration = Duration::from_secs(3);

/// A balancer. It must run as a background service; otherwise its servers' health is not known.
pub type Balancer = LoadBalancer<RoundRobin>;

/// The servers of one origin.
pub(crate) struct Servers {
    /// The settings that the origin was built from, and the snippet's script.
    made_of: (SiteOrigin, Timeouts, Option<String>),
    list: Vec<Arc<UpstreamHost>>,
    next: AtomicUsize,
    balancer: Option<Arc<Balancer>>,
    /// Ends the health checks.
    shutdown: watch::Sender<bool>,
    health_is_watched: AtomicBool,
    snippet: Option<PageSnippet>,
    /// The `Host` of a request that has none.
    authority: String,
    underscores: Underscores,
}

/// The snippet for a site's pages.
struct PageSnippet {
    page: Page,
    mark: String,
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Servers")
            .field("list", &self.list)
            .finish_non_exhaustive()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.shutdown.send_replace(true);
    }
}

impl Servers {
    /// Creates the servers of an origin whose pages get this snippet.
    pub(crate) fn new(origin: &SiteOrigin, timeouts: Timeouts, page: Option<Page>) -> Self {
        let upstream = |host: &Host| {
            let keepalive = KeepAlive::of_origin(origin.keepalive);
            let upstream = UpstreamHost::new(host, UpstreamHttp::Http1, timeouts);
            Arc::new(upstream.with_keepalive(keepalive))
        };
        let list: Vec<Arc<UpstreamHost>> = origin.servers.iter().map(upstream).collect();
        let balancer = match (&origin.health, list.len()) {
            (ServerHealthCheck::Off, _) | (_, 0 | 1) => None,
            (health, _) => Some(Arc::new(balancer(&origin.servers, &list, health))),
        };
        Self {
            made_of: (origin.clone(), timeouts, page.as_ref().map(snippet::script)),
            shutdown: watch::Sender::new(false),
            health_is_watched: AtomicBool::new(false),
            authority: origin
                .servers
                .first()
                .map_or_else(String::new, Host::authority),
            underscores: origin.underscores,
            list,
            next: AtomicUsize::new(0),
            balancer,
            snippet: page.map(|page| {
                let script = snippet::script(&page);
                let mut mark = HEXLOWER.encode(&Sha1::digest(script.as_bytes()));
                mark.truncate(8);
                PageSnippet { page, mark }
            }),
        }
    }

    /// Returns the servers as the configuration names them, for the log.
    pub(crate) fn names(&self) -> String {
        let names = self.made_of.0.servers.iter().map(ToString::to_string);
        names.collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn balancer(&self) -> Option<&Arc<Balancer>> {
        self.balancer.as_ref()
    }

    /// Whether an origin with these settings would behave the same.
    pub(crate) fn behaves_the_same(
        &self,
        origin: &SiteOrigin,
        timeouts: Timeouts,
        page: Option<&Page>,
    ) -> bool {
        let (known, times, kept) = &self.made_of;
        known == origin && *times == timeouts && *kept == page.map(snippet::script)
    }

    /// Starts the health checks on the current runtime; they end when this is dropped.
    pub(crate) fn watch_health(&self) {
        let Some(balancer) = &self.balancer else {
            return;
        };
        if !self.health_is_watched.swap(true, Ordering::AcqRel) {
            let (balancer, shutdown) = (Arc::clone(balancer), self.shutdown.subscribe());
            tokio::spawn(async move { balancer.run(shutdown, None).await });
        }
    }

    /// Returns the next healthy server whose address is not among the `tried` ones. If the balancer
    /// finds none, or there is no balancer, it is the next server in turn that has an address.
    ///
    /// # Errors
    ///
    /// When no address is left to try, or no name of a server can be resolved.
    pub(crate) async fn next(
        &self,
        tried: &[std::net::SocketAddr],
    ) -> Result<
        (
            Arc<UpstreamHost>,
            std::net::SocketAddr,
            Option<Arc<Addresses>>,
        ),
        NoServer,
    > {
        if let Some(balancer) = &self.balancer {
            let backend = balancer.select_with(b"", 256, |backend, healthy| {
                healthy && !inet(backend).is_some_and(|address| tried.contains(&address))
            });
            let chosen = backend.and_then(|backend| {
                let upstream = backend.ext.get::<Arc<UpstreamHost>>()?;
                Some((Arc::clone(upstream), inet(&backend)?, None))
            });
            if let Some(chosen) = chosen {
                return Ok(chosen);
            }
        }
        let mut reason = NoServer::AllTried;
        let count = self.list.len();
        let turns = std::iter::repeat_with(|| self.next.fetch_add(1, Ordering::Relaxed));
        let upstreams = turns
            .take(count)
            .filter_map(|turn| self.list.get(turn % count));
        for upstream in upstreams {
            match upstream.addresses().await {
                Ok(addresses) => {
                    if let Some(address) = upstream.pick(&addresses, tried) {
                        return Ok((Arc::clone(upstream), address, Some(addresses)));
                    }
                }
                Err(unresolved) => reason = NoServer::Unresolved(unresolved),
            }
        }
        Err(reason)
    }

    /// Adds `Host` to a request that has none. HTTP/1.0 does not require it, for example in health
    /// checks of load balancers; the request is sent on as HTTP/1.1, which requires it.
    ///
    /// `requested` is the authority that the client requested, if it named one.
    pub(crate) fn name_host(
        &self,
        request: &mut RequestHeader,
        requested: Option<&str>,
    ) -> Result<()> {
        if request.headers.contains_key(header::HOST) {
            return Ok(());
        }
        let host = requested.unwrap_or(&self.authority).to_owned();
        request.insert_header(header::HOST, host)
    }

    /// Whether names of header fields may have underscores.
    pub(crate) fn underscores(&self) -> Underscores {
        self.underscores
    }

    /// Prepares a request whose answer may be a page that gets the snippet. Returns whether it is such
    /// a request.
    pub(crate) fn ask_for_page(&self, request: &mut RequestHeader) -> Result<bool> {
        let Some(snippet) = &self.snippet else {
            return Ok(false);
        };
        if inject::request(&request.method, &request.headers) != inject::PageRequest::MayBePage {
            return Ok(false);
        }
        if let Some(accepted) = inject::accepted(&request.headers) {
            request.insert_header(header::ACCEPT_ENCODING, accepted)?;
        }
        request.remove_header(&header::IF_MODIFIED_SINCE);
        let etag = request.remove_header(&header::IF_NONE_MATCH);
        if let Some(etag) = etag.and_then(|etag| inject::unmarked(&etag, &snippet.mark)) {
            request.insert_header(header::IF_NONE_MATCH, etag)?;
        }
        Ok(true)
    }

    /// Adds `Vary` to an answer if the site's pages get the snippet and therefore differ.
    pub(crate) fn vary(&self, response: &mut ResponseHeader) -> Result<()> {
        if self.snippet.is_none() {
            return Ok(());
        }
        let mut headers = response.headers.clone();
        inject::vary(response.status, &mut headers);
        replace(response, &headers)
    }

    /// Returns the injector of the snippet if this answer is a suitable page, and changes the
    /// answer's headers to fit.
    pub(crate) fn page(
        &self,
        response: &mut ResponseHeader,
        request: &RequestHeader,
    ) -> Result<Option<PageStream>> {
        let Some(snippet) = &self.snippet else {
            return Ok(None);
        };
        if response.status == http::StatusCode::NOT_MODIFIED {
            let mut headers = response.headers.clone();
            headers.remove(header::LAST_MODIFIED);
            if let Some(etag) = headers.get(header::ETAG) {
                if let Some(etag) = inject::marked(etag, &snippet.mark) {
                    headers.insert(header::ETAG, etag);
                }
            }
            replace(response, &headers)?;
            return Ok(None);
        }
        let (nonce, coding) = match inject::response(response.status, &response.headers) {
            inject::PageResponse::Inject { nonce, coding } => (nonce, coding),
            inject::PageResponse::Leave(reason) => {
                log::debug!("a page was not changed: {}", reason.name());
                return Ok(None);
            }
        };
        let mut headers = response.headers.clone();
        inject::change_headers(&mut headers, &snippet.mark);
        if request.method == http::Method::HEAD {
            replace(response, &headers)?;
            return Ok(None);
        }
        if request.version != http::Version::HTTP_10 {
            headers.insert(
                header::TRANSFER_ENCODING,
                HeaderValue::from_static("chunked"),
            );
        }
        replace(response, &headers)?;
        let tag = snippet::tag(&snippet.page, nonce.as_deref());
        match PageStream::new(Bytes::from(tag), coding) {
            Ok(page) => Ok(Some(page)),
            Err(error) => Err(pingora::Error::explain(
                pingora::ErrorType::InternalError,
                format!("the page's coding: {error}"),
            )),
        }
    }
}

/// Why there is no server to connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoServer {
    /// No address is left to try.
    AllTried,
    /// The name has no known address.
    Unresolved(Unresolved),
}

/// The names of these errors, for the log.
pub(crate) const NAME_UNRESOLVED: &str = "NameUnresolved";
pub(crate) const NO_THREAD: &str = "NoThread";
/// The name of the error of a page whose compressed bytes are broken, or inflate beyond the limit.
pub(crate) const BROKEN_PAGE: &str = "BrokenPage";

impl From<NoServer> for Box<pingora::Error> {
    fn from(reason: NoServer) -> Self {
        let kind = match reason {
            NoServer::AllTried => pingora::ErrorType::HTTPStatus(502),
            NoServer::Unresolved(Unresolved::NoAddress) => {
                pingora::ErrorType::Custom(NAME_UNRESOLVED)
            }
            NoServer::Unresolved(Unresolved::NoThread) => pingora::ErrorType::Custom(NO_THREAD),
        };
        pingora::Error::explain(kind, "there is no address to connect to").into_up()
    }
}

/// Replaces the headers of a response by these.
fn replace(response: &mut ResponseHeader, headers: &HeaderMap) -> Result<()> {
    let before: Vec<_> = response.headers.keys().cloned().collect();
    for name in before {
        let same = response
            .headers
            .get_all(&name)
            .iter()
            .eq(headers.get_all(&name).iter());
        if !same {
            response.remove_header(&name);
        }
    }
    for name in headers.keys() {
        if response.headers.contains_key(name) {
            continue;
        }
        for value in headers.get_all(name) {
            response.append_header(name, value)?;
        }
    }
    Ok(())
}

/// The size in bytes above which a compressed piece of a page may take long: at worst it inflates a
/// thousandfold.
const LONG_PIECE: usize = 1024;

/// Replaces a piece of a page by the bytes for the client, which include the snippet.
///
/// # Errors
///
/// When a compressed page is broken. The answer then ends early, so that it does not look complete.
pub(crate) fn inject_into(
    page: &mut PageStream,
    body: &mut Option<Bytes>,
    end: bool,
) -> Result<()> {
    let broken = |error: inject::BrokenPage| {
        let reason = pingora::ErrorType::Custom(BROKEN_PAGE);
        pingora::Error::explain(reason, error.to_string()).into_up()
    };
    let before = page.is_untouched();
    let mut out = match body.take() {
        Some(piece) => {
            // The framework requests the whole piece at once; the permit lets another thread continue
            // the other requests meanwhile.
            let long = page.is_packed() && piece.len() > LONG_PIECE;
            let permit = long.then(LongWorkPermit::take).flatten();
            let fed = match permit {
                Some(permit) => permit.work(|| page.feed(piece)),
                None => page.feed(piece),
            };
            fed.map_err(broken)?
        }
        None => Bytes::new(),
    };
    if page.is_untouched() && !before {
        log::debug!("a page was not changed: it inflates too far");
    }
    if end {
        let rest = page.finish().map_err(broken)?;
        if !rest.is_empty() {
            out = Bytes::from([out.as_ref(), rest.as_ref()].concat());
        }
    }
    *body = Some(out);
    Ok(())
}

fn inet(backend: &Backend) -> Option<std::net::SocketAddr> {
    backend.addr.as_inet().copied()
}

fn balancer(servers: &[Host], list: &[Arc<UpstreamHost>], health: &ServerHealthCheck) -> Balancer {
    let found = ResolvedServers(list.to_vec());
    let mut balancer = LoadBalancer::from_backends(Backends::new(Box::new(found)));
    let (check, interval): (Box<dyn HealthCheck + Send + Sync>, Duration) = match health {
        ServerHealthCheck::Path(path, interval) => {
            let first = servers.first();
            let host = first.map_or("", Host::name);
            let tls = first.is_some_and(|server| server.scheme() == Scheme::Https);
            let mut check = HttpHealthCheck::new(host, tls);
            check.peer_template.options.connection_timeout = Some(CHECK);
            check.peer_template.options.read_timeout = Some(CHECK);
            if let Ok(mut request) = RequestHeader::build("GET", path.as_bytes(), Some(1)) {
                // Always valid: the configuration allows only host names for a site's servers.
                if request.insert_header(header::HOST, host).is_ok() {
                    check.req = request;
                }
            }
            check.validator = Some(Box::new(|answer: &ResponseHeader| {
                if answer.status.is_success() || answer.status.is_redirection() {
                    return Ok(());
                }
                Err(pingora::Error::explain(
                    pingora::ErrorType::CustomCode("not well", answer.status.as_u16()),
                    "the server reports that it is unhealthy",
                ))
            }));
            (Box::new(check), *interval)
        }
        ServerHealthCheck::Connect(interval) => (TcpHealthCheck::new(), *interval),
        ServerHealthCheck::Off => (TcpHealthCheck::new(), RESOLVE),
    };
    balancer.set_health_check(check);
    balancer.health_check_frequency = Some(interval);
    balancer.update_frequency = Some(RESOLVE);
    balancer.parallel_health_check = true;
    balancer
}

/// The addresses of all servers of an origin.
struct ResolvedServers(Vec<Arc<UpstreamHost>>);

#[async_trait]
impl ServiceDiscovery for ResolvedServers {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let mut backends = BTreeSet::new();
        for upstream in &self.0 {
            let Ok(addresses) = upstream.addresses().await else {
                continue;
            };
            for address in addresses.all() {
                let mut ext = Extensions::new();
                ext.insert(Arc::clone(upstream));
                backends.insert(Backend {
                    addr: SocketAddr::Inet(address),
                    weight: 1,
                    ext,
                });
            }
        }
        Ok((backends, HashMap::new()))
    }
}
