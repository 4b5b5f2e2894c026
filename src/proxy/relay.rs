//! Passes requests of posthog-js on to PostHog within the `request_filter` of a host proxy that uses
//! Hedgerow as a plug-in. The `hedgerow` binary instead proxies `posthog` routes through the framework
//! (`site`), which supports WebSockets too.
//!
//! A body of up to [`PIECE`] bytes is sent with its length over a pooled connection, and sent again over a
//! new one if the peer has closed that connection. A longer body is sent over a new connection while it
//! arrives. PostHog's answer is passed on while it arrives.

use std::net::IpAddr;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap};
use http::{Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};

use crate::admin::{RequestKind, RequestOutcome};

use crate::proxy::active_config::ActiveConfig;
use crate::proxy::first_party::posthog::{
    own_answer, ForwardedRequest, PostHogProxy, RequestPlan, BODY,
};
use crate::proxy::intake::refusals::outcome_of_head;
use crate::proxy::limits::rates::{RateDecision, RETRY_AFTER};
use crate::proxy::outbound::hops::end_to_end;
use crate::proxy::outbound::verdict::NoAnswerReason;
use crate::proxy::outbound::{
    AnswerHead, OpenAnswer, Template, UpstreamRequest, WantedFields, PIECE,
};
use crate::proxy::reply;
use crate::proxy::request::body::{BodyInterruption, IncomingBody};
use crate::proxy::request::exchange::head;
use crate::proxy::request::exchange::ConnectionFacts;
use crate::proxy::request_records::{FinishedRequest, RoutedRequest};
use crate::proxy::routes::CompiledRoute;
use crate::segment::Answer;

/// The result of a request that was passed on.
enum RelayResult<'a> {
    /// An answer whose body has not been read yet.
    Answer(OpenAnswer<'a>),
    /// An answer that arrived before the end of the body. PostHog reads no more of the body.
    Early(AnswerHead),
    /// There is no answer of PostHog; the client gets this status.
    Refused(StatusCode, RequestOutcome),
    /// The client hung up.
    ClientGone,
}

impl RelayResult<'_> {
    fn refused(status: StatusCode) -> Self {
        Self::Refused(status, RequestOutcome::of_status(status.as_u16()))
    }
}

/// One request on a `posthog` route.
struct RelayedRequest {
    /// The number of its route in the configuration.
    number: usize,
    /// The outcome of the request; `ClientGone` until another one is known.
    answered: RequestOutcome,
    /// The number of bytes of its body that were read.
    received: u64,
}

impl RelayedRequest {
    fn route_request(&self) -> RoutedRequest {
        RoutedRequest {
            route: Some(self.number),
            asked: RequestKind::PostHog,
        }
    }
}

impl From<BodyInterruption> for RelayResult<'_> {
    fn from(interruption: BodyInterruption) -> Self {
        match interruption {
            BodyInterruption::Gone => Self::ClientGone,
            BodyInterruption::Malformed => {
                Self::Refused(StatusCode::BAD_REQUEST, RequestOutcome::MalformedChunk)
            }
            // Never 408, which Chromium itself repeats at once (segment-tracking 1.5).
            BodyInterruption::Slow => {
                Self::Refused(StatusCode::SERVICE_UNAVAILABLE, RequestOutcome::SlowBody)
            }
        }
    }
}

/// Answers the requests of one `posthog` route.
#[derive(Clone, Copy)]
pub(crate) struct Relay<'s> {
    active: &'s ActiveConfig,
    posthog_proxy: &'s PostHogProxy,
    route: &'s CompiledRoute,
}

impl<'s> Relay<'s> {
    pub(crate) fn new(
        active: &'s ActiveConfig,
        posthog_proxy: &'s PostHogProxy,
        route: &'s CompiledRoute,
    ) -> Self {
        Self {
            active,
            posthog_proxy,
            route,
        }
    }

    /// Answers a request on the route. `tail` is its path after the route's prefix and slash.
    ///
    /// # Errors
    ///
    /// If PostHog's answer breaks off. The client's connection has to be closed then, so that the client
    /// does not take a part for the whole answer.
    pub(crate) async fn answer(self, session: &mut Session, tail: &str) -> Result<()> {
        let began = Instant::now();
        let mut relayed = RelayedRequest {
            number: self.route.number,
            answered: RequestOutcome::ClientGone,
            received: 0,
        };
        let passed = self.pass(session, &mut relayed, tail).await;
        let finished = FinishedRequest::session(session, relayed.received);
        let (routed, answered) = (relayed.route_request(), relayed.answered);
        self.active
            .records()
            .record_end(&finished, routed, answered, began);
        passed
    }

