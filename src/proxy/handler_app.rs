//! Serves plain requests and answers with the framework, for the parts that are not a proxy: the
//! stand-in for PostHog and the demo shop.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{header, HeaderValue, Response as HttpResponse, StatusCode};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;

use crate::handler::{Handler, Request, Response};

/// The largest body that a handler gets, in bytes: more than capture takes (posthog-ingestion 5.1).
const BODY: usize = 32 << 20;

/// A handler as an application of the framework.
pub struct HandlerApp {
    handler: Arc<dyn Handler>,
}

impl HandlerApp {
    /// Serves this handler.
    pub fn new(handler: Arc<dyn Handler>) -> Self {
        Self { handler }
    }
}

impl std::fmt::Debug for HandlerApp {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Plain").finish_non_exhaustive()
    }
}

#[async_trait]
impl ServeHttp for HandlerApp {
    async fn response(&self, session: &mut ServerSession) -> HttpResponse<Vec<u8>> {
        let response = match read(session).await {
            Some(request) => self.handler.handle(&request),
            None => Response::empty(StatusCode::PAYLOAD_TOO_LARGE),
        };
        let mut answer = HttpResponse::new(response.body.to_vec());
        *answer.status_mut() = response.status;
        *answer.headers_mut() = response.headers;
        let length = HeaderValue::from(answer.body().len());
        answer.headers_mut().insert(header::CONTENT_LENGTH, length);
        answer
    }
}

/// Reads the whole request. Returns `None` if its body is too large or ends early.
async fn read(session: &mut ServerSession) -> Option<Request> {
    let head = session.req_header();
    let target = match head.uri.path_and_query() {
        Some(target) => target.as_str(),
        None => "/",
    };
    let mut request = Request::new(head.method.clone(), target);
    request.headers = head.headers.clone();
    request.peer = session.client_addr().and_then(|at| at.as_inet()).copied();
    let mut body = Vec::new();
    while let Some(chunk) = session.read_request_body().await.ok()? {
        if body.len() + chunk.len() > BODY {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    request.body = Bytes::from(body);
    Some(request)
}
