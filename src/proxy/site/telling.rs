//! What is told of a site's requests: the log's lines, the counters, the end of each.

use std::time::Instant;

use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType};

use crate::admin::{Answered, Asked};
use crate::config::Action;
use crate::proxy::intake::refusals::Asking;
use crate::proxy::outbound::recovery::spoken;

use super::route_health::RouteRecovered;
use super::{Answering, Context, Way};

impl Context {
    /// Tells the operator why a request could not be proxied: which route, and the kind of fault.
    pub(super) fn report(&mut self, error: &Error, code: u16) {
        let number = match self.way {
            Way::Origin(number) | Way::PostHog(number, _) => number,
            Way::Nowhere | Way::Answered => return,
        };
        if *error.esource() == ErrorSource::Downstream {
            log::debug!("a client was lost: {}", error.etype().as_str());
            return;
        }
        self.upstream = Answering::Failed;
        if let Some(trouble) = self.site_state.troubles.get(&number) {
            trouble.failed(Instant::now());
        }
        let route = self.route(number);
        let kind = error.etype().as_str();
        if let Some(more) = self
            .site_state
            .inner
            .log_limit
            .pass(&format!("{route} {kind}"), "route")
        {
            let (words, servers) = (self.way.words(), self.servers_of(number));
            log::warn!(
                "route {route}: {words} ({servers}) did not answer as it should: {}; the client got \
                 {code}{more}",
                fault(error.etype())
            );
        }
    }

    /// What is behind a route, for the log.
    fn servers_of(&self, number: usize) -> String {
        let route = self.site_state.inner.config.routes.get(number);
        match route.map(|route| &route.action) {
            Some(Action::Origin(origin)) => {
                let servers: Vec<_> = origin.servers.iter().map(ToString::to_string).collect();
                servers.join(", ")
            }
            Some(Action::PostHog(said)) => said.project.host.to_string(),
            Some(Action::Segment { .. }) | None => String::new(),
        }
    }

    /// The path of a route, for the log.
    pub(super) fn route(&self, number: usize) -> String {
        let route = self.site_state.inner.config.routes.get(number);
        route.map_or_else(String::new, |route| route.path.to_string())
    }

    /// Tells the operator that the server behind a route answers again, if it did not before.
    pub(super) fn tell_of_recovery(&self, number: usize) {
        let trouble = self.site_state.troubles.get(&number);
        let mended = trouble.and_then(|trouble| trouble.answered(Instant::now()));
        let Some(RouteRecovered { after, failed }) = mended else {
            return;
        };
        let route = self.route(number);
        let log_limit = &self.site_state.inner.log_limit;
        if let Some(more) = log_limit.pass(&route, "route recovered") {
            log::info!(
                "route {route}: {} answers again, after {}; {failed} requests were not answered \
                 as they should be{more}",
                self.way.words(),
                spoken(after)
            );
        }
    }

    /// Counts a request that could not be proxied.
    pub(super) fn count(&mut self, session: &Session, code: u16) {
        let Some(asking) = self.way.asking() else {
            return;
        };
        let answered = self.answered.unwrap_or(Answered::of_status(code));
        self.answered = Some(answered);
        self.site_state
            .inner
            .answered(session, asking, answered, None);
    }

    /// Notes the end of a request that was answered from here.
    pub(super) fn ended(&self, session: &Session, asking: Asking, answered: Answered) {
        let inner = &self.site_state.inner;
        inner.ended(session, asking, answered, self.began, 0);
    }

    /// Notes the end of a request that was proxied, and counts it unless that has been done.
    pub(super) fn relayed(&self, session: &Session) {
        let Some(asking) = self.way.asking() else {
            return;
        };
        let inner = &self.site_state.inner;
        let answered = self.answered.unwrap_or_else(|| {
            let written = session.response_written();
            let answered = written.map_or(Answered::ClientGone, |response| {
                Answered::relayed(response.status.as_u16())
            });
            let well = self.upstream == Answering::Well && written.is_some();
            if let (true, Some(number)) = (well, asking.route) {
                self.tell_of_recovery(number);
            }
            inner.requests.count(asking.route, asking.asked, answered);
            answered
        });
        let received = self.body as u64;
        inner.ended(session, asking, answered, self.began, received);
    }
}

/// What went wrong, in words; in the framework's own where there are none.
fn fault(kind: &ErrorType) -> &'static str {
    use ErrorType::*;
    match kind {
        ConnectRefused => "it refuses connections",
        ConnectTimedout => "no connection in time",
        ConnectNoRoute => "there is no way to its address",
        ConnectError | BindError | SocketError | ConnectProxyFailure => "no connection",
        TLSHandshakeFailure | TLSHandshakeTimedout | InvalidCert | HandshakeError
        | TLSWantX509Lookup => "no TLS connection: is its certificate valid for its name?",
        ReadTimedout => "no answer in time",
        WriteTimedout => "it does not read the request",
        ReadError | WriteError | ConnectionClosed => "it closed the connection",
        InvalidHTTPHeader | H1Error | H2Error | InvalidH2 => "its answer is not HTTP",
        // Said where no address is left to be tried.
        HTTPStatus(502) => "none of its addresses takes a connection",
        other => other.as_str(),
    }
}

impl Way {
    /// Who is behind the route.
    pub(super) fn words(&self) -> &'static str {
        match self {
            Self::PostHog(..) => "PostHog",
            Self::Nowhere | Self::Answered | Self::Origin(_) => "the site's server",
        }
    }

    /// The route that a proxied request is on, and what it asks for.
    pub(super) fn asking(&self) -> Option<Asking> {
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
