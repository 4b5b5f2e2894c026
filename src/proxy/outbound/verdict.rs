//! The verdict on a batch by PostHog's answer, the answer to the client that follows from it, and the
//! advice to the operator. Only this module decides all three.

use std::time::Duration;

use pingora::{Error, ErrorType};

use crate::config::Project;
use crate::delivery::{self, StatusMeaning};
use crate::masked;
use crate::segment::Reply;

use crate::proxy::limits::log_limit::LogLimit;

/// The outcome of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchVerdict {
    /// PostHog accepted the batch.
    Accepted,
    /// PostHog refused the project key (401 or 403; posthog-ingestion 1.7).
    KeyRefused(u16),
    /// PostHog refused something in the batch, and would refuse it again (400 or 413).
    Refused(u16),
    /// The server sent a status that PostHog's ingestion does not send, or a web page with a 2xx status. It
    /// may not be PostHog.
    Rejected(u16),
    /// PostHog asks to try again (408, 429, 5xx), with its `Retry-After` in seconds.
    Busy {
        status: u16,
        retry_after: Option<u32>,
    },
    /// There was no answer.
    Unreachable(NoAnswerReason),
}

/// What happens to the events of a batch that PostHog did not accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// The client gets 503 and sends them again.
    ClientRetries,
    /// The spool stores them, or has stored them already.
    Spooled,
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswerReason {
    /// The host's name could not be resolved.
    Dns,
    /// The host's name could not be looked up, because the system starts no thread.
    NoThread,
    /// No connection could be opened.
    Connect,
    /// The TLS handshake failed, most often because the certificate is not trusted for the name.
    Tls,
    /// The connection was open, but a read or a write took too long.
    Timeout,
    /// The connection was closed before an answer.
    Closed,
    /// What came back is no answer in HTTP.
    NotHttp,
    /// Too many batches are waiting for their answers.
    Overloaded,
}

/// `Retry-After` in seconds when PostHog named none and may recover soon.
const SOON: u32 = 10;
/// `Retry-After` in seconds when a person has to repair something first.
const LATER: u32 = 60;

/// Whether this verdict is about the events in the batch.
pub(crate) fn is_about_events(verdict: BatchVerdict) -> bool {
    matches!(verdict, BatchVerdict::Refused(_))
}

impl BatchVerdict {
    /// Returns the verdict for a response. `html` states whether its media type is HTML; `retry_after` is in
    /// seconds.
    ///
    /// An HTML page with a 2xx status is sent by a portal or a log-in page and never by PostHog's capture,
    /// which answers with JSON. If it counted as an acceptance, events would be lost silently.
    pub(crate) fn from_response(status: u16, html: bool, retry_after: Option<u32>) -> Self {
        match StatusMeaning::of(status) {
            StatusMeaning::Yes if html => Self::Rejected(status),
            StatusMeaning::Yes => Self::Accepted,
            StatusMeaning::Refused => Self::Refused(status),
            StatusMeaning::KeyRefused => Self::KeyRefused(status),
            StatusMeaning::Busy => Self::Busy {
                status,
                retry_after,
            },
            StatusMeaning::Other => Self::Rejected(status),
        }
    }

    /// Returns the status of the answer (200 for every accepted batch), or `None` without an answer.
    pub(crate) fn status(self) -> Option<u16> {
        match self {
            Self::Accepted => Some(200),
            Self::KeyRefused(status)
            | Self::Refused(status)
            | Self::Rejected(status)
            | Self::Busy { status, .. } => Some(status),
            Self::Unreachable(_) => None,
        }
    }

    /// Returns the answer to the client: 200 only if PostHog accepted the batch. Every other request may
    /// succeed later, when PostHog or the configuration is repaired, so its answer asks the SDK to retry.
    pub(crate) fn reply(self) -> Reply {
        let retry_after = match self {
            Self::Accepted => return Reply::Accepted,
            Self::KeyRefused(_) | Self::Refused(_) | Self::Rejected(_) => LATER,
            Self::Busy { retry_after, .. } => retry_after.unwrap_or(SOON),
            Self::Unreachable(_) => SOON,
        };
        Reply::Busy { retry_after }
    }

