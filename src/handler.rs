//! Requests and answers as plain values, independent of the server.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, CONTENT_TYPE};
use http::{Method, StatusCode};

/// One whole request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path as it was sent, without the query, not percent-decoded.
    pub path: String,
    /// The text after the first `?`, not percent-decoded.
    pub query: Option<String>,
    /// The headers, in the order of their arrival.
    pub headers: HeaderMap,
    /// The body without its transfer coding, but still with its content coding.
    pub body: Bytes,
    /// The address of the peer of the connection.
    pub peer: Option<SocketAddr>,
}

impl Request {
    /// Creates a request without headers and body; `target` is a path with or without a query.
    pub fn new(method: Method, target: &str) -> Self {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        Self {
            method,
            path: path.to_owned(),
            query,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            peer: None,
        }
    }

    /// Returns the first value of a header, if it is text.
    pub(crate) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// One whole answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers. The server adds `Content-Length`.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Response {
    /// Creates an answer without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// Creates an answer with a body of this content type.
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut answer = Self::empty(status);
        answer.body = body.into();
        answer.with(CONTENT_TYPE, HeaderValue::from_static(content_type))
    }

    /// Sets a header, and returns the answer.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// Answers requests. An implementation must not block for long: it may run on a network thread.
pub trait Handler: Send + Sync {
    /// Answers one request.
    #[doc(hidden)]
    fn handle(&self, request: &Request) -> Response;
}

impl<H: Handler + ?Sized> Handler for Arc<H> {
    fn handle(&self, request: &Request) -> Response {
        (**self).handle(request)
    }
}

/// Returns the decoded pairs of a query or a form. `+` becomes a space, and invalid UTF-8 becomes U+FFFD.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_cut_at_its_first_question_mark() {
        let request = Request::new(Method::GET, "/e/?a=1?b");
        assert_eq!(request.path, "/e/");
        assert_eq!(request.query.as_deref(), Some("a=1?b"));
        assert_eq!(Request::new(Method::GET, "/e").query, None);
    }

    #[test]
    fn pairs_are_decoded_as_forms_are() {
        let read = pairs("a=1+2&&b&c=%7B%22x%22%3A%2B%7D&d=%FF");
        let expected = [
            ("a", "1 2"),
            ("b", ""),
            ("c", "{\"x\":+}"),
            ("d", "\u{fffd}"),
        ];
        assert_eq!(read.len(), expected.len());
        for ((name, value), (want_name, want_value)) in read.iter().zip(expected) {
            assert_eq!((name.as_str(), value.as_str()), (want_name, want_value));
        }
    }
}
