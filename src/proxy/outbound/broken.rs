//! Exchanges with an upstream that failed before the end of the answer.

use super::answer::NotHttp;
use crate::proxy::outbound::verdict::NoAnswerReason;

/// An exchange that failed.
#[derive(Debug)]
pub(crate) struct BrokenExchange {
    pub(crate) failure: ExchangeFailure,
    detail: String,
}

/// How an exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExchangeFailure {
    /// Nothing could be read or written in time.
    Late,
    /// The received bytes were not HTTP.
    NotHttp,
    /// The connection was closed.
    Closed,
}

impl BrokenExchange {
    pub(super) fn new(failure: ExchangeFailure, detail: impl Into<String>) -> Self {
        Self {
            failure,
            detail: detail.into(),
        }
    }

    pub(crate) fn reason(&self) -> NoAnswerReason {
        match self.failure {
            ExchangeFailure::Late => NoAnswerReason::Timeout,
            ExchangeFailure::NotHttp => NoAnswerReason::NotHttp,
            ExchangeFailure::Closed => NoAnswerReason::Closed,
        }
    }
}

impl std::fmt::Display for BrokenExchange {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.detail)
    }
}

impl From<NotHttp> for BrokenExchange {
    fn from(_: NotHttp) -> Self {
        Self::new(ExchangeFailure::NotHttp, "no answer in HTTP")
    }
}
