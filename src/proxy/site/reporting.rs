//! The reports about a site's requests: log lines, counters, and the end of each request.

use std::sync::Arc;
use std::time::Instant;

use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType, Result};

use crate::admin::{RequestKind, RequestOutcome};
use crate::proxy::intake::refusals::outcome_of_head;
use crate::proxy::outbound::outage_tracker::format_duration;
use crate::proxy::request_records::{FinishedRequest, RoutedRequest};
use crate::site::head::HeadFault;

use super::answers::{page, refuse_head};
use super::context::{ServerAnswer, SiteContext, SiteTarget};
use super::origin::{BROKEN_PAGE, NAME_UNRESOLVED, NO_THREAD};
use super::route_health::RouteRecovered;
use super::site_state::SiteRoute;

/// The answer that the client of a failed request got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientAnswer {
    /// This status.
    Status(u16),
    /// The beginning of the server's answer.
    Part,
}

impl std::fmt::Display for ClientAnswer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(formatter, "{status}"),
            Self::Part => formatter.write_str("a part of it"),
        }
    }
}

impl SiteContext {
    /// Answers a request that is rejected because of its head.
    pub(super) async fn refuse_head(
        &self,
        session: &mut Session,
        fault: HeadFault,
    ) -> Result<bool> {
        log::debug!("a request was refused for its head: {fault:?}");
        let (routed, answered) = (RoutedRequest::NOTHING, outcome_of_head(fault));
        let active = &self.site_state.active;
        active
            .records()
            .record(session.req_header(), routed, answered, None);
        refuse_head(session, fault).await?;
        self.ended(session, routed, answered);
        Ok(true)
    }

    /// Answers a request that matches no route, with 404.
    pub(super) async fn nowhere(&self, session: &mut Session) -> Result<bool> {
        let (routed, answered) = (RoutedRequest::NOTHING, RequestOutcome::NoRoute);
        let active = &self.site_state.active;
        active
            .records()
            .record(session.req_header(), routed, answered, None);
        page(session, 404).await?;
        self.ended(session, routed, answered);
        Ok(true)
    }

    /// Logs why a request could not be proxied: the route and the kind of fault.
    pub(super) fn report(&mut self, error: &Error, client_answer: ClientAnswer) {
        let Some(route) = self.target.route().cloned() else {
            return;
        };
        if *error.esource() == ErrorSource::Downstream {
            log::debug!("a client was lost: {}", error.etype().as_str());
            return;
        }
        self.server_answer = ServerAnswer::Failed;
        route.health.failed(Instant::now());
        let route = &route.path;
        let kind = error.etype().as_str();
        if let Some(more) = self
            .site_state
            .active
            .long_lived
            .log_limit
            .pass(&format!("{route} {kind}"), "route")
        {
            let (description, servers) = (self.target.description(), self.target.servers());
            log::warn!(
                "route {route}: {description} ({servers}) gave no valid answer: {}; the client got {client_answer}{more}",
                failure_text(error.etype())
            );
        }
    }

    /// Logs that a route's server answers again, if it had failed before.
    pub(super) fn log_recovery(&self, route: &SiteRoute) {
        let recovered = route.health.answered(Instant::now());
        let Some(RouteRecovered { after, failed }) = recovered else {
            return;
        };
        let route = &route.path;
        let log_limit = &self.site_state.active.long_lived.log_limit;
        if let Some(more) = log_limit.pass(route, "route recovered") {
            log::info!(
                "route {route}: {} answers again, after {}; {failed} requests failed in that time{more}",
                self.target.description(),
                format_duration(after)
            );
        }
    }

    /// Counts a request that could not be proxied.
    pub(super) fn count(&mut self, session: &Session, code: u16) {
        let Some(routed) = self.target.route_request() else {
            return;
        };
        let answered = self.answered.unwrap_or(RequestOutcome::of_status(code));
        self.answered = Some(answered);
        self.site_state
            .active
            .records()
            .record(session.req_header(), routed, answered, None);
    }

