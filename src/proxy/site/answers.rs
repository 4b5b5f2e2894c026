//! Answers of the site proxy's own, for what could not be proxied.

use bytes::Bytes;
use http::header;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType, Result};

/// The status for a request that could not be proxied; 0 when nobody is left to read it.
pub(super) fn status(error: &Error) -> u16 {
    match (error.etype(), error.esource()) {
        (ErrorType::HTTPStatus(code), _) => *code,
        (
            ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed,
            ErrorSource::Downstream,
        ) => 0,
        (_, ErrorSource::Downstream) => 400,
        (ErrorType::ReadTimedout | ErrorType::ConnectTimedout, ErrorSource::Upstream) => 504,
        (_, ErrorSource::Upstream) => 502,
        _ => 500,
    }
}

/// A plain page that names neither the framework nor Hedgerow.
pub(super) async fn page(session: &mut Session, code: u16) -> Result<()> {
    let mut head = ResponseHeader::build(code, Some(4))?;
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