    /// Answers the request, and records the outcome in `relayed`.
    async fn pass(
        &self,
        session: &mut Session,
        relayed: &mut RelayedRequest,
        tail: &str,
    ) -> Result<()> {
        let Self {
            active,
            posthog_proxy,
            ..
        } = *self;
        let long_lived = &active.long_lived;
        if let Err(fault) = head(session).check() {
            session.set_keepalive(None);
            self.finish_as(session, relayed, outcome_of_head(fault));
            let answer = own_answer(fault.status(), &session.req_header().headers);
            return self.write_own(session, answer).await;
        }
        let caller = active.caller(ConnectionFacts::of(session), &session.req_header().headers);
        let decision = long_lived.rates.of_client(&active.config, caller.address);
        if decision == RateDecision::TooFast {
            self.finish_as(session, relayed, RequestOutcome::ClientRate);
            let status = StatusCode::TOO_MANY_REQUESTS;
            let mut answer = own_answer(status, &session.req_header().headers);
            answer
                .headers_mut()
                .insert(header::RETRY_AFTER, RETRY_AFTER.into());
            session.set_keepalive(None);
            return self.write_own(session, answer).await;
        }
        let client = caller.shown;
        let plan = posthog_proxy.plan(session, tail, client).await;
        let limits = &active.config.limits;
        let mut incoming = IncomingBody::begin(session, long_lived.idle_seconds, limits);
        let forwarded = match plan {
            RequestPlan::Pass(forwarded) => forwarded,
            RequestPlan::Answer(answer) => {
                self.finish_as(
                    session,
                    relayed,
                    RequestOutcome::of_status(answer.status().as_u16()),
                );
                incoming.discard(session, 2 * BODY).await;
                return self.write_own(session, answer).await;
            }
        };
        let request = match request(session.req_header(), posthog_proxy, &forwarded, client) {
            Ok(request) => request,
            Err(error) => {
                log::debug!("a request cannot go to PostHog: {error}");
                let status = StatusCode::BAD_REQUEST;
                self.finish_as(session, relayed, RequestOutcome::of_status(400));
                let answer = own_answer(status, &session.req_header().headers);
                return self.write_own(session, answer).await;
            }
        };
        let exchanged = exchange(session, &mut incoming, posthog_proxy, &request).await;
        relayed.received = incoming.received();
        let result = match exchanged {
            Ok(result) => result,
            Err(reason) => {
                self.report(reason);
                match reason {
                    // posthog-js tries again after either (posthog-ingestion 6.5).
                    NoAnswerReason::Timeout => {
                        RelayResult::refused(StatusCode::SERVICE_UNAVAILABLE)
                    }
                    _ => RelayResult::refused(StatusCode::BAD_GATEWAY),
                }
            }
        };
        match result {
            RelayResult::Answer(open_answer) => {
                let status = open_answer.head.status.as_u16();
                self.finish_as(session, relayed, RequestOutcome::relayed(status));
                incoming.discard(session, 2 * BODY).await;
                self.pass_on(session, posthog_proxy, &forwarded, open_answer)
                    .await
            }
            RelayResult::Early(early) => {
                let status = early.status;
                self.finish_as(session, relayed, RequestOutcome::relayed(status.as_u16()));
                incoming.discard(session, 2 * BODY).await;
                session.set_keepalive(None);
                let headers = end_to_end(&early.fields);
                let headers = posthog_proxy.filtered(forwarded.path_and_query(), &headers);
                self.write_own(session, reply::answer(status, headers, Bytes::new()))
                    .await
            }
            RelayResult::Refused(status, answered) => {
                self.finish_as(session, relayed, answered);
                incoming.discard(session, 2 * BODY).await;
                session.set_keepalive(None);
                let answer = own_answer(status, &session.req_header().headers);
                self.write_own(session, answer).await
            }
            RelayResult::ClientGone => {
                self.finish_as(session, relayed, RequestOutcome::ClientGone);
                session.set_keepalive(None);
                Ok(())
            }
        }
    }

    /// Records the outcome of the request in `relayed`, and counts it.
    fn finish_as(&self, session: &Session, relayed: &mut RelayedRequest, answered: RequestOutcome) {
        relayed.answered = answered;
        let (routed, head) = (relayed.route_request(), session.req_header());
        self.active.records().record(head, routed, answered, None);
    }

    /// Writes a complete answer. A client that hangs up is not an error of the host proxy.
    async fn write_own(&self, session: &mut Session, answer: Answer) -> Result<()> {
        self.active.close_when_leaving(session);
        if let Err(error) = reply::write(session, answer).await {
            log_client_gone(session, &error);
        }
        Ok(())
    }