    /// Converts the verdict for the spool's delivery. `text` is the beginning of PostHog's answer.
    pub(crate) fn for_delivery(self, text: &str) -> delivery::Verdict {
        let later = |why: String, retry_after: Option<u32>| delivery::Verdict::TryLater {
            retry_after: retry_after.map(|seconds| Duration::from_secs(seconds.into())),
            why,
        };
        match self {
            Self::Accepted => delivery::Verdict::Accepted,
            // A web page with a 2xx status is not an acceptance.
            Self::Rejected(status @ 200..=299) => later(format!("a web page with {status}"), None),
            Self::Refused(status) => delivery::Verdict::refused(status, &masked::text(text)),
            Self::Rejected(status) | Self::KeyRefused(status) => {
                later(format!("status {status}"), None)
            }
            Self::Busy {
                status,
                retry_after,
            } => later(format!("status {status}"), retry_after),
            Self::Unreachable(reason) => later(reason.advice().0.to_owned(), None),
        }
    }

    /// Logs what happened and what to do, at most once per interval for each project and kind of verdict.
    pub(crate) fn report(self, project: &Project, log_limit: &LogLimit, fallback: Fallback) {
        let Some((kind, advice)) = self.advice() else {
            return;
        };
        let line = format!(
            "project {}: {}: {advice}. {}",
            project.name,
            project.host,
            match fallback {
                Fallback::ClientRetries => "Clients are told to send again later",
                Fallback::Spooled => "The events wait in the spool",
            },
        );
        match log_limit.pass(&project.name, kind) {
            Some(more) => log::error!("{line}{more}"),
            None => log_limit.keep(&project.name, kind, log::Level::Error, line),
        }
    }

    /// Returns the name of the kind of this verdict, and the advice to the operator. Returns `None` for an
    /// accepted batch.
    pub(crate) fn advice(self) -> Option<(&'static str, String)> {
        Some(match self {
            Self::Accepted => return None,
            Self::KeyRefused(status) => (
                "key",
                format!(
                    "PostHog refused the project key ({status}). Check `api_key`: it is the \
                     project API key (phc_…) of this project, and `host` is its region (us or eu)"
                ),
            ),
            Self::Rejected(status @ (300..=399 | 404 | 405)) => (
                "host",
                format!(
                    "answered {status} to {}: this is not PostHog's ingestion API. Check `host`: \
                     us, eu, or the URL of your own PostHog, with https if it redirects",
                    crate::posthog::BATCH_PATH
                ),
            ),
            Self::Rejected(status @ 200..=299) => (
                "page",
                format!(
                    "answered {status} with a web page, as log-in pages and portals do: this is \
                     not PostHog's ingestion API. Check `host` and the server in front of it"
                ),
            ),
            Self::Refused(status) => (
                "culprit",
                format!(
                    "refused a batch ({status}) because of an event in it: Hedgerow searches for it and delivers the others. If all of them are refused, check that `host` is PostHog"
                ),
            ),
            Self::Rejected(status) => (
                "rejected",
                format!(
                    "refused a batch ({status}), which should not happen. Check that `host` is \
                     PostHog; if it is, please report it with the versions of both"
                ),
            ),
            Self::Busy { status: 429, .. } => (
                "limited",
                "is limiting the rate (429). If it lasts, check the project's quota".to_owned(),
            ),
            Self::Busy { status, .. } => (
                "busy",
                format!("is in trouble ({status}). If it lasts, see PostHog's status page"),
            ),
            Self::Unreachable(reason) => reason.advice(),
        })
    }
}

impl NoAnswerReason {
    /// Returns the reason for an error of a connection or of an exchange on it.
    pub(crate) fn from_error(error: &Error) -> Self {
        use ErrorType::*;
        match error.etype() {
            TLSHandshakeFailure | TLSHandshakeTimedout | InvalidCert | HandshakeError
            | TLSWantX509Lookup => Self::Tls,
            ConnectTimedout | ConnectRefused | ConnectNoRoute | ConnectError | BindError
            | SocketError | ConnectProxyFailure => Self::Connect,
            ReadTimedout | WriteTimedout => Self::Timeout,
            InvalidHTTPHeader => Self::NotHttp,
            _ => Self::Closed,
        }
    }

