//! Serves the operator's pages on a separate address: health, metrics, and the live view.
//!
//! This module neither listens nor depends on the framework: [`Admin`] is a [`Handler`] on plain values,
//! and the caller passes its data in as a [`ProxyState`].

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde_json::json;

use crate::handler::{Handler, Request, Response};

mod access;
mod advice;
mod configuration;
mod health;
pub mod live;
pub mod metrics;
pub mod outline;
mod overview;
mod page;
mod process;
mod requests;
mod samples;
mod state;
mod times;

use access::names_an_address;
pub use access::{AccessToken, LiveView};
pub use health::{Health, HealthCheck, Unready};
use live::{Live, UtcClock, Visibility};
#[cfg(feature = "demo")]
pub(crate) use page::SHARED;
pub use requests::{
    key_end, RejectedRequest, RequestCount, RequestKind, RequestOutcome, Requests, RoutePurpose,
    RouteState,
};
use samples::SampleHistory;
pub use samples::EVERY as SAMPLED_EVERY;
pub use state::{
    BatchAnswers, CertificateOrders, CertificateState, ConfigRefusal, ConfigState,
    ConnectionCounts, DeliveryFailure, ForwardCounts, LastError, PostHogCondition, ProjectState,
    ProxyState, SpoolSize, SpoolState, StalledSpool, UpstreamState,
};

/// The pages of the admin address.
///
/// | path | what |
/// | --- | --- |
/// | `/` | the live view: the last messages and their events |
/// | `/health` | 200 and a short JSON summary as long as the process serves requests |
/// | `/healthz` (`/livez`), `/readyz` | whether it runs, and whether it should get requests |
/// | `/metrics` | counters and gauges in Prometheus's text format 0.0.4 |
/// | `/config` | the active configuration, without its secrets |
pub struct Admin {
    state: Box<dyn Fn() -> ProxyState + Send + Sync>,
    live: Arc<Live>,
    view: ArcSwap<LiveView>,
    samples: SampleHistory,
    sampling: AtomicBool,
    clock: UtcClock,
    /// The path of the configuration file.
    file: Option<PathBuf>,
}

#[doc(hidden)]
impl Admin {
    /// Creates the pages. They call `state` when a request needs it, and show `live` to clients that `view`
    /// allows.
    pub fn new(
        state: impl Fn() -> ProxyState + Send + Sync + 'static,
        live: Arc<Live>,
        view: LiveView,
        clock: UtcClock,
    ) -> Self {
        Self {
            state: Box::new(state),
            live,
            view: ArcSwap::from_pointee(view),
            samples: SampleHistory::default(),
            sampling: AtomicBool::new(false),
            clock,
            file: None,
        }
    }

    /// Sets the path of the configuration file, for the commands that the live view shows.
    #[must_use]
    pub fn configured_in(mut self, file: Option<PathBuf>) -> Self {
        self.file = file;
        self
    }

    /// Returns the records of the live view, or `None` if it is off: then nothing has to be recorded.
    pub fn live(&self) -> Option<&Arc<Live>> {
        (**self.view.load() != LiveView::Off).then_some(&self.live)
    }

    /// Sets which clients may see the live view, and whether messages that arrive from now on are shown
    /// or redacted.
    pub fn show(&self, view: LiveView, visibility: Visibility) {
        self.view.store(Arc::new(view));
        self.live.show(visibility);
    }

    /// Records how long a request of a Segment route took until its response.
    pub fn took(&self, took: Duration) {
        self.samples.observe(took);
    }

    /// Takes a sample of the state for the plots. The caller must call it every [`SAMPLED_EVERY`]
    /// seconds.
    pub fn sample(&self) {
        self.samples.sample(&(self.state)(), self.now());
    }

    /// Returns `true` to its first caller, which then has to take the samples, and `false` later.
    pub fn begins_sampling(&self) -> bool {
        !self.sampling.load(Ordering::Relaxed) && !self.sampling.swap(true, Ordering::Relaxed)
    }

    fn now(&self) -> i64 {
        (self.clock)().timestamp()
    }

