//! Builds whole answers and writes them through the framework.

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::Result;

use crate::segment::Answer;

/// Creates an answer from its parts.
pub(crate) fn answer(status: StatusCode, headers: HeaderMap, body: Bytes) -> Answer {
    let mut answer = Answer::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}

/// Returns whether answers with this status may have a body (RFC 9110, 6.4.1).
pub(crate) fn has_body(status: StatusCode) -> bool {
    !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Writes the answer, with the exact length of its body. The modules of the host proxy process it like
/// every answer of a request filter.
pub(crate) async fn write(session: &mut Session, answer: Answer) -> Result<()> {
    let (parts, body) = answer.into_parts();
    let mut head = ResponseHeader::build(parts.status, Some(parts.headers.len() + 2))?;
    for (name, value) in &parts.headers {
        // CORS and the answer itself may both name `Vary`.
        head.append_header(name, value)?;
    }
    if has_body(parts.status) {
        head.insert_header(header::CONTENT_LENGTH, body.len())?;
    }
    let bodiless = !has_body(parts.status) || session.req_header().method == Method::HEAD;
    session
        .write_response_header(Box::new(head), bodiless)
        .await?;
    let body = (!bodiless).then_some(body);
    session.write_response_body(body, true).await
}