    /// Returns the name of this reason, and the advice to the operator.
    pub(crate) fn advice(self) -> (&'static str, String) {
        match self {
            Self::Dns => (
                "dns",
                "the name cannot be resolved. Check the spelling of `host` and this machine's DNS"
                    .to_owned(),
            ),
            Self::NoThread => (
                "no_thread",
                "the name cannot be looked up, because the system starts no more threads. Raise the limit \
                 (`ulimit -u`, or that of the container)"
                    .to_owned(),
            ),
            Self::Connect => (
                "connect",
                "no connection. Check that this machine may open connections there (firewall, \
                 proxy) and that `host` has the right port"
                    .to_owned(),
            ),
            Self::Tls => (
                "tls",
                "no TLS connection. Its certificate must be valid today and for this name, and signed by an \
                 authority this machine trusts: install ca-certificates, or set `ca_file`. A server without TLS \
                 has http:// in `host`"
                    .to_owned(),
            ),
            Self::Timeout => (
                "timeout",
                "connected, but did not answer within `delivery.timeout`".to_owned(),
            ),
            Self::Overloaded => (
                "overloaded",
                "too many batches wait for its answers. It is too slow for this traffic, or unreachable"
                    .to_owned(),
            ),
            Self::Closed => (
                "closed",
                "closed the connection without an answer".to_owned(),
            ),
            Self::NotHttp => (
                "not_http",
                "sent something that is no HTTP answer. Check `host`, its port, and whether it needs https"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_of_posthog_is_a_yes_to_the_client() {
        assert_eq!(
            BatchVerdict::from_response(200, false, None).reply(),
            Reply::Accepted
        );
        for status in [200, 301, 400, 401, 403, 404, 408, 413, 429, 500, 503] {
            let verdict = BatchVerdict::from_response(status, true, None);
            assert!(matches!(verdict.reply(), Reply::Busy { .. }), "{status}");
            assert!(verdict.advice().is_some(), "{status}");
        }
        for reason in [
            NoAnswerReason::Dns,
            NoAnswerReason::NoThread,
            NoAnswerReason::NotHttp,
            NoAnswerReason::Connect,
            NoAnswerReason::Tls,
            NoAnswerReason::Timeout,
            NoAnswerReason::Closed,
            NoAnswerReason::Overloaded,
        ] {
            let verdict = BatchVerdict::Unreachable(reason);
            assert!(matches!(verdict.reply(), Reply::Busy { .. }), "{reason:?}");
        }
    }

    #[test]
    fn only_400_and_413_say_something_about_the_events() {
        for status in [200, 301, 400, 401, 403, 404, 408, 413, 429, 500, 503] {
            let verdict = BatchVerdict::from_response(status, true, Some(7));
            let delivery = verdict.for_delivery("because");
            match delivery {
                delivery::Verdict::RefusedForGood(refusal) => {
                    assert!(matches!(status, 400 | 413), "{status}");
                    assert_eq!(
                        (refusal.status, refusal.reason.as_str()),
                        (status, "because")
                    );
                }
                delivery::Verdict::TryLater { .. } => {
                    assert!(!matches!(status, 400 | 413), "{status}");
                }
                delivery::Verdict::Accepted => panic!("{status} with a page is no yes"),
            }
        }
    }

    #[test]
    fn a_key_that_an_answer_repeats_is_not_kept_as_its_reason() {
        let text = "API key is not valid: phc_0123456789abcdef";
        let delivery::Verdict::RefusedForGood(refusal) =
            BatchVerdict::from_response(400, false, None).for_delivery(text)
        else {
            panic!("400 is final");
        };
        assert_eq!(refusal.reason, "API key is not valid: …cdef");
    }

    #[test]
    fn posthogs_own_retry_after_is_passed_on() {
        let verdict = BatchVerdict::from_response(503, false, Some(7));
        assert_eq!(verdict.reply(), Reply::Busy { retry_after: 7 });
    }
}
