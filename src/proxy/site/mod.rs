//! The proxy of the `hedgerow` binary: it serves Segment's calls and proxies the site.

mod answers;
mod challenges;
mod conformance;
mod context;
mod forwarding;
mod health;
pub(crate) mod origin;
mod redirect;
mod reporting;
mod route_health;
mod site_state;
mod uploads;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result, RetryType};

use crate::admin::{RequestKind, RequestOutcome};
use crate::config::Config;
use crate::proxy::build_error::BuildError;
use crate::proxy::first_party::posthog::{self, RequestPlan};
use crate::proxy::heap::boxed;
use crate::proxy::hedgerow::Hedgerow;
use crate::proxy::intake::intercept::Intake;
use crate::proxy::limits::rates::RateDecision;
use crate::proxy::outbound::{hops, CONNECTS};
use crate::proxy::reloads::keep_fixed;
use crate::proxy::reply;
use crate::proxy::request::body::{end_when_idle, end_when_stuck, linger};
use crate::proxy::request::exchange::{authority, head, ConnectionFacts, FrameworkRequest};
use crate::proxy::routes::RouteAction;
use crate::proxy::site::origin::{inject_into, Balancer, NoServer};
use crate::site::forwarding_headers::Underscores;
use crate::site::head::HeadFault;

use answers::{not_proxied, status};
pub use context::SiteContext;
use context::{PageState, ServerAnswer, SiteTarget};
use forwarding::{ask_for_path, end_by_closing, join_cookies, merge_equal_lengths, repeat};
use reporting::ClientAnswer;
use site_state::RouteUpstream;
pub(in crate::proxy) use site_state::SiteState;
use uploads::BodySpeed;

/// The site proxy: Hedgerow answers Segment routes itself, proxies `posthog` and `origin` routes,
/// and answers everything else with 404. All clones share one state.
#[derive(Debug, Clone)]
pub struct Site {
    shared: Arc<SiteShared>,
}

#[derive(Debug)]
struct SiteShared {
    hedgerow: Hedgerow,
    site_state: ArcSwap<SiteState>,
}

impl Site {
    /// Creates the site proxy around this Hedgerow, for the routes of its configuration.
    ///
    /// # Errors
    ///
    /// When the snippet for an origin's pages has no route, or there are no certificate authorities
    /// to verify PostHog's host with.
    pub fn new(hedgerow: Hedgerow) -> Result<Self, BuildError> {
        let site_state = SiteState::new(hedgerow.current(), None)?;
        Ok(Self {
            shared: Arc::new(SiteShared {
                hedgerow,
                site_state: ArcSwap::from_pointee(site_state),
            }),
        })
    }

    /// Replaces the configuration. A request ends with the configuration that it began with. The
    /// state of everything that is equal stays (the spool, counters, connections, cached scripts).
    /// Returns the changed settings that need a new process. It reads files, so do not call it where
    /// requests are served.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new) and of [`Hedgerow::new`]. The old configuration stays active then.
    pub fn reload(&self, mut config: Config) -> Result<Vec<&'static str>, BuildError> {
        let kept = keep_fixed(&mut config, &self.shared.hedgerow.config());
        let next = self.prepare(config)?;
        self.activate(next);
        Ok(kept)
    }

    /// Prepares another configuration while the active one serves.
    pub(in crate::proxy) fn prepare(&self, config: Config) -> Result<Arc<SiteState>, BuildError> {
        let active = self.shared.hedgerow.shared.prepare(config)?;
        let before = self.shared.site_state.load_full();
        Ok(Arc::new(SiteState::new(active, Some(&before))?))
    }

    /// Replaces the active configuration by a prepared one.
    pub(in crate::proxy) fn activate(&self, next: Arc<SiteState>) {
        let hedgerow = &self.shared.hedgerow.shared;
        hedgerow.activate(Arc::clone(&next.active));
        self.shared.site_state.store(next);
    }

    /// Starts the health checks of the origins' servers on the current runtime.
    pub(in crate::proxy) fn watch_health(&self) {
        self.shared.site_state.load().watch_health();
    }

    /// The background services to run if no [`Server`](crate::proxy::Server) runs them: the
    /// balancers of origins with several servers.
    pub fn balancers(&self) -> Vec<Arc<Balancer>> {
        self.shared.site_state.load().balancers()
    }
}

#[async_trait]
impl ProxyHttp for Site {
    type CTX = SiteContext;

    fn new_ctx(&self) -> SiteContext {
        let site_state = self.shared.site_state.load_full();
        SiteContext {
            began: Instant::now(),
            speed: BodySpeed::new(site_state.active.config.limits.body_rate),
            site_state,
            caller: None,
            target: SiteTarget::default(),
            answered: None,
            server_answer: ServerAnswer::Well,
            addresses: None,
            server: None,
            tried: Vec::new(),
            body: 0,
            interim: 0,
            page: PageState::default(),
        }
    }