    /// Reports the end of a request that Hedgerow answered itself.
    pub(super) fn ended(&self, session: &Session, routed: RoutedRequest, answered: RequestOutcome) {
        let active = &self.site_state.active;
        active.records().record_end(
            &FinishedRequest::session(session, 0),
            routed,
            answered,
            self.began,
        );
    }

    /// Reports the end of a proxied request, and counts the request unless it is counted already.
    pub(super) fn relayed(&self, session: &Session) {
        let Some(routed) = self.target.route_request() else {
            return;
        };
        let active = &self.site_state.active;
        let answered = self.answered.unwrap_or_else(|| {
            let written = session.response_written();
            let answered = written.map_or(RequestOutcome::ClientGone, |response| {
                RequestOutcome::relayed(response.status.as_u16())
            });
            let is_well = self.server_answer == ServerAnswer::Well && written.is_some();
            if let (true, Some(route)) = (is_well, self.target.route()) {
                self.log_recovery(route);
            }
            active.requests.count(routed.route, routed.asked, answered);
            answered
        });
        let finished = FinishedRequest::session(session, self.body as u64);
        active
            .records()
            .record_end(&finished, routed, answered, self.began);
    }
}

/// Returns the reason of an error in words, or the framework's name for it if there are none.
fn failure_text(kind: &ErrorType) -> &'static str {
    use ErrorType::*;
    match kind {
        ConnectRefused => "it refuses connections",
        ConnectTimedout => "no connection in time",
        ConnectNoRoute => "its address cannot be reached",
        ConnectError | BindError | SocketError | ConnectProxyFailure => "no connection",
        TLSHandshakeFailure | TLSHandshakeTimedout | InvalidCert | HandshakeError
        | TLSWantX509Lookup => "no TLS connection: is its certificate valid for its name?",
        ReadTimedout => "no answer in time",
        WriteTimedout => "it does not accept the request",
        ReadError | WriteError | ConnectionClosed => "it closed the connection",
        InvalidHTTPHeader | H1Error | H2Error | InvalidH2 => "its answer is not HTTP",
        Custom("PrematureBodyEnd") => "its answer ended early",
        Custom("InvalidChunk" | "InvalidTrailerEnd") => "its chunks are broken",
        Custom(NAME_UNRESOLVED) => "its name cannot be resolved",
        Custom(NO_THREAD) => {
            "its name cannot be looked up, because the system starts no more threads"
        }
        Custom(BROKEN_PAGE) => {
            "a page's compressed bytes are damaged, or inflate to far more than their size"
        }
        // Set when no address is left to try.
        HTTPStatus(502) => "none of its addresses accepts a connection",
        other => other.as_str(),
    }
}

impl SiteTarget {
    /// The route's servers, for the log.
    fn servers(&self) -> String {
        match self {
            Self::Origin(_, servers) => servers.names(),
            Self::PostHog(_, posthog_proxy, _) => posthog_proxy.host().to_string(),
            Self::Nowhere | Self::Answered => String::new(),
        }
    }

    /// The name of the route's server in messages.
    pub(super) fn description(&self) -> &'static str {
        match self {
            Self::PostHog(..) => "PostHog",
            Self::Nowhere | Self::Answered | Self::Origin(..) => "the site's server",
        }
    }

    /// The route that a proxied request is on.
    fn route(&self) -> Option<&Arc<SiteRoute>> {
        match self {
            Self::Origin(route, _) | Self::PostHog(route, ..) => Some(route),
            Self::Nowhere | Self::Answered => None,
        }
    }

    /// The route that a proxied request is on, and the kind of request, for the counters.
    pub(super) fn route_request(&self) -> Option<RoutedRequest> {
        match self {
            Self::Origin(route, _) => Some(route.route_request(RequestKind::Site)),
            Self::PostHog(route, ..) => Some(route.route_request(RequestKind::PostHog)),
            Self::Nowhere | Self::Answered => None,
        }
    }
}

impl SiteRoute {
    /// A request of this kind on this route, for the counters.
    pub(super) fn route_request(&self, asked: RequestKind) -> RoutedRequest {
        RoutedRequest {
            route: Some(self.number),
            asked,
        }
    }
}
