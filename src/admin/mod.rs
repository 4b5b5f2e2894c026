//! For whoever runs the proxy, on an address of its own: health, metrics, and the last messages
//! as they came and as they left.
//!
//! Nothing here listens and nothing names the framework: [`Admin`] is a [`Handler`] on plain
//! values, and what it tells is handed in as a [`State`].

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde_json::json;

use crate::delivery::Refusal;
use crate::plain::{Handler, Request, Response};
use crate::rewrite::Fate;

mod health;
pub mod live;
mod metrics;
mod requests;
mod state;

pub use health::{Health, Question, Unready};
use live::{Clock, Live, Outcome};
pub use requests::{key_end, Answered, Asked, RequestCount, Requests, TurnedAway};
pub use state::{
    Answers, Condition, ConfigState, ConnectionCounts, Forwarded, ProjectState, SpoolState,
    Stalled, State,
};

const PAGE: &str = include_str!("assets/admin.html");
const STYLE: &str = include_str!("assets/admin.css");
const SCRIPT: &str = include_str!("assets/admin.js");

/// The page runs its own script and talks to its own address, nothing else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What stands in the place of a message that may not be shown.
const HIDDEN: &str = "\"hidden: privacy is configured\"";

/// Seconds that events are recorded for after the page has last asked for them. Nobody looks most
/// of the time, and then an event costs one load.
const WATCHED: i64 = 15;

/// Whether the page may show a message as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// It may.
    Shown,
    /// It may not: the configuration takes things out of events that nobody is to see.
    Hidden,
}

/// The pages of the admin address.
///
/// | path | what |
/// | --- | --- |
/// | `/` | the live view: the last messages, as they came and as they left |
/// | `/health` | 200 and a little JSON as long as the process serves |
/// | `/healthz`, `/readyz` | whether it lives, and whether it should get requests |
/// | `/metrics` | counters and gauges in Prometheus's text format 0.0.4 |
pub struct Admin {
    state: Box<dyn Fn() -> State + Send + Sync>,
    live: Live,
    /// Whether messages are hidden.
    hidden: AtomicBool,
    clock: Clock,
    /// Until when events are recorded, in seconds since 1970.
    watched: AtomicU64,
}

impl Admin {
    /// An admin page that asks `state` whenever somebody asks it.
    pub fn new(
        state: impl Fn() -> State + Send + Sync + 'static,
        came: Came,
        clock: Clock,
    ) -> Self {
        Self {
            state: Box::new(state),
            live: Live::new(Arc::clone(&clock)),
            hidden: AtomicBool::new(came == Came::Hidden),
            clock,
            watched: AtomicU64::new(0),
        }
    }

    /// Hands over one message and what became of it. Events are remembered while somebody watches;
    /// what was left out or refused always. The number of the entry, if its outcome is open.
    pub fn message(&self, came: &[u8], fate: Fate<'_>) -> Option<u64> {
        let is_event = matches!(fate, Fate::Event(_));
        if is_event && !self.is_watched() {
            return None;
        }
        let entry = match self.came() {
            Came::Shown => self.live.record(came, fate),
            Came::Hidden => self.live.record(HIDDEN.as_bytes(), fate),
        };
        is_event.then_some(entry.number)
    }

    /// Hands over a request that became no message. One that no route was found for is remembered
    /// while somebody watches: with a route for part of a site alone, most requests are of that kind.
    pub fn turned_away(&self, request: &TurnedAway<'_>) {
        if request.asked == Asked::Nothing && !self.is_watched() {
            return;
        }
        let path = match self.came() {
            Came::Shown => request.path,
            Came::Hidden => "(hidden: privacy is configured)",
        };
        self.live.turn_away(&TurnedAway { path, ..*request });
    }

    /// Says where the messages of these numbers are in the end.
    pub fn settle(&self, numbers: &[u64], outcome: &Outcome) {
        self.live.settle(numbers, outcome);
    }