    /// Adds no module: the default would add the framework's compression, which is switched off
    /// but still called for every request.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn request_filter(
        &self,
        session: &mut Session,
        context: &mut SiteContext,
    ) -> Result<bool> {
        let site_state = Arc::clone(&context.site_state);
        let active = &site_state.active;
        end_when_idle(session, active.long_lived.idle_seconds);
        end_when_stuck(session, active.long_lived.unread);
        // A client that has closed its sending half still waits for the answer (RFC 9112, 9.6); and the
        // last events of a page that closes must be delivered.
        session.set_abort_on_close(false);
        if let Err(fault) = head(session).check() {
            return context.refuse_head(session, fault).await;
        }
        conformance::apply_connection_header(session);
        if conformance::is_about_the_server(session.req_header()) {
            conformance::answer_about_the_server(session).await?;
            return Ok(true);
        }
        if let Some(answer) = challenges::challenge_answer(active, session).await {
            reply::write(session, answer).await?;
            return Ok(true);
        }
        if let Some(answer) = health::health_answer(active, session) {
            reply::write(session, answer).await?;
            return Ok(true);
        }
        self.shared.hedgerow.begin(active);
        let head = session.req_header();
        let path = head.uri.path();
        if active.routes.is_ambiguous(authority(head), path) {
            return context.refuse_head(session, HeadFault::TwoRoutes).await;
        }
        let Some((route, tail)) = active.routes.find(authority(head), path) else {
            return context.nowhere(session).await;
        };
        let tail_at = path.len() - tail.len();
        if let RouteAction::Segment(segment) = &route.action {
            let intake = Intake::new(active, segment, route.number);
            let mut exchange = FrameworkRequest::new(session, active.read_limits());
            // Boxed, so that the futures of proxied requests do not reserve memory for it.
            boxed(|| intake.serve(&mut exchange, tail_at)).await;
            return Ok(true);
        }
        let caller = active.caller(ConnectionFacts::of(session), &head.headers);
        context.caller = Some(caller);
        let Some(route) = site_state.route(route.number) else {
            return context.nowhere(session).await;
        };
        match &route.upstream {
            Some(RouteUpstream::Origin(servers)) => {
                if let Some((status, location)) =
                    redirect::redirect_target(active, session, &caller)
                {
                    answers::redirect(session, status, &location).await?;
                    let routed = route.route_request(RequestKind::Site);
                    let answered = RequestOutcome::relayed(status);
                    active.requests.count(routed.route, routed.asked, answered);
                    context.ended(session, routed, answered);
                    return Ok(true);
                }
                context.target = SiteTarget::Origin(Arc::clone(route), Arc::clone(servers));
                Ok(false)
            }
            Some(RouteUpstream::PostHog(posthog_proxy)) => {
                let routed = route.route_request(RequestKind::PostHog);
                let (records, long_lived) = (active.records(), &active.long_lived);
                let decision = long_lived.rates.of_client(&active.config, caller.address);
                if decision == RateDecision::TooFast {
                    context.target = SiteTarget::Answered;
                    let answered = RequestOutcome::ClientRate;
                    records.record(session.req_header(), routed, answered, None);
                    answers::too_many(session).await?;
                    context.ended(session, routed, answered);
                    return Ok(true);
                }
                let tail = tail.to_owned();
                match posthog_proxy.plan(session, &tail, caller.shown).await {
                    RequestPlan::Pass(forwarded) => {
                        context.target = SiteTarget::PostHog(
                            Arc::clone(route),
                            Arc::clone(posthog_proxy),
                            forwarded,
                        );
                        Ok(false)
                    }
                    RequestPlan::Answer(answer) => {
                        context.target = SiteTarget::Answered;
                        let answered = RequestOutcome::of_status(answer.status().as_u16());
                        records.record(session.req_header(), routed, answered, None);
                        reply::write(session, answer).await?;
                        context.ended(session, routed, answered);
                        Ok(true)
                    }
                }
            }
            None => context.nowhere(session).await,
        }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        context: &mut SiteContext,
    ) -> Result<Box<HttpPeer>> {
        if let SiteTarget::PostHog(_, posthog_proxy, _) = &context.target {
            let addresses = posthog_proxy.upstream.addresses().await;
            let addresses = addresses.map_err(NoServer::Unresolved)?;
            let address = posthog_proxy.upstream.pick(&addresses, &context.tried);
            context.addresses = Some(addresses);
            let address = address.ok_or(NoServer::AllTried)?;
            return Ok(Box::new(posthog_proxy.peer(address)));
        }
        let servers = context.servers().ok_or(NoServer::AllTried)?;
        let (upstream, address, addresses) = servers.next(&context.tried).await?;
        context.addresses = addresses;
        let peer = upstream.peer_for(address, repeat(session));
        context.server = Some(upstream);
        Ok(Box::new(peer))
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut SiteContext,
    ) -> Result<()> {
        if let Some(body) = body.as_ref() {
            context.note_body(session, body.len())?;
        }
        // An HTTP/2 client may end its body with an empty frame. If it were sent on as an empty chunk,
        // the body would end twice, and the server would read the second end as the beginning of the
        // connection's next request (pingora 2.2, cloudflare/pingora#935).
        if end_of_stream && body.as_ref().is_some_and(Bytes::is_empty) {
            *body = None;
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut SiteContext,
    ) -> Result<()> {
        context.begin_attempt(session);
        merge_equal_lengths(request)?;
        conformance::expect_as_its_version_does(session, request);
        if let SiteTarget::PostHog(_, posthog_proxy, forwarded) = &context.target {
            let client = context.caller.and_then(|caller| caller.shown);
            return posthog_proxy.request(forwarded, request, client);
        }
        let (may_be_page, underscores) = match context.servers() {
            Some(servers) => {
                servers.name_host(request, authority(session.req_header()))?;
                (servers.ask_for_page(request)?, servers.underscores())
            }
            None => (false, Underscores::Drop),
        };
        context.page = if may_be_page {
            PageState::Asked
        } else {
            PageState::No
        };
        ask_for_path(request)?;
        join_cookies(request)?;
        context.set_forwarded_fields(session, request, underscores)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut SiteContext,
    ) -> Result<()> {
        context.site_state.active.close_when_leaving(session);
        let switches = response.status == http::StatusCode::SWITCHING_PROTOCOLS;
        if !response.status.is_informational() || switches {
            context.speed.end(session);
        }
        if switches && !session.is_upgrade_req() {
            let why = "it changed the protocol without a request";
            return Err(Error::new(ErrorType::Custom(why)).into_up());
        }
        conformance::count_interim(&mut context.interim, response.status)?;
        let answer_end = conformance::answer_end(session.req_header(), response.status);
        conformance::make_conformant(response, answer_end)?;
        if let SiteTarget::PostHog(_, posthog_proxy, forwarded) = &context.target {
            posthog_proxy.clean(forwarded, response)?;
        }
        if let Some(server) = &context.server {
            server.keepalive().learn(&response.headers);
        }
        if let Some(servers) = context.servers() {
            servers.vary(response)?;
            if let PageState::Asked = &context.page {
                if let Some(page) = servers.page(response, session.req_header())? {
                    context.page = PageState::Injecting(Box::new(page));
                }
            }
        }
        hops::drop_from(response);
        end_by_closing(session, response);
        if switches {
            // The framework ends a WebSocket whose client is silent for a minute, even if the
            // server sends. A page may only listen, so the read timeout for the client is removed;
            // the one for the server stays.
            session.set_read_timeout(None);
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut SiteContext,
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
        context: &mut SiteContext,
        client_reused: bool,
    ) -> Box<Error> {
        let mut error = error.more_context(format!("peer: {peer}"));
        if let (Some(server), true, RetryType::ReusedOnly) =
            (&context.server, client_reused, &error.retry)
        {
            server.keepalive().was_closed_early();
        }
        // PostHog deduplicates events by their id, so its POSTs may be repeated over a new
        // connection if the peer has closed the pooled one.
        let repeatable = matches!(context.target, SiteTarget::PostHog(..))
            || session.req_header().method.is_idempotent();
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
        context: &mut SiteContext,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Some(address) = peer._address.as_inet() {
            context.tried.push(*address);
            if let Some(addresses) = &context.addresses {
                addresses.avoid(*address);
            }
        }
        // Nothing was sent yet, so another address may be tried.
        error.set_retry(context.tried.len() < CONNECTS);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        context: &mut SiteContext,
    ) -> FailToProxy {
        let mut code = status(error);
        if matches!((code, &context.target), (408, SiteTarget::PostHog(..))) {
            // Chromium itself repeats 408 at once (segment-tracking 1.5).
            code = 503;
            context.answered = Some(RequestOutcome::SlowBody);
        }
        // Interim answers do not count as the start of the answer.
        let begun = session.response_written();
        let begun = begun.is_some_and(|response| !response.status.is_informational());
        context.report(
            error,
            match begun {
                true => ClientAnswer::Part,
                false => ClientAnswer::Status(code),
            },
        );
        if begun {
            // An answer that has begun is cut off: an error page after it would make it look
            // complete.
            log::debug!("an answer broke off: {error}");
            session.set_keepalive(None);
        } else if code > 0 {
            context.count(session, code);
            session.set_keepalive(None);
            let (sent, written) = not_proxied(session, &context.target, code).await;
            code = sent;
            if let Err(error) = written {
                log::debug!("the client hung up before its answer: {error}");
            }
        }
        FailToProxy {
            error_code: code,
            can_reuse_downstream: false,
        }
    }

    /// Runs after every answer, whether Hedgerow or an upstream gave it.
    async fn logging(&self, session: &mut Session, _: Option<&Error>, context: &mut SiteContext) {
        context.relayed(session);
        // Recordings are large, and PostHog rejects one that is too large before its body has ended.
        let target = &context.target;
        if matches!(target, SiteTarget::PostHog(..) | SiteTarget::Answered) {
            // A client that expects `100 Continue` reads the answer before it sends the body.
            let waits = context.body == 0 && session.get_header(http::header::EXPECT).is_some();
            if !waits {
                linger(session, 2 * posthog::BODY).await;
            }
        }
    }

    /// The framework's own line would contain the server's answer, including cookies, and a path
    /// that may contain a project's key; `SiteContext::report` logs what an operator needs.
    fn suppress_error_log(&self, _: &Session, _: &SiteContext, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &SiteContext,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
