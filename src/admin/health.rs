//! Whether the process lives, and whether a load balancer should send it requests.

use std::fmt;

use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use serde_json::json;

use crate::handler::{Handler, Request, Response};

/// Why a process should get no requests now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unready {
    /// It shuts down.
    Leaving,
    /// The spool takes no events: full, read-only, its server away.
    SpoolNotWritable,
    /// Nothing keeps an event, and no project's PostHog takes one.
    NoWay,
}

impl Unready {
    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Leaving => "leaving",
            Self::SpoolNotWritable => "spool_not_writable",
            Self::NoWay => "no_way_to_keep_or_deliver",
        }
    }
}

/// The question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthCheck {
    /// Whether the process serves at all. Otherwise a supervisor starts it again.
    Live,
    /// Whether it should get requests: its configuration is loaded, its spool takes events, there is
    /// at least one way to keep or deliver an event, and it does not shut down.
    Ready,
}

impl HealthCheck {
    /// The question of a path below a listener's `health`.
    pub fn below(tail: &str) -> Option<Self> {
        match tail {
            "" | "ready" => Some(Self::Ready),
            "live" => Some(Self::Live),
            _ => None,
        }
    }

    /// The question of a path on a separate address.
    pub fn of_path(path: &str) -> Option<Self> {
        match path {
            "/readyz" => Some(Self::Ready),
            "/healthz" | "/livez" => Some(Self::Live),
            _ => None,
        }
    }

    /// The answer: 200, or 503 with the reasons. `unready` is asked only where it matters.
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

/// Health on a separate address: `/healthz` and `/readyz`, and nothing about visitors.
pub struct Health {
    unready: Box<dyn Fn() -> Vec<Unready> + Send + Sync>,
}

impl Health {
    /// Health that asks `unready` for each request.
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
            Some(question) => question.answer(|| (self.unready)()),
            None => Response::empty(StatusCode::NOT_FOUND),
        }
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Health").finish_non_exhaustive()
    }
}
