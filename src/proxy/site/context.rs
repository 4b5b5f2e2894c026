//! The state of one request of a site, from its head to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};

use crate::admin::RequestOutcome;
use crate::proxy::first_party::posthog::{self, ForwardedRequest, PostHogProxy};
use crate::proxy::outbound::upstream::{Addresses, UpstreamHost};
use crate::proxy::request::visitor::Caller;
use crate::site::inject::PageStream;

use super::origin::Servers;
use super::site_state::{SiteRoute, SiteState};
use super::uploads::BodySpeed;

/// The state of one request of a site.
pub struct SiteContext {
    pub(super) began: Instant,
    /// The configuration that it began with.
    pub(super) site_state: Arc<SiteState>,
    /// The client, once the head has been checked.
    pub(super) caller: Option<Caller>,
    pub(super) target: SiteTarget,
    /// The answer that Hedgerow gave itself, instead of an upstream.
    pub(super) answered: Option<RequestOutcome>,
    pub(super) server_answer: ServerAnswer,
    pub(super) addresses: Option<Arc<Addresses>>,
    /// The server of the site that the request is sent to now.
    pub(super) server: Option<Arc<UpstreamHost>>,
    pub(super) tried: Vec<SocketAddr>,
    /// The bytes of the request's body so far.
    pub(super) body: usize,
    /// The number of the server's interim answers so far.
    pub(super) interim: u32,
    pub(super) speed: BodySpeed,
    pub(super) page: PageState,
}

/// Whether the route's server has failed in this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerAnswer {
    Well,
    Failed,
}

/// Where a request goes.
#[derive(Debug, Default)]
pub(super) enum SiteTarget {
    #[default]
    Nowhere,
    /// To the site's own servers.
    Origin(Arc<SiteRoute>, Arc<Servers>),
    /// To a project.
    PostHog(Arc<SiteRoute>, Arc<PostHogProxy>, ForwardedRequest),
    /// Nowhere further: it is on a PostHog route, but Hedgerow answers it itself.
    Answered,
}

/// Whether the snippet is put into the answer.
#[derive(Default)]
pub(super) enum PageState {
    #[default]
    No,
    Asked,
    Injecting(Box<PageStream>),
}

impl std::fmt::Debug for SiteContext {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Context")
            .field("tried", &self.tried)
            .finish_non_exhaustive()
    }
}

impl SiteContext {
    pub(super) fn servers(&self) -> Option<&Arc<Servers>> {
        match &self.target {
            SiteTarget::Origin(_, servers) => Some(servers),
            SiteTarget::PostHog(..) | SiteTarget::Nowhere | SiteTarget::Answered => None,
        }
    }

    /// Resets the state of the attempt before the request is sent to a server; it may not be the
    /// first one.
    pub(super) fn begin_attempt(&mut self, session: &mut Session) {
        self.body = 0;
        self.interim = 0;
        self.speed = BodySpeed::new(self.site_state.active.config.limits.body_rate);
        self.speed.limit_wait(session);
    }

    /// Counts the next piece of the request's body.
    ///
    /// # Errors
    ///
    /// 408 for a client that is too slow, 413 for a body that is too large for PostHog.
    pub(super) fn note_body(&mut self, session: &mut Session, bytes: usize) -> Result<()> {
        self.body = self.body.saturating_add(bytes);
        if matches!(self.target, SiteTarget::PostHog(..)) && self.body > posthog::BODY {
            let status = ErrorType::HTTPStatus(413);
            return Err(Error::explain(status, "a body over 64 MB").into_down());
        }
        self.speed.piece(session, bytes)
    }
}
