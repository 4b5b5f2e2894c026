//! Answers of the site proxy's own, for what could not be proxied.

use bytes::Bytes;
use http::header;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType, Result};

use crate::proxy::first_party::posthog;
use crate::proxy::limits::rates::RETRY_AFTER;
use crate::site::head::{Head, HeadFault};

/// The status for a request that could not be proxied; 0 when the client has gone.
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

/// The head of a request, as the checks see it.
pub(in crate::proxy) fn head(session: &Session) -> Head<'_> {
    let head = session.req_header();
    Head {
        method: &head.method,
        target: head.raw_path(),
        authority: head.uri.authority().map(|authority| authority.as_str()),
        version: head.version,
        headers: &head.headers,
    }
}

/// Answers a request that is refused for its head. The connection ends: where its next request
/// would begin is what such heads are sent to confuse.
pub(super) async fn refuse_head(session: &mut Session, fault: HeadFault) -> Result<()> {
    session.set_keepalive(None);
    let allowed = (fault.status() == http::StatusCode::METHOD_NOT_ALLOWED)
        .then_some((header::ALLOW, METHODS));
    write_page(session, fault.status().as_u16(), allowed).await
}

/// The methods that a refused `TRACE` or `CONNECT` is told of (RFC 9110, 15.5.6).
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Tells a client of posthog-js's when to come back.
pub(super) async fn too_many(session: &mut Session) -> Result<()> {
    let code = http::StatusCode::TOO_MANY_REQUESTS;
    let (mut headers, body) = posthog::own_answer(code, &session.req_header().headers);
    headers.insert(header::RETRY_AFTER, RETRY_AFTER.into());
    posthog::write(session, code, &headers, body).await
}

/// A plain page that names neither the framework nor Hedgerow.
pub(super) async fn page(session: &mut Session, code: u16) -> Result<()> {
    write_page(session, code, None).await
}

/// Sends a client to another address.
pub(super) async fn redirect(session: &mut Session, code: u16, location: &str) -> Result<()> {
    write_page(session, code, Some((header::LOCATION, location))).await
}

async fn write_page(
    session: &mut Session,
    code: u16,
    field: Option<(header::HeaderName, &str)>,
) -> Result<()> {
    let mut head = ResponseHeader::build(code, Some(5))?;
    if let Some((name, value)) = field {
        head.insert_header(name, value)?;
    }
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
