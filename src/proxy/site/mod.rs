//! The proxy of the `hedgerow` binary: Hedgerow first, then the site itself.

mod answers;
mod forwarding;
mod health;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result, RetryType};

use crate::admin::{Answered, Asked};
use crate::config::{Action, Config, Libraries, Origin, PageHost, PathPrefix, SiteHost};
use crate::proxy::body::{end_when_idle, linger};
use crate::proxy::intercept::authority;
use crate::proxy::origin::{inject_into, Balancer, Servers};
use crate::proxy::outbound::CONNECTS;
use crate::proxy::posthog::{self, Passing, Step};
use crate::proxy::refusals::{of_head, Asking};
use crate::proxy::upstream::{Addresses, Timeouts, Upstream};
use crate::proxy::{hops, reply, BuildError, Hedgerow};
use crate::site::claims::Underscores;
use crate::site::inject::PageStream;
use crate::site::snippet::{Home, Page};

pub(in crate::proxy) use answers::head;
use answers::{page, status};
use forwarding::{ask_for_path, end_by_closing, join_cookies, repeat, say_length_once};
pub(in crate::proxy) use forwarding::{X_FORWARDED_HOST, X_FORWARDED_PROTO};

/// How long a site may take for an answer. The framework counts this while the client is still
/// uploading (pingora 2.4), so it must be longer than the slowest upload.
pub(in crate::proxy) const SITE_PATIENCE: Duration = Duration::from_secs(300);

/// The site proxy: Segment routes are Hedgerow's, `posthog` and `origin` routes are proxied, the
/// rest is 404.
#[derive(Debug)]
pub struct Site {
    hedgerow: Hedgerow,
    /// By the number of the route.
    origins: HashMap<usize, Servers>,
}

/// What is known of one request of a site.
pub struct Context {
    began: Instant,
    way: Way,
    /// What an answer of our own to it was, in the place of an upstream's.
    answered: Option<Answered>,
    addresses: Option<Arc<Addresses>>,
    /// The server of the site that has the request now.
    server: Option<Arc<Upstream>>,
    tried: Vec<SocketAddr>,
    /// Bytes of the body so far.
    body: usize,
    page: PageState,
}

impl Default for Context {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            way: Way::Nowhere,
            answered: None,
            addresses: None,
            server: None,
            tried: Vec::new(),
            body: 0,
            page: PageState::No,
        }
    }
}

/// Where a request goes.
#[derive(Debug)]
enum Way {
    Nowhere,
    /// To the servers of the route of this number.
    Origin(usize),
    /// To the project of the route of this number.
    PostHog(usize, Passing),
    /// On such a route, but not on to the project.
    Answered,
}

impl Way {
    /// The route that a proxied request is on, and what it asks for.
    fn asking(&self) -> Option<Asking> {
        let (number, asked) = match self {
            Self::Origin(number) => (*number, Asked::Site),
            Self::PostHog(number, _) => (*number, Asked::PostHog),
            Self::Nowhere | Self::Answered => return None,
        };
        Some(Asking {
            route: Some(number),
            asked,
        })
    }
}

/// Whether an answer gets the snippet.
enum PageState {
    No,
    Asked,
    Injecting(Box<PageStream>),
}

impl std::fmt::Debug for Context {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Context")
            .field("tried", &self.tried)
            .finish_non_exhaustive()
    }
}

impl Site {
    /// The site proxy around this Hedgerow, for the routes of its configuration.
    ///
    /// # Errors
    ///
    /// When an origin's name cannot stand in a URL, its pages' snippet has no route, or there is
    /// nothing to verify PostHog's host with.
    pub fn new(hedgerow: Hedgerow) -> Result<Self, BuildError> {
        let mut origins = HashMap::new();
        let config = hedgerow.config();
        let connect = config.delivery.connect_timeout;
        for (number, route) in config.routes.iter().enumerate() {
            match &route.action {
                Action::Origin(origin) => {
                    let page = match &origin.inject {
                        None => None,
                        Some(path) => Some(page_of(config, path, route.host.as_ref(), origin)?),
                    };
                    let timeouts = Timeouts {
                        connect,
                        exchange: SITE_PATIENCE,
                    };
                    origins.insert(number, Servers::new(origin, timeouts, page)?);
                }
                Action::Segment { .. } | Action::PostHog(_) => {}
            }
        }
        Ok(Self { hedgerow, origins })
    }

