//! The end of a request: its time and size for the metrics, and a line for the access log.

use std::time::Instant;

use http::request::Parts;
use http::StatusCode;
use log::Level;
use pingora::proxy::Session;

use crate::admin::RequestOutcome;
use crate::logging::ACCESS;
use crate::site::trace::trace_id;

use crate::proxy::active_config::ActiveConfig;
use crate::proxy::intake::refusals::RoutedRequest;
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

impl ActiveConfig {
    /// Records the end of a request that began at `began`.
    pub(crate) fn ended(
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
