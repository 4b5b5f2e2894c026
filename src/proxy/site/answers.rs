//! The answers that the site proxy writes itself: error pages, redirects and rejections.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::StatusCode;
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType, OrErr, Result};

use crate::proxy::first_party::posthog;
use crate::proxy::limits::rates::RETRY_AFTER;
use crate::proxy::reply;
use crate::site::head::HeadFault;

use super::context::SiteTarget;

/// Returns the status for a request that could not be proxied; 0 if the client has gone.
pub(super) fn status(error: &Error) -> u16 {
    match (error.etype(), error.esource()) {
        (ErrorType::HTTPStatus(code), _) => *code,
        (
            ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed,
            ErrorSource::Downstream,
        ) => 0,
        (ErrorType::ReadTimedout, ErrorSource::Downstream) => 408,
        (_, ErrorSource::Downstream) => 400,
        (ErrorType::ReadTimedout | ErrorType::ConnectTimedout, ErrorSource::Upstream) => 504,
        (_, ErrorSource::Upstream) => 502,
        _ => 500,
    }
}

/// Answers a request that could not be proxied. Returns the status that the client gets.
pub(super) async fn not_proxied(
    session: &mut Session,
    target: &SiteTarget,
    code: u16,
) -> (u16, Result<()>) {
    if !matches!(target, SiteTarget::PostHog(..)) {
        return (code, page(session, code).await);
    }
    // posthog-js tries again after these (posthog-ingestion 6.5).
    let code = if code == 504 { 503 } else { code };
    let status = StatusCode::from_u16(code).unwrap_or_default();
    let answer = posthog::own_answer(status, &session.req_header().headers);
    (code, reply::write(session, answer).await)
}

/// Answers a request that is refused for its head, and closes the connection: such heads are sent
/// to confuse a proxy about where the next request begins.
pub(super) async fn refuse_head(session: &mut Session, fault: HeadFault) -> Result<()> {
    session.set_keepalive(None);
    let allowed = (fault.status() == http::StatusCode::METHOD_NOT_ALLOWED)
        .then_some((header::ALLOW, METHODS));
    write_page(session, fault.status().as_u16(), allowed).await
}

/// The methods in the answer to a rejected `TRACE` or `CONNECT` (RFC 9110, 15.5.6).
pub(super) const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Answers a posthog-js client with 429 and `Retry-After`.
pub(super) async fn too_many(session: &mut Session) -> Result<()> {
    let code = http::StatusCode::TOO_MANY_REQUESTS;
    let mut answer = posthog::own_answer(code, &session.req_header().headers);
    let headers = answer.headers_mut();
    headers.insert(header::RETRY_AFTER, RETRY_AFTER.into());
    reply::write(session, answer).await
}

/// Writes a plain page that names neither the framework nor Hedgerow.
pub(super) async fn page(session: &mut Session, code: u16) -> Result<()> {
    write_page(session, code, None).await
}

/// Redirects a client to another address.
pub(super) async fn redirect(session: &mut Session, code: u16, location: &str) -> Result<()> {
    write_page(session, code, Some((header::LOCATION, location))).await
}

async fn write_page(
    session: &mut Session,
    code: u16,
    field: Option<(header::HeaderName, &str)>,
) -> Result<()> {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut headers = HeaderMap::new();
    if let Some((name, value)) = field {
        let value = HeaderValue::from_str(value);
        headers.insert(
            name,
            value.or_err(ErrorType::InvalidHTTPHeader, "an answer's field")?,
        );
    }
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, plain);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let reason = code.canonical_reason().unwrap_or("Error");
    let body = Bytes::from(format!("{} {reason}\n", code.as_u16()));
    reply::write(session, reply::answer(code, headers, body)).await
}
