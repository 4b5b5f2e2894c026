//! The paths of the events endpoints, and the headers of every answer.

use http::header::{HeaderName, HeaderValue};
use http::{header, Method, StatusCode};

use super::service::{Capture, InjectedFault};
use crate::handler::{Handler, Request, Response};

impl Capture {
    fn take(&self, request: &Request, version: Version) -> Response {
        let number = self.store.arrived();
        let fault = self.next_fault();
        if let InjectedFault::Status(status, retry_after) = fault {
            self.refused(number, request, status, FAULT_TEXT);
            return fault_answer(status, retry_after);
        }
        let poison = match &fault {
            InjectedFault::Poison(name) => Some(name.as_str()),
            _ => None,
        };
        let answer = match version {
            Version::V0 => self.take_v0(request, number, poison),
            Version::V1 => self.take_v1(request, number, poison),
        };
        match fault {
            InjectedFault::StoredThen(status, retry_after) => {
                self.refused(number, request, status, FAULT_TEXT);
                fault_answer(status, retry_after)
            }
            _ => {
                if !answer.status.is_success() {
                    let reason = String::from_utf8_lossy(&answer.body);
                    self.refused(number, request, answer.status, &reason);
                }
                answer
            }
        }
    }
}

const FAULT_TEXT: &str = "trouble made on purpose";

fn fault_answer(status: StatusCode, retry_after: Option<u32>) -> Response {
    let answer = Response::new(status, "text/plain; charset=utf-8", FAULT_TEXT);
    match retry_after {
        Some(seconds) => answer.with(header::RETRY_AFTER, HeaderValue::from(seconds)),
        None => answer,
    }
}

#[derive(Clone, Copy)]
enum Version {
    V0,
    V1,
}

/// Returns the version of an events endpoint (posthog-ingestion 1.1). A slash at the end does not matter.
fn endpoint(path: &str) -> Option<Version> {
    match path.strip_suffix('/').unwrap_or(path) {
        "/i/v0/e" | "/e" | "/capture" | "/track" | "/engage" | "/batch" => Some(Version::V0),
        "/i/v1/analytics/events" => Some(Version::V1),
        _ => None,
    }
}

impl Handler for Capture {
    fn handle(&self, request: &Request) -> Response {
        let endpoint = endpoint(&request.path);
        let methods = match endpoint {
            Some(Version::V1) => "POST,OPTIONS",
            _ => "GET,POST,OPTIONS",
        };
        if request.method == Method::OPTIONS {
            return preflight(request, methods);
        }
        let answer = match (endpoint, &request.method) {
            (None, _) => Response::empty(StatusCode::NOT_FOUND),
            (Some(version), &Method::POST) => self.take(request, version),
            (Some(Version::V0), &Method::GET) => self.take(request, Version::V0),
            (Some(_), _) => Response::empty(StatusCode::METHOD_NOT_ALLOWED)
                .with(header::ALLOW, HeaderValue::from_static(methods)),
        };
        with_cors(request, answer)
    }
}

/// Adds the CORS headers: they allow the request's origin, whatever it is, to send cookies
/// (posthog-ingestion 1.9).
fn with_cors(request: &Request, mut answer: Response) -> Response {
    mirror(
        request,
        &mut answer,
        &header::ORIGIN,
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
    );
    answer
        .with(
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        )
        .with(
            header::VARY,
            HeaderValue::from_static(
                "origin, access-control-request-method, access-control-request-headers",
            ),
        )
}

fn preflight(request: &Request, methods: &'static str) -> Response {
    let mut answer = Response::empty(StatusCode::OK).with(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static(methods),
    );
    mirror(
        request,
        &mut answer,
        &header::ACCESS_CONTROL_REQUEST_HEADERS,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
    );
    with_cors(request, answer)
}

fn mirror(request: &Request, answer: &mut Response, from: &HeaderName, to: HeaderName) {
    if let Some(value) = request.headers.get(from) {
        answer.headers.insert(to, value.clone());
    }
}
