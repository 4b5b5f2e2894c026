//! The outcome as which a refusal is counted and shown.

use crate::admin::live::FinalOutcome;
use crate::admin::RequestOutcome;
use crate::segment::{Reply, RequestRefusal};
use crate::site::head::HeadFault;

use crate::proxy::request::body::BodyInterruption;
use crate::proxy::sending::upload_error::UploadError;

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