    /// Says where events are that had been kept in the spool.
    pub fn left_the_spool<'e>(&self, events: impl Iterator<Item = &'e [u8]>) {
        if self.is_watched() {
            for event in events {
                self.live.settle_event(event, Outcome::Delivered);
            }
        }
    }

    /// Says that PostHog refuses an event for good.
    pub fn refused_by_posthog(&self, event: &[u8], refusal: &Refusal) {
        self.live.refused_by_posthog(event, refusal);
    }

    /// Shows or hides messages from now on.
    pub fn show(&self, came: Came) {
        self.hidden.store(came == Came::Hidden, Ordering::Relaxed);
    }

    fn came(&self) -> Came {
        match self.hidden.load(Ordering::Relaxed) {
            true => Came::Hidden,
            false => Came::Shown,
        }
    }

    fn now(&self) -> i64 {
        (self.clock)().timestamp()
    }

    fn is_watched(&self) -> bool {
        match self.watched.load(Ordering::Relaxed) {
            // Most of the time; the clock is not even asked.
            0 => false,
            until => {
                let watched = i64::try_from(until).is_ok_and(|until| self.now() <= until);
                if !watched {
                    self.watched.store(0, Ordering::Relaxed);
                }
                watched
            }
        }
    }

    fn answer(&self, request: &Request) -> Response {
        match request.path.as_str() {
            "/health" => self.health(),
            "/metrics" => Response::new(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                metrics::render(&(self.state)()),
            ),
            // What people did is for the address that was configured, not for a page in a browser
            // that has been told that some name of its own leads here.
            "/" | "/live" if !names_an_address(request) => Response::new(
                StatusCode::MISDIRECTED_REQUEST,
                "text/plain; charset=utf-8",
                "The live view answers to an IP address or to localhost only.\n",
            ),
            "/" => Response::new(StatusCode::OK, "text/html; charset=utf-8", PAGE).with(
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(CONTENT_SECURITY_POLICY),
            ),
            "/live" => self.news(request),
            "/admin.css" => Response::new(StatusCode::OK, "text/css; charset=utf-8", STYLE),
            "/admin.js" => Response::new(StatusCode::OK, "text/javascript; charset=utf-8", SCRIPT),
            path => match Question::of_path(path) {
                Some(question) => question.answer(|| (self.state)().unready),
                None => Response::empty(StatusCode::NOT_FOUND),
            },
        }
    }

    fn health(&self) -> Response {
        let state = (self.state)();
        let waiting: u64 = state.projects.iter().map(|project| project.waiting).sum();
        let stalled = state.projects.iter().filter_map(|project| {
            let stalled = project.stalled.as_ref()?;
            let said = json!({"since": stalled.since, "reason": stalled.reason});
            Some((project.name.clone(), said))
        });
        let stalled: serde_json::Map<_, _> = stalled.collect();
        let text = json!({
            "status": if stalled.is_empty() { "ok" } else { "not_draining" },
            "not_draining": stalled,
            "waiting": waiting,
            "config": {
                "generation": state.config.generation,
                "last_refusal": state.config.last_refusal,
            },
            "posthog": state.projects.iter().map(|project| {
                (project.name.clone(), json!(project.posthog.word()))
            }).collect::<serde_json::Map<_, _>>(),
        });
        Response::new(StatusCode::OK, "application/json", text.to_string())
    }

    fn news(&self, request: &Request) -> Response {
        let until = u64::try_from(self.now().saturating_add(WATCHED)).unwrap_or(0);
        self.watched.store(until, Ordering::Relaxed);
        self.live.news(request.query.as_deref())
    }
}

impl Handler for Admin {
    fn handle(&self, request: &Request) -> Response {
        let answer = match request.method {
            Method::GET | Method::HEAD => self.answer(request),
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
            .field("came", &self.came())
            .finish_non_exhaustive()
    }
}

/// Whether the request was made to an IP address or to this machine by its own name.
fn names_an_address(request: &Request) -> bool {
    let Some(host) = request.header(header::HOST) else {
        return false;
    };
    if host.parse::<std::net::SocketAddr>().is_ok() {
        return true;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests;
