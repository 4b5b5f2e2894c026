//! The replies to Segment clients (segment-tracking 1.5 and 1.6).
//!
//! Success is always `200` with a JSON object: the PHP SDK loops on any other status below 400, the Ruby
//! SDK sends again after an empty body, and the Java SDK after a body that is not JSON. A reply is never
//! a redirect, never a 204 to a POST, and never a 408, because Chromium repeats a request after a 408.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::pixel::GIF;

/// The answer to a request on a Segment route, before it is turned into a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The events are safe.
    Accepted,
    /// A pixel: the GIF, whatever became of the event.
    Pixel,
    /// The answer to a CORS preflight.
    Preflight {
        /// The value of `Access-Control-Request-Headers`, if any.
        requested_headers: Option<String>,
    },
    /// A request that can never succeed.
    Refused(RequestRefusal),
    /// The events are not safe yet: the client has to retry after this many seconds (1 to 300).
    Busy {
        /// Whole seconds, because some clients cannot read any other form.
        retry_after: u32,
    },
    /// Requests arrive too fast: the client has to retry after this many seconds (1 to 300).
    TooMany {
        /// Whole seconds.
        retry_after: u32,
    },
}

/// Why a request can never succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestRefusal {
    /// The body is not valid for the call.
    Malformed {
        /// A short and stable name of the fault, for programs: `invalid_json`, `late_batch_key` …
        code: &'static str,
        /// A sentence for people that states what was expected.
        message: &'static str,
    },
    /// The write key is missing, or this route does not accept it.
    UnknownWriteKey,
    /// The body, or its only event, is larger than the limit.
    TooLarge,
    /// The path is not one of Segment's.
    UnknownPath,
    /// The path does not allow the method. The value lists the methods that it allows.
    MethodNotAllowed(&'static str),
}

/// The CORS headers of an answer. There are none if the request had no `Origin` header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cors {
    origin: Option<HeaderValue>,
}

impl Cors {
    /// Creates the CORS headers for the request's `Origin` header.
    pub fn from_origin(origin: Option<&HeaderValue>) -> Self {
        Self {
            origin: origin.cloned(),
        }
    }

    /// Returns the origin of the request, if it had one.
    pub fn origin(&self) -> Option<&HeaderValue> {
        self.origin.as_ref()
    }
}

/// A complete response, except for the framing headers, which follow from the body.
pub type Answer = Response<Bytes>;

const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

impl Reply {
    /// Returns the response. Errors have CORS headers too: without them a browser hides an error from the
    /// SDK, which then ignores `Retry-After`.
    pub fn answer(&self, cors: &Cors) -> Answer {
        let mut answer = match self {
            Self::Accepted => json(StatusCode::OK, Bytes::from_static(b"{\"success\":true}")),
            Self::Pixel => pixel(),
            Self::Preflight { requested_headers } => preflight(requested_headers.as_deref()),
            Self::Refused(refusal) => refused(*refusal),
            Self::Busy { retry_after } => later(
                StatusCode::SERVICE_UNAVAILABLE,
                "try_again",
                "the events could not be delivered yet; retry later",
                *retry_after,
            ),
            Self::TooMany { retry_after } => later(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                "requests come too fast; retry this one later",
                *retry_after,
            ),
        };
        cors.add_to(answer.headers_mut());
        answer
    }
}

