//! Records how each request was answered, and above all why it was refused: counts it by route,
//! call and code, logs it, and shows it in the live view.

use http::header;
use http::request::Parts;

use crate::admin::live::FinalOutcome;
use crate::admin::{key_end, RejectedRequest, RequestKind, RequestOutcome};
use crate::doctor;
use crate::segment::{Reply, RequestRefusal, WriteKey};
use crate::site::head::HeadFault;

use crate::proxy::active_config::ActiveConfig;
use crate::proxy::request::body::BodyInterruption;
use crate::proxy::sending::upload_error::UploadError;

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

impl ActiveConfig {
    /// Counts a request by its answer. A request that a Segment route refused is also logged and shown;
    /// `key` is the write key that it came with.
    pub(crate) fn record_outcome(
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
        if let Some(live) = self.admin.as_ref().and_then(|admin| admin.live()) {
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
        if let Some(more) = self
            .long_lived
            .log_limit
            .pass(&format!("{name} {call} {status}"), code)
        {
            let key = end.map_or_else(String::new, |end| format!(", write key {end}"));
            log::warn!("route {name}: {call} was refused: {status} {code}{key}{more}");
        }
    }
}

impl ActiveConfig {
    /// Logs which limit a request has exceeded, if the client may send the request again. `key` is
    /// the end of its write key.
    fn log_rate_limit(&self, routed: RoutedRequest, answered: RequestOutcome, key: Option<String>) {
        let limits = &self.config.limits;
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
        if let Some(more) = self
            .long_lived
            .log_limit
            .pass(&format!("{name} {call}"), code)
        {
            log::warn!("route {name}: {call} was answered {status} {code}: {reason}{more}");
        }
    }
}

impl UploadError {
    /// Returns what happened to the messages of a request that stopped with this error, for the
    /// live view.
    pub(crate) fn outcome(self) -> FinalOutcome {
        if let Some(code) = self.refusal_code() {
            return FinalOutcome::DroppedWith(code);
        }
        FinalOutcome::SentAgain(match self {
            Self::Verdict(verdict) => match (verdict.status(), verdict.advice()) {
                (Some(status), _) => status.to_string(),
                (None, advice) => {
                    let kind = advice.map_or("", |(kind, _)| kind);
                    format!("no answer: {kind}")
                }
            },
            error => error.request_outcome().code().to_owned(),
        })
    }

    /// Returns the outcome of a request that stopped with this error, for the counters.
    pub(crate) fn request_outcome(self) -> RequestOutcome {
        match self {
            Self::Client(BodyInterruption::Slow) => RequestOutcome::SlowBody,
            Self::Memory => RequestOutcome::Memory,
            Self::KeyRate => RequestOutcome::KeyRate,
            Self::Verdict(_) => RequestOutcome::PostHog,
            Self::Spool => RequestOutcome::Spool,
            Self::Client(BodyInterruption::Gone | BodyInterruption::Malformed)
            | Self::UnknownWriteKey
            | Self::Encoding(_)
            | Self::Rewrite(_) => match self.reply() {
                None => RequestOutcome::ClientGone,
                Some(Reply::Refused(refusal)) => outcome_of_refusal(refusal),
                Some(_) => RequestOutcome::Other,
            },
        }
    }
}

/// Returns the outcome as which a permanent rejection is counted.
pub(crate) fn outcome_of_refusal(refusal: RequestRefusal) -> RequestOutcome {
    match refusal {
        RequestRefusal::Malformed { code, .. } => RequestOutcome::malformed(code),
        RequestRefusal::UnknownWriteKey => RequestOutcome::UnknownWriteKey,
        RequestRefusal::TooLarge => RequestOutcome::TooLarge,
        RequestRefusal::UnknownPath => RequestOutcome::UnknownPath,
        RequestRefusal::MethodNotAllowed(_) => RequestOutcome::MethodNotAllowed,
    }
}

/// Returns the outcome as which a request with a refused head is counted.
pub(crate) fn outcome_of_head(fault: HeadFault) -> RequestOutcome {
    match fault {
        HeadFault::Target | HeadFault::TwoRoutes => RequestOutcome::BadTarget,
        HeadFault::DotSegment => RequestOutcome::DotSegment,
        HeadFault::NoHost => RequestOutcome::NoHost,
        HeadFault::Host => RequestOutcome::BadHost,
        HeadFault::Trace => RequestOutcome::Trace,
        HeadFault::Connect => RequestOutcome::Connect,
        HeadFault::TransferCoding => RequestOutcome::TransferCoding,
    }
}