    /// What has to run as a background service: the balancers of origins with several servers.
    pub fn balancers(&self) -> Vec<Arc<Balancer>> {
        let servers = self.origins.values();
        servers
            .filter_map(|servers| servers.balancer().cloned())
            .collect()
    }

    /// Tells the operator why a request could not be proxied: which route, and the kind of fault.
    fn report(&self, error: &Error, context: &Context, code: u16) {
        let number = match context.way {
            Way::Origin(number) | Way::PostHog(number, _) => number,
            Way::Nowhere | Way::Answered => return,
        };
        if *error.esource() == ErrorSource::Downstream {
            log::debug!("a client was lost: {}", error.etype().as_str());
            return;
        }
        let route = self.hedgerow.config().routes.get(number);
        let route = route.map_or_else(String::new, |route| route.path.to_string());
        let kind = error.etype().as_str();
        if let Some(more) = self
            .hedgerow
            .inner
            .gate
            .pass(&format!("{route} {kind}"), "route")
        {
            let words = match context.way {
                Way::PostHog(..) => "PostHog",
                _ => "the site's server",
            };
            log::warn!(
                "route {route}: {words} did not answer as it should: {kind}, status {code}{more}"
            );
        }
    }

    /// Counts a request that could not be proxied.
    fn count(&self, session: &Session, context: &mut Context, code: u16) {
        let Some(asking) = context.way.asking() else {
            return;
        };
        let answered = Answered::of_status(code);
        context.answered = Some(answered);
        self.hedgerow
            .inner
            .answered(session, asking, answered, None);
    }

    /// Notes the end of a request that was answered from here.
    fn ended(&self, session: &Session, context: &Context, asking: Asking, answered: Answered) {
        let inner = &self.hedgerow.inner;
        inner.ended(session, asking, answered, context.began, 0);
    }

    /// Notes the end of a request that was proxied, and counts it unless that has been done.
    fn relayed(&self, session: &Session, context: &Context) {
        let Some(asking) = context.way.asking() else {
            return;
        };
        let inner = &self.hedgerow.inner;
        let answered = context.answered.unwrap_or_else(|| {
            let written = session.response_written();
            let answered = written.map_or(Answered::ClientGone, |response| {
                Answered::relayed(response.status.as_u16())
            });
            inner.requests.count(asking.route, asking.asked, answered);
            answered
        });
        let received = context.body as u64;
        inner.ended(session, asking, answered, context.began, received);
    }

    fn servers(&self, context: &Context) -> Option<&Servers> {
        match &context.way {
            Way::Origin(number) => self.origins.get(number),
            _ => None,
        }
    }
}

/// What goes into the pages of an origin.
fn page_of(
    config: &Config,
    path: &PathPrefix,
    host: Option<&SiteHost>,
    origin: &Origin,
) -> Result<Page, BuildError> {
    let path = path.to_string();
    let host = host.map_or(PageHost::Every, PageHost::Named);
    let page = config.page(
        Some(&path),
        host,
        Libraries::All,
        None,
        Some(Home::SameHost),
    );
    page.map_err(|error| BuildError::Snippet {
        origin: origin
            .servers
            .first()
            .map_or_else(String::new, ToString::to_string),
        reason: error.to_string(),
    })
}