    /// Streams PostHog's answer to the client.
    async fn pass_on(
        &self,
        session: &mut Session,
        posthog_proxy: &PostHogProxy,
        forwarded: &ForwardedRequest,
        mut open_answer: OpenAnswer<'_>,
    ) -> Result<()> {
        self.active.close_when_leaving(session);
        let status = open_answer.head.status;
        let bodiless = session.req_header().method == Method::HEAD
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let headers = end_to_end(&open_answer.head.fields);
        let headers = posthog_proxy.filtered(forwarded.path_and_query(), &headers);
        let mut head = ResponseHeader::build(status, Some(headers.len() + 1))?;
        for (name, value) in &headers {
            head.append_header(name, value)?;
        }
        match length(&open_answer.head.fields) {
            Some(length) if status != StatusCode::NO_CONTENT => {
                head.insert_header(header::CONTENT_LENGTH, length)?;
            }
            None if !bodiless => match session.req_header().version {
                Version::HTTP_11 => head.insert_header(header::TRANSFER_ENCODING, "chunked")?,
                Version::HTTP_2 => {}
                // An HTTP/1.0 client does not know chunks: the end of the connection ends the body.
                _ => session.set_keepalive(None),
            },
            _ => {}
        }
        let written = session
            .write_response_header(Box::new(head), bodiless)
            .await;
        if let Err(error) = written {
            log_client_gone(session, &error);
            open_answer.give_up().await;
            return Ok(());
        }
        if bodiless {
            // Over HTTP/1.1 the reader would wait for the announced body of an answer to HEAD.
            open_answer.give_up().await;
            return Ok(());
        }
        loop {
            let piece = match open_answer.piece().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(broken) => {
                    log::debug!("PostHog's answer broke off: {broken}");
                    open_answer.give_up().await;
                    session.set_keepalive(None);
                    let why = "PostHog's answer broke off";
                    return Err(Error::explain(ErrorType::ReadError, why).into_up());
                }
            };
            if let Err(error) = session.write_response_body(Some(piece), false).await {
                log_client_gone(session, &error);
                open_answer.give_up().await;
                return Ok(());
            }
        }
        open_answer.read_to_end().await;
        if let Err(error) = session.write_response_body(None, true).await {
            log_client_gone(session, &error);
        }
        Ok(())
    }

    fn report(&self, reason: NoAnswerReason) {
        let (kind, advice) = reason.advice();
        let (route, host) = (&self.route.name, self.posthog_proxy.host());
        let log_limit = &self.active.long_lived.log_limit;
        if let Some(more) = log_limit.pass(&format!("{route} {kind}"), "route") {
            log::warn!("route {route}: PostHog ({host}): {advice}{more}");
        }
    }
}

fn log_client_gone(session: &mut Session, error: &Error) {
    log::debug!("the client hung up before its answer: {error}");
    session.set_keepalive(None);
}

/// Builds the request for PostHog. The writer of the body adds the length, except a length of 0, which is
/// copied from the client's request.
fn request(
    client_request: &RequestHeader,
    posthog_proxy: &PostHogProxy,
    forwarded: &ForwardedRequest,
    client: Option<IpAddr>,
) -> Result<Template> {
    let mut request = RequestHeader::build(client_request.method.clone(), b"/", None)?;
    for (name, value) in &end_to_end(&client_request.headers) {
        // This process handles the client's `Expect` itself, because it applies to the next hop.
        if *name != header::EXPECT {
            request.append_header(name, value)?;
        }
    }
    posthog_proxy.request(forwarded, &mut request, client)?;
    let empty = client_request.headers.get(header::CONTENT_LENGTH);
    if empty.is_some_and(|length| length.as_bytes() == b"0") {
        request.insert_header(header::CONTENT_LENGTH, "0")?;
    }
    Template::new(request)
}

/// Returns the length that an answer states for its body, or `None` if the body is sent in chunks or the
/// answer states none.
fn length(fields: &HeaderMap) -> Option<u64> {
    if fields.contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    fields
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .split(',')
        .next()?
        .trim()
        .parse()
        .ok()
}

/// Sends the request to PostHog and reads the head of the answer.
async fn exchange<'a>(
    session: &mut Session,
    incoming: &mut IncomingBody,
    posthog_proxy: &'a PostHogProxy,
    template: &Template,
) -> std::result::Result<RelayResult<'a>, NoAnswerReason> {
    let request = UpstreamRequest {
        template,
        fields: &[],
    };
    let mut buffered = BytesMut::new();
    while buffered.len() <= PIECE {
        match incoming.next(session).await {
            Ok(Some(chunk)) => buffered.extend_from_slice(&chunk),
            Ok(None) => {
                let body = buffered.freeze();
                let open_answer = posthog_proxy.client.send(request, &body, WantedFields::All);
                return Ok(RelayResult::Answer(open_answer.await?));
            }
            Err(interruption) => return Ok(interruption.into()),
        }
    }
    let mut sending = posthog_proxy
        .client
        .open(request, WantedFields::All)
        .await?;
    let mut length = buffered.len();
    let mut piece = buffered.freeze();
    loop {
        if let Some(early) = sending.write(piece).await? {
            sending.abort().await;
            return Ok(RelayResult::Early(early));
        }
        let next = tokio::select! {
            biased; // bytes that have arrived are read first
            next = incoming.next(session) => next,
            early = sending.refused() => {
                let early = early?;
                sending.abort().await;
                return Ok(RelayResult::Early(early));
            }
        };
        match next {
            Ok(Some(chunk)) if length + chunk.len() <= BODY => {
                length += chunk.len();
                piece = chunk;
            }
            Ok(Some(_)) => {
                sending.abort().await;
                return Ok(RelayResult::refused(StatusCode::PAYLOAD_TOO_LARGE));
            }
            Ok(None) => return Ok(RelayResult::Answer(sending.finish(Bytes::new()).await?)),
            Err(interruption) => {
                sending.abort().await;
                return Ok(interruption.into());
            }
        }
    }
}
