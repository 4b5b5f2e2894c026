//! Reports whether the process runs, and whether a load balancer should send it requests.

use std::fmt;

use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use serde_json::json;

use crate::handler::{Handler, Request, Response};

/// The reason why a process should get no requests now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unready {
    /// The process shuts down.
    Leaving,
    /// The spool accepts no events: it is full or read-only, or its server cannot be reached.
    SpoolNotWritable,
    /// No spool stores events, and no project's PostHog accepts them.
    NoWay,
    /// The machine's clock shows a time before this program was written.
    Clock,
}

impl Unready {
    /// Returns the name of the reason, as the response contains it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Leaving => "leaving",
            Self::SpoolNotWritable => "spool_not_writable",
            Self::NoWay => "no_way_to_keep_or_deliver",
            Self::Clock => "clock",
        }
    }
}

/// The kind of a health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthCheck {
    /// Whether the process serves requests at all. If it does not, a supervisor restarts it.
    Live,
    /// Whether the process should get requests: its configuration is loaded, its spool accepts events,
    /// it can store or deliver events, and it does not shut down.
    Ready,
}

impl HealthCheck {
    /// Returns the check that the rest of a path after a listener's `health` path requests.
    pub fn below(tail: &str) -> Option<Self> {
        match tail {
            "" | "ready" => Some(Self::Ready),
            "live" => Some(Self::Live),
            _ => None,
        }
    }

    /// Returns the check that a path on a separate address requests.
    pub fn of_path(path: &str) -> Option<Self> {
        match path {
            "/readyz" => Some(Self::Ready),
            "/healthz" | "/livez" => Some(Self::Live),
            _ => None,
        }
    }

    /// Returns the response: 200, or 503 with the reasons. `unready` is called only for `Ready`.
    pub fn answer(self, unready: impl FnOnce() -> Vec<Unready>) -> Response {
        let reasons = match self {
            Self::Live => Vec::new(),
            Self::Ready => unready(),
        };
        let (status, word) = match (self, reasons.as_slice()) {
            (Self::Live, _) => (StatusCode::OK, "live"),
            (Self::Ready, []) => (StatusCode::OK, "ready"),
            (Self::Ready, _) => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
        };
        let reasons: Vec<_> = reasons.iter().map(|reason| reason.word()).collect();
        let text = json!({"status": word, "reasons": reasons}).to_string();
        Response::new(status, "application/json", text)
            .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
    }
}

/// Serves health checks on a separate address: `/healthz`, `/livez` and `/readyz`. The responses contain
/// no data about visitors.
pub struct Health {
    unready: Box<dyn Fn() -> Vec<Unready> + Send + Sync>,
}

impl Health {
    /// Creates a handler that calls `unready` for each request to `/readyz`.
    #[doc(hidden)]
    pub fn new(unready: impl Fn() -> Vec<Unready> + Send + Sync + 'static) -> Self {
        Self {
            unready: Box::new(unready),
        }
    }
}

impl Handler for Health {
    fn handle(&self, request: &Request) -> Response {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return Response::empty(StatusCode::METHOD_NOT_ALLOWED)
                .with(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        match HealthCheck::of_path(&request.path) {
            Some(check) => check.answer(|| (self.unready)()),
            None => Response::empty(StatusCode::NOT_FOUND),
        }
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Health").finish_non_exhaustive()
    }
}
