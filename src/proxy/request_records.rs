//! Records how each request was answered, and above all why it was refused: counts it by route, call and
//! code, logs it, and shows it in the live view. The end of a request also gives a line of the access log.

use std::time::Instant;

use http::header;
use http::request::Parts;
use http::StatusCode;
use log::Level;
use pingora::proxy::Session;

use crate::admin::live::Live;
use crate::admin::{key_end, RejectedRequest, RequestKind, RequestOutcome, Requests};
use crate::config::RequestLimits;
use crate::doctor;
use crate::logging::ACCESS;
use crate::segment::WriteKey;
use crate::site::trace::trace_id;

use crate::proxy::limits::log_limit::LogLimit;
use crate::proxy::request::exchange::Exchange;

/// The methods that appear in a log line. Any other method is the client's own text, so it is
/// logged as `other`.
const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT",
];

/// A request that has ended.
pub(crate) struct FinishedRequest<'h> {
    head: &'h Parts,
    /// The status of its answer, if one was written.
    written: Option<StatusCode>,
    /// Bytes of its body.
    received: u64,
}

impl<'h> FinishedRequest<'h> {
    /// A request whose body Hedgerow has read.
    pub(crate) fn exchange(exchange: &'h impl Exchange) -> Self {
        Self {
            head: exchange.head(),
            written: exchange.status(),
            received: exchange.received(),
        }
    }

    /// A request of the framework, with the number of body bytes that it passed on.
    pub(crate) fn session(session: &'h Session, received: u64) -> Self {
        let written = session.response_written();
        Self {
            head: session.req_header(),
            written: written.map(|written| written.status),
            received,
        }
    }
}

/// The route and the kind of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RoutedRequest {
    /// The number of the request's route, if it has one.
    pub(crate) route: Option<usize>,
    pub(crate) asked: RequestKind,
}

impl RoutedRequest {
    /// A request without a route.
    pub(crate) const NOTHING: Self = Self {
        route: None,
        asked: RequestKind::Nothing,
    };
}

/// Where the outcomes of requests are recorded.
pub(crate) struct RequestRecords<'a> {
    pub(crate) requests: &'a Requests,
    pub(crate) limits: &'a RequestLimits,
    pub(crate) log_limit: &'a LogLimit,
    pub(crate) live: Option<&'a Live>,
}

impl RequestRecords<'_> {
    /// Counts a request by its answer. A request that a Segment route refused is also logged and shown;
    /// `key` is the write key that it came with.
    pub(crate) fn record(
        &self,
        head: &Parts,
        routed: RoutedRequest,
        answered: RequestOutcome,
        key: Option<&WriteKey>,
    ) {
        let RoutedRequest { route, asked } = routed;
        self.requests.count(route, asked, answered);
        let name = self.requests.route(route);
        let end = key.map(|key| key_end(key.expose()));
        if !answered.is_refusal() {
            self.log_rate_limit(routed, answered, end);
            return;
        }
        if let Some(live) = self.live {
            live.rejected(&RejectedRequest {
                route: name,
                asked,
                answered,
                method: head.method.as_str(),
                path: head.uri.path(),
                key: end.as_deref(),
            });
        }
        // Requests without a route are common on every open port.
        if route.is_none() {
            return;
        }
        let (call, status, code) = (asked.word(), answered.status(), answered.code());
        // `hedgerow doctor` provokes the refusal, to learn from it which server answers.
        let user_agent = head.headers.get(header::USER_AGENT);
        if doctor::is_own_request(user_agent.map(|name| name.as_bytes())) {
            log::debug!("route {name}: a request of `hedgerow doctor` got {status} {code}");
            return;
        }
        let group = format!("{name} {call} {status}");
        if let Some(more) = self.log_limit.pass(&group, code) {
            let key = end.map_or_else(String::new, |end| format!(", write key {end}"));
            log::warn!("route {name}: {call} was refused: {status} {code}{key}{more}");
        }
    }

    /// Logs which limit a request has exceeded, if the client may send the request again. `key` is
    /// the end of its write key.
    fn log_rate_limit(&self, routed: RoutedRequest, answered: RequestOutcome, key: Option<String>) {
        let limits = self.limits;
        let many = |who: &str, most: Option<usize>, limit: &str| {
            let most = most.unwrap_or_default();
            format!("{who} makes more than {most} requests a second (`limits.{limit}`)")
        };
        let reason = match answered {
            RequestOutcome::ClientRate => many(
                "an address",
                limits.requests_per_client,
                "requests_per_client",
            ),
            RequestOutcome::KeyRate => {
                let who = key.map_or_else(
                    || "a write key".to_owned(),
                    |key| format!("write key {key}"),
                );
                many(&who, limits.requests_per_key, "requests_per_key")
            }
            RequestOutcome::SlowBody | RequestOutcome::SlowUpload => {
                let bound = match limits.body_rate {
                    Some(least) => format!("less than {} bytes a second", least.bytes),
                    None => "`limits.body_rate` is off".to_owned(),
                };
                format!(
                    "its body came too slowly ({bound}, a long silence, or more than five minutes)"
                )
            }
            _ => return,
        };
        let (name, call) = (self.requests.route(routed.route), routed.asked.word());
        let (status, code) = (answered.status(), answered.code());
        if let Some(more) = self.log_limit.pass(&format!("{name} {call}"), code) {
            log::warn!("route {name}: {call} was answered {status} {code}: {reason}{more}");
        }
    }

    /// Records the end of a request that began at `began`.
    pub(crate) fn record_end(
        &self,
        finished: &FinishedRequest<'_>,
        routed: RoutedRequest,
        answered: RequestOutcome,
        began: Instant,
    ) {
        let took = began.elapsed();
        let FinishedRequest {
            head,
            written,
            received,
        } = *finished;
        self.requests.ended(routed.route, took, received);
        if !log::log_enabled!(target: ACCESS, Level::Debug) {
            return;
        }
        let asked = head.method.as_str();
        let method = METHODS.iter().find(|known| **known == asked);
        let method = method.copied().unwrap_or("other");
        let status = written.map_or_else(
            || answered.status().to_owned(),
            |written| written.as_u16().to_string(),
        );
        let (route, call) = (self.requests.route(routed.route), routed.asked.word());
        let (status, code) = (status.as_str(), answered.code());
        let milliseconds = took.as_micros() as f64 / 1000.0;
        let mut parents = head.headers.get_all("traceparent").iter();
        let trace = match (parents.next(), parents.next()) {
            (Some(parent), None) => trace_id(parent.as_bytes()),
            _ => None,
        };
        let trace = trace.unwrap_or("none");
        log::debug!(
            target: ACCESS,
            method, route, call, status, code, received, milliseconds, trace;
            "{method} {route} {call}: {status} {code}, {received} bytes, {milliseconds} ms, trace \
             {trace}"
        );
    }
}
