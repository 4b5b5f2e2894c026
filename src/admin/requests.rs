//! Counts requests by route, call and answer. The sets of labels are fixed, and the counters are
//! allocated at the start.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use super::times::{DurationHistogram, Times};
use crate::segment::{self, Kind, Recognised};

macro_rules! request_kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// The call of a request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum RequestKind {
            /// One of Segment's calls with one message.
            One(Kind),
            $($(#[$doc])* $name,)*
        }

        impl RequestKind {
            const OTHERS: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the value of the label.
            pub fn word(self) -> &'static str {
                match self {
                    Self::One(kind) => kind.name(),
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

request_kinds! {
    /// A batch of messages.
    Batch = "batch",
    /// A pixel.
    Pixel = "pixel",
    /// The SDKs' own telemetry.
    Telemetry = "telemetry",
    /// A CORS preflight.
    Preflight = "preflight",
    /// analytics.js or one of the files that belong to it.
    File = "file",
    /// A path or a method on a Segment route that is not a call.
    Unknown = "unknown",
    /// A request of posthog-js on its route.
    PostHog = "posthog",
    /// A page or a file of the site that an `origin` serves.
    Site = "site",
    /// A request without a route.
    Nothing = "none",
}

impl RequestKind {
    /// The number of kinds.
    const NUMBER: usize = Kind::ALL.len() + Self::OTHERS.len();

    /// Returns all kinds.
    pub fn all() -> impl Iterator<Item = Self> {
        let calls = Kind::ALL.iter().map(|kind| Self::One(*kind));
        calls.chain(Self::OTHERS.iter().copied())
    }
}

impl From<Recognised> for RequestKind {
    fn from(recognised: Recognised) -> Self {
        match recognised {
            Recognised::Ingest(segment::Call::One(kind)) => Self::One(kind),
            Recognised::Ingest(segment::Call::Batch) => Self::Batch,
            Recognised::Pixel(_) | Recognised::PixelHead => Self::Pixel,
            Recognised::Telemetry => Self::Telemetry,
            Recognised::Preflight => Self::Preflight,
            Recognised::MethodNotAllowed(_) | Recognised::Unknown => Self::Unknown,
        }
    }
}

macro_rules! request_outcomes {
    ($($(#[$doc:meta])* $name:ident = $status:literal $code:literal $result:ident,)*) => {
        /// The outcome of a request. Each outcome has one status and one code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum RequestOutcome {
            $($(#[$doc])* $name,)*
        }

        impl RequestOutcome {
            pub(super) const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns all outcomes.
            pub fn all() -> &'static [Self] {
                Self::ALL
            }

            /// Returns the status as the value of the label; `none` if the client had disconnected.
            pub fn status(self) -> &'static str {
                match self {
                    $(Self::$name => $status,)*
                }
            }

            /// Returns the code, as the label and the answer contain it.
            pub fn code(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            fn result(self) -> AnswerResult {
                match self {
                    $(Self::$name => AnswerResult::$result,)*
                }
            }
        }
    };
}

/// The meaning of an answer for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnswerResult {
    /// The request succeeded.
    Succeeded,
    /// The same request may succeed later, or the answer is that of an upstream server.
    MayRepeat,
    /// The request is refused for good.
    Refused,
}

request_outcomes! {
    /// The request succeeded.
    Well = "200" "ok" Succeeded,
    /// A preflight.
    NoContent = "204" "ok" Succeeded,
    /// A file that the client has already.
    NotModified = "304" "ok" Succeeded,
    /// A pixel whose write key the route does not accept; its answer is still the picture.
    PixelUnknownKey = "200" "unknown_write_key" Refused,
    /// A pixel whose message was lost.
    PixelLost = "200" "not_delivered" Refused,
    /// The body is empty.
    EmptyBody = "400" "empty_body" Refused,
    /// The body is not JSON.
    InvalidJson = "400" "invalid_json" Refused,
    /// The body is JSON, but not an object.
    NotAnObject = "400" "not_an_object" Refused,
    /// `batch` is not an array.
    BatchNotAnArray = "400" "batch_not_an_array" Refused,
    /// `context` or `integrations` is after `batch` in a body larger than `limits.window`.
    LateBatchKey = "400" "late_batch_key" Refused,
    /// A content coding that is neither gzip nor identity.
    UnknownEncoding = "400" "unknown_encoding" Refused,
    /// Damaged gzip.
    DamagedGzip = "400" "damaged_gzip" Refused,
    /// The body contains more refused messages than the limit.
    TooManyRefused = "400" "too_many_refused" Refused,
    /// Broken chunks.
    MalformedChunk = "400" "malformed_chunk" Refused,
    /// Another fault of the body.
    Malformed = "400" "malformed" Refused,
    /// An invalid target.
    BadTarget = "400" "bad_target" Refused,
    /// `.` or `..` in the path.
    DotSegment = "400" "dot_segment" Refused,
    /// No host.
    NoHost = "400" "no_host" Refused,
    /// An invalid host.
    BadHost = "400" "bad_host" Refused,
    /// No write key, or one that the route does not accept.
    UnknownWriteKey = "401" "unknown_write_key" Refused,
    /// A path on a Segment route that is not a call.
    UnknownPath = "404" "unknown_path" Refused,
    /// No route matches the request.
    NoRoute = "404" "no_route" Refused,
    /// A method that the path does not support.
    MethodNotAllowed = "405" "method_not_allowed" Refused,
    /// `TRACE`.
    Trace = "405" "trace" Refused,
    /// `CONNECT`.
    Connect = "405" "connect" Refused,
    /// The body, or its only message, is too large.
    TooLarge = "413" "too_large" Refused,
    /// One address sent more requests than `limits.requests_per_client`.
    ClientRate = "429" "client_rate" MayRepeat,
    /// More requests with one write key arrived than `limits.requests_per_key`.
    KeyRate = "429" "key_rate" MayRepeat,
    /// A transfer coding other than `chunked`.
    TransferCoding = "501" "transfer_coding" Refused,
    /// PostHog did not accept the events, and no spool stores them.
    PostHog = "503" "posthog" MayRepeat,
    /// The spool could not store the events.
    Spool = "503" "spool" MayRepeat,
    /// The body for a server of the site arrived too slowly.
    SlowUpload = "408" "slow_body" MayRepeat,
    /// `limits.memory` is used up.
    Memory = "503" "memory" MayRepeat,
    /// The body arrived too slowly.
    SlowBody = "503" "slow_body" MayRepeat,
    /// A file that Hedgerow has to fetch first is not available yet.
    NotYet = "503" "not_yet" MayRepeat,
    /// The upstream server of the route sent no valid answer.
    BadGateway = "502" "upstream" MayRepeat,
    /// The upstream server of the route could not be reached.
    Unavailable = "503" "upstream" MayRepeat,
    /// The upstream server of the route took too long.
    GatewayTimeout = "504" "upstream" MayRepeat,
    /// The upstream server of the route answered with a success.
    Relayed2xx = "2xx" "relayed" Succeeded,
    /// The upstream server of the route answered with a redirect or a 304.
    Relayed3xx = "3xx" "relayed" Succeeded,
    /// The upstream server of the route answered 4xx.
    Relayed4xx = "4xx" "relayed" MayRepeat,
    /// The upstream server of the route answered 5xx.
    Relayed5xx = "5xx" "relayed" MayRepeat,
    /// The client disconnected before the answer.
    ClientGone = "none" "client_gone" MayRepeat,
    /// Any other answer.
    Other = "other" "other" MayRepeat,
}

impl RequestOutcome {
    /// Returns whether the request succeeded.
    pub fn is_well(self) -> bool {
        self.result() == AnswerResult::Succeeded
    }

    /// Returns whether the request was refused for good, so that a retry cannot succeed.
    pub fn is_refusal(self) -> bool {
        self.result() == AnswerResult::Refused
    }

    /// Returns the outcome for a code of [`crate::segment::RequestRefusal::Malformed`].
    pub fn malformed(code: &str) -> Self {
        let known = Self::ALL.iter().copied();
        let mut known = known.filter(|known| known.status() == "400");
        known
            .find(|known| known.code() == code)
            .unwrap_or(Self::Malformed)
    }

    /// Returns the outcome for an answer of which only the status is known.
    pub fn of_status(status: u16) -> Self {
        match status {
            204 => Self::NoContent,
            200..=299 => Self::Well,
            304 => Self::NotModified,
            401 => Self::UnknownWriteKey,
            404 => Self::UnknownPath,
            405 => Self::MethodNotAllowed,
            408 => Self::SlowUpload,
            413 => Self::TooLarge,
            400 => Self::Malformed,
            502 => Self::BadGateway,
            503 => Self::Unavailable,
            504 => Self::GatewayTimeout,
            _ => Self::Other,
        }
    }

    /// Returns the outcome for an upstream server's answer with this status.
    pub fn relayed(status: u16) -> Self {
        match status {
            200..=299 => Self::Relayed2xx,
            300..=399 => Self::Relayed3xx,
            400..=499 => Self::Relayed4xx,
            500..=599 => Self::Relayed5xx,
            _ => Self::Other,
        }
    }
}

/// The requests of one route, counted by call and answer.
#[derive(Debug)]
struct RouteCounts {
    route: String,
    purpose: RoutePurpose,
    counts: Box<[AtomicU64]>,
    times: DurationHistogram,
    received: AtomicU64,
}

/// The purpose of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoutePurpose {
    /// The route accepts Segment's calls. Its counters that alerts watch are shown from the start, at zero,
    /// because an alert can detect the first increase only of an existing counter.
    Calls,
    /// The route has another purpose.
    Other,
}

/// The counters of all requests. To count a request costs one atomic addition.
#[derive(Debug)]
pub struct Requests {
    routes: Vec<Arc<RouteCounts>>,
    unrouted: Arc<RouteCounts>,
}

/// The requests of one route.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteState {
    /// Host and path as the configuration has them; `none` for requests on no route.
    pub name: String,
    /// The times from the head of a request to the end of its answer.
    pub times: Times,
    /// The bytes of bodies before decompression.
    pub received_bytes: u64,
}

/// Requests of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestCount {
    /// Host and path of the route as the configuration has them; `none` without one.
    pub route: String,
    /// Their call.
    pub asked: RequestKind,
    /// Their answer.
    pub answered: RequestOutcome,
    /// The number of requests.
    pub number: u64,
}

impl RouteCounts {
    fn new(route: String, purpose: RoutePurpose) -> Self {
        let counters = RequestKind::NUMBER * RequestOutcome::ALL.len();
        Self {
            route,
            purpose,
            counts: (0..counters).map(|_| AtomicU64::new(0)).collect(),
            times: DurationHistogram::of_waiting(),
            received: AtomicU64::new(0),
        }
    }

    /// Returns whether a counter is shown before its first request.
    fn is_shown_at_zero(&self, asked: RequestKind, answered: RequestOutcome) -> bool {
        let is_call = matches!(asked, RequestKind::One(_) | RequestKind::Batch);
        let is_watched = matches!(
            answered,
            RequestOutcome::Well
                | RequestOutcome::UnknownWriteKey
                | RequestOutcome::PostHog
                | RequestOutcome::Spool
                | RequestOutcome::Memory
        );
        self.purpose == RoutePurpose::Calls && is_call && is_watched
    }

    fn count(&self, asked: RequestKind, answered: RequestOutcome) {
        let call = RequestKind::all().position(|one| one == asked);
        let index = call.map(|call| call * RequestOutcome::ALL.len() + answered as usize);
        if let Some(count) = index.and_then(|index| self.counts.get(index)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read(&self, into: &mut Vec<RequestCount>) {
        let kinds = RequestKind::all().flat_map(|asked| {
            let answered = RequestOutcome::ALL.iter();
            answered.map(move |answered| (asked, *answered))
        });
        for ((asked, answered), count) in kinds.zip(&self.counts) {
            let number = count.load(Ordering::Relaxed);
            if number > 0 || self.is_shown_at_zero(asked, answered) {
                into.push(RequestCount {
                    route: self.route.clone(),
                    asked,
                    answered,
                    number,
                });
            }
        }
    }
}

impl Requests {
    /// Creates counters for these routes, in the order of the configuration.
    pub fn new(routes: impl Iterator<Item = (String, RoutePurpose)>) -> Self {
        Self {
            routes: routes
                .map(|(name, purpose)| Arc::new(RouteCounts::new(name, purpose)))
                .collect(),
            unrouted: Arc::new(RouteCounts::new("none".to_owned(), RoutePurpose::Other)),
        }
    }

    /// Creates counters for the routes of the next configuration. Routes with the same name and purpose
    /// keep their counts.
    pub fn after(before: &Self, routes: impl Iterator<Item = (String, RoutePurpose)>) -> Self {
        let mut remaining = before.routes.clone();
        let route_counts = |(name, purpose): (String, RoutePurpose)| {
            let known = |known: &Arc<RouteCounts>| known.route == name && known.purpose == purpose;
            match remaining.iter().position(known) {
                Some(index) => remaining.swap_remove(index),
                None => Arc::new(RouteCounts::new(name, purpose)),
            }
        };
        Self {
            routes: routes.map(route_counts).collect(),
            unrouted: Arc::clone(&before.unrouted),
        }
    }

    /// Records how long a request took, and how many bytes its body had. It takes no lock and allocates
    /// nothing.
    pub fn ended(&self, route: Option<usize>, took: Duration, received: u64) {
        let route_counts = self.route_counts(route);
        route_counts.times.observe(took);
        if received > 0 {
            route_counts.received.fetch_add(received, Ordering::Relaxed);
        }
    }

    /// Returns the durations and received bytes of each route. Requests without a route are last.
    pub fn routes(&self) -> Vec<RouteState> {
        let all = self.routes.iter().chain([&self.unrouted]);
        let states = all.map(|route_counts| RouteState {
            name: route_counts.route.clone(),
            times: route_counts.times.read(),
            received_bytes: route_counts.received.load(Ordering::Relaxed),
        });
        states.collect()
    }

    /// Counts a request on the route with this number, or without a route.
    pub fn count(&self, route: Option<usize>, asked: RequestKind, answered: RequestOutcome) {
        self.route_counts(route).count(asked, answered);
    }

    /// Returns the name of the route with this number, for labels and the log.
    pub fn route(&self, route: Option<usize>) -> &str {
        &self.route_counts(route).route
    }

    /// Returns the counts so far. Zero counts are omitted, except those that alerts watch.
    pub fn read(&self) -> Vec<RequestCount> {
        let mut counts = Vec::new();
        for route_counts in self.routes.iter().chain([&self.unrouted]) {
            route_counts.read(&mut counts);
        }
        counts
    }

    fn route_counts(&self, route: Option<usize>) -> &RouteCounts {
        route
            .and_then(|number| self.routes.get(number))
            .unwrap_or(&self.unrouted)
    }
}

/// A request that produced no message.
#[derive(Debug, Clone, Copy)]
pub struct RejectedRequest<'r> {
    /// Host and path of the route, or `none`.
    pub route: &'r str,
    /// Its call.
    pub asked: RequestKind,
    /// Its answer.
    pub answered: RequestOutcome,
    /// Its method.
    pub method: &'r str,
    /// Its path, without the query.
    pub path: &'r str,
    /// The end of its write key ([`key_end`]), if it had one.
    pub key: Option<&'r str>,
}

/// Returns the last four characters of a write key after `…`: enough to recognise the key, not enough to
/// use it. A key of at most four characters is hidden completely.
pub fn key_end(key: &str) -> String {
    crate::masked::end(key)
}

#[cfg(test)]
mod tests;
