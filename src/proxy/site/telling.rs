//! What is told of a site's requests: the log's lines, the counters, the end of each.

use std::time::Instant;

use pingora::proxy::Session;
use pingora::{Error, ErrorSource};

use crate::admin::{Answered, Asked};
use crate::proxy::recovery::spoken;
use crate::proxy::refusals::Asking;

use super::mending::Mended;
use super::{Answering, Context, Site, Way};

impl Site {
    /// Tells the operator why a request could not be proxied: which route, and the kind of fault.
    pub(super) fn report(&self, error: &Error, context: &mut Context, code: u16) {
        let number = match context.way {
            Way::Origin(number) | Way::PostHog(number, _) => number,
            Way::Nowhere | Way::Answered => return,
        };
        if *error.esource() == ErrorSource::Downstream {
            log::debug!("a client was lost: {}", error.etype().as_str());
            return;
        }
        context.upstream = Answering::Failed;
        if let Some(trouble) = self.troubles.get(&number) {
            trouble.failed(Instant::now());
        }
        let route = self.route(number);
        let kind = error.etype().as_str();
        if let Some(more) = self
            .hedgerow
            .inner
            .gate
            .pass(&format!("{route} {kind}"), "route")
        {
            let words = context.way.words();
            log::warn!(
                "route {route}: {words} did not answer as it should: {kind}, status {code}{more}"
            );
        }
    }

    /// The path of a route, for the log.
    pub(super) fn route(&self, number: usize) -> String {
        let route = self.hedgerow.config().routes.get(number);
        route.map_or_else(String::new, |route| route.path.to_string())
    }

    /// Tells the operator that the server behind a route answers again, if it did not before.
    pub(super) fn tell_of_recovery(&self, context: &Context, number: usize) {
        let trouble = self.troubles.get(&number);
        let mended = trouble.and_then(|trouble| trouble.answered(Instant::now()));
        let Some(Mended { after, failed }) = mended else {
            return;
        };
        let route = self.route(number);
        let gate = &self.hedgerow.inner.gate;
        if let Some(more) = gate.pass(&route, "route recovered") {
            log::info!(
                "route {route}: {} answers again, after {}; {failed} requests were not answered \
                 as they should be{more}",
                context.way.words(),
                spoken(after)
            );
        }
    }

    /// Counts a request that could not be proxied.
    pub(super) fn count(&self, session: &Session, context: &mut Context, code: u16) {
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
    pub(super) fn ended(
        &self,
        session: &Session,
        context: &Context,
        asking: Asking,
        answered: Answered,
    ) {
        let inner = &self.hedgerow.inner;
        inner.ended(session, asking, answered, context.began, 0);
    }

    /// Notes the end of a request that was proxied, and counts it unless that has been done.
    pub(super) fn relayed(&self, session: &Session, context: &Context) {
        let Some(asking) = context.way.asking() else {
            return;
        };
        let inner = &self.hedgerow.inner;
        let answered = context.answered.unwrap_or_else(|| {
            let written = session.response_written();
            let answered = written.map_or(Answered::ClientGone, |response| {
                Answered::relayed(response.status.as_u16())
            });
            let well = context.upstream == Answering::Well && written.is_some();
            if let (true, Some(number)) = (well, asking.route) {
                self.tell_of_recovery(context, number);
            }
            inner.requests.count(asking.route, asking.asked, answered);
            answered
        });
        let received = context.body as u64;
        inner.ended(session, asking, answered, context.began, received);
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
