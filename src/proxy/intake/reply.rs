//! A Segment answer as a response of the framework.

use http::{header, Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::Result;

use crate::segment::Answer;

/// Writes the answer, with the exact length of its body. It passes through the modules of the
/// host proxy like any answer made in a request filter.
pub(crate) async fn write(session: &mut Session, answer: Answer) -> Result<()> {
    let mut head = ResponseHeader::build(answer.status, Some(answer.headers.len() + 2))?;
    for (name, value) in answer.headers {
        // CORS and the answer itself may both name `Vary`.
        head.append_header(name, value)?;
    }
    let bodiless = matches!(
        answer.status,
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
    );
    if !bodiless {
        head.insert_header(header::CONTENT_LENGTH, answer.body.len())?;
    }
    if bodiless || session.req_header().method == Method::HEAD {
        session.write_response_header(Box::new(head), true).await?;
        return session.write_response_body(None, true).await;
    }
    session.write_response_header(Box::new(head), false).await?;
    session.write_response_body(Some(answer.body), true).await
}
