//! The end of a request: its time and size for the metrics, and a line for the access log.

use std::time::Instant;

use log::Level;
use pingora::proxy::Session;

use crate::admin::Answered;
use crate::logging::ACCESS;
use crate::site::trace::trace_id;

use crate::proxy::intake::refusals::Asking;
use crate::proxy::Inner;

/// The methods that are named in a line; any other one is the client's own text.
const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT",
];

impl Inner {
    /// Notes the end of a request that began then, with a body of so many bytes.
    pub(crate) fn ended(
        &self,
        session: &Session,
        asking: Asking,
        answered: Answered,
        began: Instant,
        received: u64,
    ) {
        let took = began.elapsed();
        self.requests.ended(asking.route, took, received);
        if !log::log_enabled!(target: ACCESS, Level::Debug) {
            return;
        }
        let head = session.req_header();
        let asked = head.method.as_str();
        let method = METHODS.iter().find(|known| **known == asked);
        let method = method.copied().unwrap_or("other");
        let written = session.response_written();
        let status = written.map_or_else(
            || answered.status().to_owned(),
            |response| response.status.as_u16().to_string(),
        );
        let (route, call) = (self.requests.route(asking.route), asking.asked.word());
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
