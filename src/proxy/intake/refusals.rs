//! What a request was answered, and above all why it was turned away: counted by route, call and
//! code, said in the log, and shown in the live view.

use http::request::Parts;

use crate::admin::live::Outcome;
use crate::admin::{key_end, Answered, Asked, TurnedAway};
use crate::segment::{Refusal, Reply, WriteKey};
use crate::site::head::HeadFault;

use crate::proxy::intake::stop::UploadError;
use crate::proxy::serving::Serving;

/// One request, from when its route is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RoutedRequest {
    /// The number of its route, if it has one.
    pub(crate) route: Option<usize>,
    pub(crate) asked: Asked,
}

impl RoutedRequest {
    /// A request that no route was found for.
    pub(crate) const NOTHING: Self = Self {
        route: None,
        asked: Asked::Nothing,
    };
}

impl Serving {
    /// Counts a request by what it was answered. One that was turned away from a Segment route is
    /// said and shown as well; `key` is the write key that it came with.
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
            self.tell_of_limit(asking, answered, end);
            return;
        }
        if let Some(live) = self.admin.as_ref().and_then(|admin| admin.live()) {
            live.turned_away(&TurnedAway {
                route: name,
                asked,
                answered,
                method: head.method.as_str(),
                path: head.uri.path(),
                key: end.as_deref(),
            });
        }
        // Those that are on no route of ours are what every open port gets.
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
    /// Says which limit a request met that may come again; `key` is the end of its write key.
    fn tell_of_limit(&self, asking: RoutedRequest, answered: Answered, key: Option<String>) {
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
    /// Where the messages are whose request stopped like this, for the live view.
    pub(crate) fn outcome(self) -> Outcome {
        if let Some(code) = self.refusal_code() {
            return Outcome::DroppedWith(code);
        }
        Outcome::SentAgain(match self {
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

    /// How a request that stopped like this was answered, for the counters.
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

/// A refusal for good as the counters have it.
pub(crate) fn of_refusal(refusal: Refusal) -> Answered {
    match refusal {
        Refusal::Malformed { code, .. } => Answered::malformed(code),
        Refusal::UnknownWriteKey => Answered::UnknownWriteKey,
        Refusal::TooLarge => Answered::TooLarge,
        Refusal::UnknownPath => Answered::UnknownPath,
        Refusal::MethodNotAllowed(_) => Answered::MethodNotAllowed,
    }
}

/// A head that is refused before a route is looked for.
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