    fn answer(&self, request: &Request) -> Response {
        match request.path.as_str() {
            "/health" => self.health(),
            "/metrics" => Response::new(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                metrics::render(&(self.state)()),
            ),
            "/" => self.if_allowed(request, |_| page::page()),
            "/live" => self.if_allowed(request, |admin| {
                admin.live.updates(request.query.as_deref())
            }),
            "/live/message" => {
                self.if_allowed(request, |admin| admin.live.detail(request.query.as_deref()))
            }
            "/live/state" => self.if_allowed(request, Self::overview),
            "/config" => self.if_allowed(request, |admin| {
                let (state, file) = ((admin.state)().config, admin.file.as_deref());
                configuration::running(&state, file, request.query.as_deref())
            }),
            path => match (page::asset(path), HealthCheck::of_path(path)) {
                (Some(asset), _) => asset,
                (None, Some(check)) => check.answer(|| (self.state)().unready),
                (None, None) => Response::empty(StatusCode::NOT_FOUND),
            },
        }
    }

    /// Returns `answer` if the client may see the live view, otherwise a page or status that refuses it.
    fn if_allowed(&self, request: &Request, answer: impl Fn(&Self) -> Response) -> Response {
        match &**self.view.load() {
            LiveView::Off => page::live_view_off(),
            // A page with its own host name (DNS rebinding) must not read the data about visitors.
            LiveView::Open if !names_an_address(request) => page::live_view_elsewhere(),
            LiveView::Token(token) if !token.allows(request) => match request.path.as_str() {
                "/" => page::token(page::TokenPrompt::First),
                _ => Response::empty(StatusCode::UNAUTHORIZED),
            },
            LiveView::Open | LiveView::Token(_) => answer(self),
        }
    }

    /// Returns a redirect with the cookie if the form contains the token, otherwise the form again.
    fn admit(&self, request: &Request) -> Response {
        let view = self.view.load();
        let LiveView::Token(token) = &**view else {
            return Response::empty(StatusCode::NOT_FOUND);
        };
        let cookie = token.admit(&request.body);
        match cookie.and_then(|cookie| HeaderValue::try_from(cookie).ok()) {
            Some(cookie) => Response::empty(StatusCode::SEE_OTHER)
                .with(header::LOCATION, HeaderValue::from_static("/"))
                .with(header::SET_COOKIE, cookie),
            None => page::token(page::TokenPrompt::Again),
        }
    }

    fn overview(&self) -> Response {
        let file = self.file.as_deref();
        let overview = overview::overview(&(self.state)(), &self.samples, file, self.now());
        Response::new(StatusCode::OK, "application/json", overview.to_string())
    }

    fn health(&self) -> Response {
        let state = (self.state)();
        let waiting: u64 = state.projects.iter().map(|project| project.waiting).sum();
        let stalled = state.projects.iter().filter_map(|project| {
            let stalled = project.stalled.as_ref()?;
            let details = json!({"since": stalled.since, "reason": stalled.reason});
            Some((project.name.clone(), details))
        });
        let stalled: serde_json::Map<_, _> = stalled.collect();
        let spool = state.spool.as_ref();
        let writable = spool.map(|spool| spool.writable);
        let failure = spool.and_then(|spool| spool.trouble.as_deref());
        let clock_is_wrong = state.unready.contains(&Unready::Clock);
        let status = match (stalled.is_empty(), writable) {
            (false, _) => "not_draining",
            (true, Some(false)) => "spool_not_writable",
            (true, _) if clock_is_wrong => "clock",
            (true, _) => "ok",
        };
        let text = json!({
            "status": status,
            "spool_writable": writable,
            "spool_trouble": failure,
            "not_draining": stalled,
            "waiting": waiting,
            "config": {
                "generation": state.config.generation,
                "last_refusal": state.config.last_refusal.as_ref().map(|refusal| &refusal.says),
                "last_refusal_at": state.config.last_refusal.as_ref().map(|refusal| refusal.at),
            },
            "posthog": state.projects.iter().map(|project| {
                (project.name.clone(), json!(project.posthog.word()))
            }).collect::<serde_json::Map<_, _>>(),
        });
        Response::new(StatusCode::OK, "application/json", text.to_string())
    }
}

impl Handler for Admin {
    fn handle(&self, request: &Request) -> Response {
        let answer = match (&request.method, request.path.as_str()) {
            (&Method::POST, "/session") => self.admit(request),
            (&(Method::GET | Method::HEAD), _) => self.answer(request),
            _ => Response::empty(StatusCode::METHOD_NOT_ALLOWED)
                .with(header::ALLOW, HeaderValue::from_static("GET, HEAD")),
        };
        answer
            .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
            .with(
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            )
            .with(
                HeaderName::from_static("cross-origin-resource-policy"),
                HeaderValue::from_static("same-origin"),
            )
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Admin")
            .field("live", &self.live)
            .field("view", &self.view)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
