//! The challenges that authorities request over HTTP before they issue a certificate (RFC 8555,
//! 8.3). During an order they are answered before any route and any redirect. All other paths
//! below the prefix belong to the site.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use pingora::proxy::Session;

use crate::proxy::active_config::ActiveConfig;
use crate::proxy::reply;
use crate::segment::Answer;

/// The prefix of the challenges' paths.
pub(super) const CHALLENGE: &str = "/.well-known/acme-challenge/";

/// Returns the answer if the request asks for the token of an order that is under way.
pub(super) async fn challenge_answer(active: &ActiveConfig, session: &Session) -> Option<Answer> {
    let head = session.req_header();
    let token = head.uri.path().strip_prefix(CHALLENGE)?;
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return None;
    }
    let text = active.long_lived.acme.responses().answer(token).await?;
    let kind = HeaderValue::from_static("application/octet-stream");
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let body = Bytes::from(text);
    Some(reply::answer(StatusCode::OK, headers, body))
}
