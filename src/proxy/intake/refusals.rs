//! How a request was answered, and above all why it was refused: counted by route, call and code,
//! logged, and shown in the live view.

use http::request::Parts;

use crate::admin::live::FinalOutcome;
use crate::admin::{key_end, Answered, RejectedRequest, RequestKind};
use crate::segment::{Reply, RequestRefusal, WriteKey};
use crate::site::head::HeadFault;

use crate::proxy::intake::upload_error::UploadError;
use crate::proxy::serving::Serving;

/// One request with a known route.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RoutedRequest {
    /// The number of its route, if it has one.
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

impl Serving {
    /// Counts a request by its answer. A request that a Segment route refused is also logged and shown;
    /// `key` is the write key that it came with.
    pub(crate) fn answered(
        &self,
        head: &Parts,
        asking: RoutedRequest,
        answered: Answered,
        key: Option<&WriteKey>,
    ) {
        let RoutedRequest { route, asked } = asking;
        self.requests.count(route, asked, answered);
        let name = self.requests.route(route);
        let end = key.map(|key| key_end(key.expose()));
        if !answered.is_refusal() {
            self.log_rate_limit(asking, answered, end);
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
        if let Some(more) = self
            .lasting
            .log_limit
            .pass(&format!("{name} {call} {status}"), code)
        {
            let key = end.map_or_else(String::new, |end| format!(", write key {end}"));
            log::warn!("route {name}: {call} was refused: {status} {code}{key}{more}");
        }
    }
}

impl Serving {
    /// Logs which limit a request met that may be sent again; `key` is the end of its write key.
    fn log_rate_limit(&self, asking: RoutedRequest, answered: Answered, key: Option<String>) {
        let limits = &self.config.limits;
        let many = |who: &str, most: Option<usize>, limit: &str| {
            let most = most.unwrap_or_default();
            format!("{who} makes more than {most} requests a second (`limits.{limit}`)")
        };
        let words = match answered {
            Answered::ClientRate => many(
                "an address",
                limits.requests_per_client,
                "requests_per_client",
            ),
            Answered::KeyRate => {
                let who = key.map_or_else(
                    || "a write key".to_owned(),
                    |key| format!("write key {key}"),
                );
                many(&who, limits.requests_per_key, "requests_per_key")
            }
            Answered::SlowBody | Answered::SlowUpload => {
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
        let (name, call) = (self.requests.route(asking.route), asking.asked.word());
        let (status, code) = (answered.status(), answered.code());
        if let Some(more) = self.lasting.log_limit.pass(&format!("{name} {call}"), code) {
            log::warn!("route {name}: {call} was answered {status} {code}: {words}{more}");
        }
    }
}

impl UploadError {
    /// Where the messages of a request are that stopped with this error, for the live view.
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
            stop => stop.answered().code().to_owned(),
        })
    }

    /// The answer to a request that stopped with this error, for the counters.
    pub(crate) fn answered(self) -> Answered {
        match self {
            Self::Client(crate::proxy::intake::body::Interrupted::Slow) => Answered::SlowBody,
            Self::Memory => Answered::Memory,
            Self::KeyRate => Answered::KeyRate,
            Self::Verdict(_) => Answered::PostHog,
            Self::Spool => Answered::Spool,
            _ => match self.reply() {
                None => Answered::ClientGone,
                Some(Reply::Refused(refusal)) => of_refusal(refusal),
                Some(_) => Answered::Other,
            },
        }
    }
}

/// A permanent rejection, as it is counted.
pub(crate) fn of_refusal(refusal: RequestRefusal) -> Answered {
    match refusal {
        RequestRefusal::Malformed { code, .. } => Answered::malformed(code),
        RequestRefusal::UnknownWriteKey => Answered::UnknownWriteKey,
        RequestRefusal::TooLarge => Answered::TooLarge,
        RequestRefusal::UnknownPath => Answered::UnknownPath,
        RequestRefusal::MethodNotAllowed(_) => Answered::MethodNotAllowed,
    }
}

/// A head that is refused before a route is chosen.
pub(crate) fn of_head(fault: HeadFault) -> Answered {
    match fault {
        HeadFault::Target | HeadFault::TwoRoutes => Answered::BadTarget,
        HeadFault::DotSegment => Answered::DotSegment,
        HeadFault::NoHost => Answered::NoHost,
        HeadFault::Host => Answered::BadHost,
        HeadFault::Trace => Answered::Trace,
        HeadFault::Connect => Answered::Connect,
        HeadFault::TransferCoding => Answered::TransferCoding,
    }
}