impl Cors {
    fn add_to(&self, headers: &mut HeaderMap) {
        let Some(origin) = &self.origin else {
            return;
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("Retry-After, X-RateLimit-Reset"),
        );
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

/// Returns an answer of this content type that no cache may store.
fn uncached(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Answer::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.reserve(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn json(status: StatusCode, body: Bytes) -> Answer {
    uncached(status, "application/json", body)
}

fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    // Both texts are Hedgerow's own constants: ASCII without quotes or backslashes.
    let body = format!("{{\"success\":false,\"code\":\"{code}\",\"message\":\"{message}\"}}");
    json(status, Bytes::from(body))
}

fn pixel() -> Answer {
    uncached(StatusCode::OK, "image/gif", Bytes::from_static(GIF))
}

fn later(status: StatusCode, code: &str, message: &str, retry_after: u32) -> Answer {
    let seconds = HeaderValue::from(retry_after.clamp(1, 300));
    let mut answer = error(status, code, message);
    let headers = answer.headers_mut();
    headers.insert(header::RETRY_AFTER, seconds.clone());
    headers.insert(X_RATELIMIT_RESET, seconds);
    answer
}

fn refused(refusal: RequestRefusal) -> Answer {
    match refusal {
        RequestRefusal::Malformed { code, message } => {
            error(StatusCode::BAD_REQUEST, code, message)
        }
        RequestRefusal::UnknownWriteKey => error(
            StatusCode::UNAUTHORIZED,
            "unknown_write_key",
            "the write key is missing or not accepted",
        ),
        RequestRefusal::TooLarge => error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "the body or its only event is larger than the limit",
        ),
        RequestRefusal::UnknownPath => error(
            StatusCode::NOT_FOUND,
            "unknown_path",
            "there is no such call",
        ),
        RequestRefusal::MethodNotAllowed(methods) => {
            let mut answer = error(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this call needs another method",
            );
            let methods = HeaderValue::from_static(methods);
            answer.headers_mut().insert(header::ALLOW, methods);
            answer
        }
    }
}

/// Returns the answer to a preflight. `*` does not include `Authorization` (Fetch standard), so the names
/// are listed. Any other header that the browser requests is a site's own header and is allowed as well.
fn preflight(requested: Option<&str>) -> Answer {
    let mut allowed = String::from("authorization, content-type, x-retry-count");
    for name in requested.unwrap_or("").split(',').map(str::trim) {
        let known = ["authorization", "content-type", "x-retry-count"]
            .iter()
            .any(|listed| name.eq_ignore_ascii_case(listed));
        let fits = allowed.len() + name.len() <= 1024;
        if !known && fits && HeaderName::from_bytes(name.as_bytes()).is_ok() {
            allowed.push_str(", ");
            allowed.push_str(&name.to_ascii_lowercase());
        }
    }
    let mut answer = Answer::new(Bytes::new());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("POST, PUT, GET, OPTIONS"),
    );
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("86400"),
    );
    if let Ok(allowed) = HeaderValue::from_str(&allowed) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
        let found = answer.headers().get(name);
        found.map(|value| value.to_str().unwrap())
    }

    fn every_reply() -> Vec<Reply> {
        vec![
            Reply::Accepted,
            Reply::Pixel,
            Reply::Busy { retry_after: 5 },
            Reply::Refused(RequestRefusal::UnknownWriteKey),
            Reply::Refused(RequestRefusal::TooLarge),
            Reply::Refused(RequestRefusal::UnknownPath),
            Reply::Refused(RequestRefusal::MethodNotAllowed("POST, PUT, OPTIONS")),
            Reply::Refused(RequestRefusal::Malformed {
                code: "invalid_json",
                message: "no",
            }),
        ]
    }

    #[test]
    fn every_reply_is_one_that_no_sdk_misreads() {
        for reply in every_reply() {
            let answer = reply.answer(&Cors::default());
            let status = answer.status().as_u16();
            assert!(
                [200, 400, 401, 404, 405, 413, 503].contains(&status),
                "{reply:?}"
            );
            if reply != Reply::Pixel {
                let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
                assert_eq!(body["success"], status == 200, "{reply:?}");
            }
            assert_eq!(header(&answer, "retry-after").is_some(), status == 503);
        }
    }

    #[test]
    fn every_reply_to_a_cross_origin_request_has_cors_headers() {
        let origin = HeaderValue::from_static("https://shop.example.test");
        for reply in every_reply() {
            let answer = reply.answer(&Cors::from_origin(Some(&origin)));
            assert_eq!(
                header(&answer, "access-control-allow-origin"),
                Some("https://shop.example.test"),
                "{reply:?}"
            );
            assert_eq!(
                header(&answer, "access-control-expose-headers"),
                Some("Retry-After, X-RateLimit-Reset")
            );
            assert_eq!(header(&reply.answer(&Cors::default()), "vary"), None);
        }
    }

    #[test]
    fn a_preflight_names_the_requested_headers() {
        let reply = Reply::Preflight {
            requested_headers: Some("authorization,x-retry-count, X-Own,bad name".into()),
        };
        let answer = reply.answer(&Cors::from_origin(Some(&HeaderValue::from_static("null"))));
        assert_eq!(answer.status(), 204);
        assert_eq!(
            header(&answer, "access-control-allow-headers"),
            Some("authorization, content-type, x-retry-count, x-own")
        );
    }

    #[test]
    fn retry_after_is_whole_seconds_within_what_clients_honour() {
        for (seconds, expected) in [(0, "1"), (7, "7"), (4000, "300")] {
            let answer = Reply::Busy {
                retry_after: seconds,
            }
            .answer(&Cors::default());
            assert_eq!(header(&answer, "retry-after"), Some(expected));
            assert_eq!(header(&answer, "x-ratelimit-reset"), Some(expected));
        }
    }
}