#[async_trait]
impl ProxyHttp for Site {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::default()
    }

    /// None: the framework would put its compression here, switched off, and ask it about every
    /// request all the same.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        end_when_idle(session, self.hedgerow.inner.idle_seconds);
        if let Err(fault) = answers::head(session).check() {
            log::debug!("a request was refused for its head: {fault:?}");
            let inner = &self.hedgerow.inner;
            inner.answered(session, Asking::NOTHING, of_head(fault), None);
            answers::refuse_head(session, fault).await?;
            self.ended(session, context, Asking::NOTHING, of_head(fault));
            return Ok(true);
        }
        if let Some(answer) = health::asked(&self.hedgerow, session) {
            reply::write(session, answer).await?;
            return Ok(true);
        }
        if self.hedgerow.calls(session).await? {
            return Ok(true);
        }
        let config = self.hedgerow.config();
        let head = session.req_header();
        let route = config.numbered_route(authority(head), head.uri.path());
        match route.map(|(number, route, tail)| (number, &route.action, tail)) {
            Some((number, Action::Origin(_), _)) => {
                context.way = Way::Origin(number);
                return Ok(false);
            }
            Some((number, Action::PostHog(_), tail)) => {
                if let Some(passed) = self.hedgerow.inner.passed.get(&number) {
                    let client = self.hedgerow.inner.shown(session);
                    match passed.step(session, tail, client).await {
                        Step::Pass(passing) => {
                            // A page that closes has sent its last events all the same.
                            session.set_abort_on_close(false);
                            context.way = Way::PostHog(number, passing);
                            return Ok(false);
                        }
                        Step::Answer(status, headers, body) => {
                            context.way = Way::Answered;
                            let asking = Asking {
                                route: Some(number),
                                asked: Asked::PostHog,
                            };
                            let answered = Answered::of_status(status.as_u16());
                            let inner = &self.hedgerow.inner;
                            inner.answered(session, asking, answered, None);
                            posthog::write(session, status, &headers, body).await?;
                            self.ended(session, context, asking, answered);
                            return Ok(true);
                        }
                    }
                }
            }
            _ => {}
        }
        let inner = &self.hedgerow.inner;
        inner.answered(session, Asking::NOTHING, Answered::NoRoute, None);
        page(session, 404).await?;
        self.ended(session, context, Asking::NOTHING, Answered::NoRoute);
        Ok(true)
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        context: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        let nowhere = || {
            Error::explain(
                ErrorType::HTTPStatus(502),
                "there is no address to connect to",
            )
        };
        if let Way::PostHog(number, _) = &context.way {
            let passed = self.hedgerow.inner.passed.get(number).ok_or_else(nowhere)?;
            let known = passed.upstream.addresses().await.map_err(|_| nowhere())?;
            let address = passed.upstream.pick(&known, &context.tried);
            context.addresses = Some(known);
            return Ok(Box::new(passed.peer(address.ok_or_else(nowhere)?)));
        }
        let servers = self.servers(context).ok_or_else(nowhere)?;
        let next = servers.next(&context.tried).await;
        let (upstream, address, known) = next.ok_or_else(nowhere)?;
        context.addresses = known;
        let peer = upstream.peer_for(address, repeat(session));
        context.server = Some(upstream);
        Ok(Box::new(peer))
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Context,
    ) -> Result<()> {
        if let Some(body) = body.as_ref() {
            context.body = context.body.saturating_add(body.len());
            if matches!(context.way, Way::PostHog(..)) && context.body > posthog::BODY {
                let status = ErrorType::HTTPStatus(413);
                return Err(Error::explain(status, "a body over 64 MB").into_down());
            }
        }
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
        context: &mut Context,
    ) -> Result<()> {
        // A repeated attempt begins anew.
        context.body = 0;
        say_length_once(request)?;
        if let Way::PostHog(number, passing) = &context.way {
            let client = self.hedgerow.inner.shown(session);
            return match self.hedgerow.inner.passed.get(number) {
                Some(passed) => passed.request(passing, request, client),
                None => Ok(()),
            };
        }
        let (asked, underscores) = match self.servers(context) {
            Some(servers) => {
                servers.name_host(request, authority(session.req_header()))?;
                (servers.ask_for_page(request)?, servers.underscores())
            }
            None => (false, Underscores::Drop),
        };
        context.page = if asked {
            PageState::Asked
        } else {
            PageState::No
        };
        ask_for_path(request)?;
        join_cookies(request)?;
        self.say_who_asks(session, request, underscores)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        self.hedgerow.inner.close_when_leaving(session);
        if response.status == http::StatusCode::SWITCHING_PROTOCOLS && !session.is_upgrade_req() {
            let status = ErrorType::HTTPStatus(502);
            let why = "the server changed the protocol unasked";
            return Err(Error::explain(status, why).into_up());
        }
        if let Way::PostHog(number, passing) = &context.way {
            if let Some(passed) = self.hedgerow.inner.passed.get(number) {
                passed.clean(passing, response)?;
            }
        }
        if let Some(server) = &context.server {
            server.keepalive().learn(&response.headers);
        }
        if let Some(servers) = self.servers(context) {
            servers.vary(response)?;
            if let PageState::Asked = &context.page {
                if let Some(page) = servers.page(response, session.req_header())? {
                    context.page = PageState::Injecting(Box::new(page));
                }
            }
        }
        hops::drop_from(response);
        end_by_closing(session, response);
        if response.status == http::StatusCode::SWITCHING_PROTOCOLS {
            // The framework ends a WebSocket whose client is silent for a minute, however much the
            // server says. A page that only listens is no fault; the server's silence counts.
            session.set_read_timeout(None);
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Context,
    ) -> Result<Option<Duration>> {
        if let PageState::Injecting(page) = &mut context.page {
            inject_into(page, body, end_of_stream)?;
        }
        Ok(None)
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        context: &mut Context,
        client_reused: bool,
    ) -> Box<Error> {
        let mut error = error.more_context(format!("peer: {peer}"));
        if let (Some(server), true, RetryType::ReusedOnly) =
            (&context.server, client_reused, &error.retry)
        {
            server.keepalive().was_closed_early();
        }
        // PostHog knows an event again by its id, so its POSTs may be repeated over a new
        // connection when the pooled one was closed by the other end.
        let repeatable =
            matches!(context.way, Way::PostHog(..)) || session.req_header().method.is_idempotent();
        if repeatable && !session.as_ref().retry_buffer_truncated() {
            error.retry.decide_reuse(client_reused);
        } else {
            error.set_retry(false);
        }
        error
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
        context: &mut Context,
    ) -> FailToProxy {
        let mut code = status(error);
        self.report(error, context, code);
        if session.response_written().is_some() {
            // An answer that has begun breaks off: words of ours would end it as if it were whole.
            log::debug!("an answer broke off: {error}");
            session.set_keepalive(None);
        } else if code > 0 {
            self.count(session, context, code);
            session.set_keepalive(None);
            let written = if matches!(context.way, Way::PostHog(..)) {
                // posthog-js tries again after these (posthog-ingestion 6.5).
                code = if code == 504 { 503 } else { code };
                let code = http::StatusCode::from_u16(code).unwrap_or_default();
                let (headers, body) = posthog::own_answer(code, &session.req_header().headers);
                posthog::write(session, code, &headers, body).await
            } else {
                page(session, code).await
            };
            if let Err(error) = written {
                log::debug!("the client was gone before its answer: {error}");
            }
        }
        FailToProxy {
            error_code: code,
            can_reuse_downstream: false,
        }
    }

    /// After the answer, ours or an upstream's.
    async fn logging(&self, session: &mut Session, _: Option<&Error>, context: &mut Context) {
        self.relayed(session, context);
        // Recordings are large, and PostHog says no to a large one before it has ended.
        if matches!(context.way, Way::PostHog(..) | Way::Answered) {
            // A client that expects a word first reads before it sends.
            let waits = context.body == 0 && session.get_header(http::header::EXPECT).is_some();
            if !waits {
                linger(session, 2 * posthog::BODY).await;
            }
        }
    }

    /// The framework's own line would hold what the server sent, cookies included, and a path in
    /// which a project's key may stand; `Site::report` says what an operator needs.
    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Context,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
