//! Plain requests and answers over the framework, for what needs no proxy: the stand-in for
//! PostHog, the demo shop.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{header, HeaderValue, Response as HttpResponse, StatusCode};
use pingora::apps::http_app::ServeHttp;
use pingora::apps::ServerApp;
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::stream::Stream;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::demo::http::{Handler, Request, Response};

/// The largest body that a handler gets, in bytes: more than capture takes (posthog-ingestion 5.1).
const BODY: usize = 32 << 20;

/// Serves a handler.
pub(super) struct Plain {
    handler: Arc<dyn Handler>,
}

impl Plain {
    pub(super) fn new(handler: Arc<dyn Handler>) -> Self {
        Self { handler }
    }
}

#[async_trait]
impl ServeHttp for Plain {
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

/// Serves a handler on a listener until the future is dropped.
pub async fn serve(listener: TcpListener, handler: Arc<dyn Handler>) {
    let app = Arc::new(Plain::new(handler));
    let (_stop, shutdown) = watch::channel(false);
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                let (app, shutdown) = (Arc::clone(&app), shutdown.clone());
                tokio::spawn(async move {
                    let mut stream = Box::new(Stream::from(socket)) as pingora::protocols::Stream;
                    while let Some(reused) = app.process_new(stream, &shutdown).await {
                        stream = reused;
                    }
                });
            }
            Err(error) => {
                log::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// The whole request, or nothing when its body is too large or breaks off.
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
