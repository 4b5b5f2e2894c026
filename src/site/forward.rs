//! Forwarding to a real Segment account in addition to PostHog: decides which requests are
//! forwarded, and when one is dropped.
//!
//! This module only decides; it sends nothing. All decisions follow one rule: forwarding must never
//! slow or fail the delivery to PostHog, so a request that does not fit or fails is counted and
//! dropped.

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::StatusCode;

use crate::segment::{Call, KeyFrom, Recognised};

/// The region of the account's workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Region {
    /// United States.
    #[default]
    Us,
    /// Ireland.
    Eu,
}

impl Region {
    /// The host that takes events (segment-tracking 1.1).
    pub fn api_host(self) -> &'static str {
        match self {
            Self::Us => "api.segment.io",
            Self::Eu => "events.eu1.segmentapis.com",
        }
    }

    /// The host of settings and of destinations' code, the same for both regions.
    pub fn cdn_host(self) -> &'static str {
        "cdn.segment.com"
    }
}

/// The path of an account's settings on [`Region::cdn_host`].
pub fn settings_path(write_key: &str) -> String {
    format!("/v1/projects/{write_key}/settings")
}

/// Returns the path of a call on [`Region::api_host`]: Segment's own path, whatever path the request
/// had. The caller appends a pixel's query, because it is the message.
///
/// Returns `None` for requests that are not forwarded: Hedgerow answers preflights itself, and
/// telemetry is about Segment's own library.
pub fn path_for(call: Recognised) -> Option<String> {
    match call {
        Recognised::Ingest(Call::Batch) => Some("/v1/batch".to_owned()),
        Recognised::Ingest(Call::One(kind)) => Some(format!("/v1/{}", kind.name())),
        Recognised::Pixel(kind) => Some(format!("/v1/pixel/{}", kind.name())),
        Recognised::Telemetry
        | Recognised::PixelHead
        | Recognised::Preflight
        | Recognised::MethodNotAllowed(_)
        | Recognised::Unknown => None,
    }
}

/// Returns the headers of the request to Segment: those that describe the body and its sender, and
/// `X-Retry-Count`. Cookies and all other values of the visitor are not forwarded.
///
/// The caller adds `Host`, and `X-Forwarded-For` with the visitor's address. `key` states where the
/// request has its key. `Basic` credentials that are not that key are a page's password, and are
/// not forwarded either. `write_key` is added if the page was given no key to send (see
/// [`super::KeyForm::LeftOut`]): without it, Segment would accept the event and drop it.
pub fn headers_for(request: &HeaderMap, key: KeyFrom, write_key: Option<&str>) -> HeaderMap {
    const KEPT: [HeaderName; 5] = [
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::AUTHORIZATION,
        header::USER_AGENT,
        header::ACCEPT_LANGUAGE,
    ];
    let mut headers = HeaderMap::new();
    for name in KEPT {
        if let Some(value) = request.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    if let Some(value) = request.get("x-retry-count") {
        headers.insert("x-retry-count", value.clone());
    }
    if key != KeyFrom::Header && headers.get(header::AUTHORIZATION).is_some_and(is_basic) {
        headers.remove(header::AUTHORIZATION);
    }
    if key == KeyFrom::Nowhere && !headers.contains_key(header::AUTHORIZATION) {
        if let Some(mut value) = write_key.and_then(basic) {
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
    }
    headers
}

fn is_basic(authorization: &HeaderValue) -> bool {
    let scheme = authorization.as_bytes().trim_ascii_start().get(..5);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic"))
}

fn basic(write_key: &str) -> Option<HeaderValue> {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{write_key}:"));
    HeaderValue::from_str(&format!("Basic {encoded}")).ok()
}

/// The limits of the queue to Segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueBounds {
    /// The most requests.
    pub requests: usize,
    /// The most bytes of all their bodies together.
    pub bytes: usize,
    /// The most attempts for one request.
    pub attempts: u32,
    /// The longest time that a request may wait, from its arrival.
    pub age: Duration,
}

impl Default for QueueBounds {
    fn default() -> Self {
        Self {
            requests: 10_000,
            bytes: 64 << 20,
            attempts: 5,
            age: Duration::from_secs(300),
        }
    }
}

/// The content of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueLoad {
    /// The number of requests.
    pub requests: usize,
    /// The bytes of all their bodies together.
    pub bytes: usize,
}

/// Whether a request may enter the queue to Segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueAdmission {
    /// It may enter.
    Queued,
    /// It may not, because the queue is full: the request is counted and dropped without waiting.
    Full,
}

impl QueueBounds {
    /// Decides whether a request with a body of this many bytes may enter the queue.
    pub fn admit(&self, load: QueueLoad, body: usize) -> QueueAdmission {
        let fits = load.requests < self.requests && load.bytes.saturating_add(body) <= self.bytes;
        if fits {
            QueueAdmission::Queued
        } else {
            QueueAdmission::Full
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// Segment answered.
    Answered {
        /// The status.
        status: StatusCode,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// Segment did not answer in time, or there was no connection.
    Failed,
}

/// The result of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterAttempt {
    /// Segment accepted the request.
    Delivered,
    /// The request is sent again after this time.
    Again(Duration),
    /// Segment rejected the request for good; it is dropped and counted.
    Refused,
    /// The request was tried too often or is too old; it is dropped and counted.
    Expired,
}

impl QueueBounds {
    /// Decides what follows an attempt. Attempts are counted from 1; `age` is the request's age. A
    /// `random` number from the whole range of `u32` spreads the attempts.
    ///
    /// As Segment's own libraries do, it retries after 408, 410, 429, 460 and a 5xx other than 501,
    /// 505 and 511 (segment-tracking 1.5). A redirect would lose the body, so it counts as a rejection.
    pub fn next(
        &self,
        attempt: u32,
        age: Duration,
        outcome: AttemptOutcome,
        random: u32,
    ) -> AfterAttempt {
        let retry_after = match outcome {
            AttemptOutcome::Answered { status, .. } if status.is_success() => {
                return AfterAttempt::Delivered
            }
            AttemptOutcome::Answered {
                status,
                retry_after,
            } => {
                let temporary =
                    status.is_server_error() || matches!(status.as_u16(), 408 | 410 | 429 | 460);
                if !temporary || matches!(status.as_u16(), 501 | 505 | 511) {
                    return AfterAttempt::Refused;
                }
                retry_after
            }
            AttemptOutcome::Failed => None,
        };
        let wait = match retry_after {
            Some(seconds) => Duration::from_secs(seconds.min(300)),
            None => {
                let base = Duration::from_millis(500).saturating_mul(1 << attempt.min(7));
                // Between half of it and all of it.
                base / 2 + (base / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
            }
        };
        if attempt >= self.attempts || age.saturating_add(wait) > self.age {
            return AfterAttempt::Expired;
        }
        AfterAttempt::Again(wait)
    }
}

/// How a copy of the account's settings is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingsCopy {
    /// It is used as it is.
    Fresh,
    /// It is used as it is, and the settings are fetched again in the background.
    Refresh,
}

/// How long an account's settings are used before they are fetched again.
pub const SETTINGS_FRESH: Duration = Duration::from_secs(300);

/// The pause after a failed fetch of settings.
pub const SETTINGS_PAUSE: Duration = Duration::from_secs(30);

/// Returns how a copy of this age is used, given the time since the last failed download. A copy is
/// always usable: without settings a page sends nothing at all (segment-tracking 3.3).
pub fn settings_copy(age: Duration, since_failure: Option<Duration>) -> SettingsCopy {
    let resting = since_failure.is_some_and(|since| since < SETTINGS_PAUSE);
    if age < SETTINGS_FRESH || resting {
        SettingsCopy::Fresh
    } else {
        SettingsCopy::Refresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::recognise;

    #[test]
    fn every_call_goes_to_segments_own_path_and_the_rest_stays_here() {
        for (method, tail, expected) in [
            ("POST", "t", Some("/v1/track")),
            ("POST", "v1/identify/", Some("/v1/identify")),
            ("POST", "v1/import", Some("/v1/batch")),
            ("POST", "", Some("/v1/batch")),
            ("GET", "v1/pixel/page", Some("/v1/pixel/page")),
            ("HEAD", "v1/pixel/page", None),
            ("POST", "m", None),
            ("OPTIONS", "t", None),
            ("GET", "t", None),
            ("POST", "x", None),
        ] {
            assert_eq!(
                path_for(recognise(method, tail)).as_deref(),
                expected,
                "{method} {tail}"
            );
        }
    }

    #[test]
    fn only_what_describes_the_body_goes_on_and_a_missing_key_is_added() {
        let mut request = HeaderMap::new();
        for (name, value) in [
            ("content-type", "text/plain"),
            ("content-encoding", "gzip"),
            ("cookie", "session=1"),
            ("x-forwarded-for", "1.2.3.4"),
            ("origin", "https://a.test"),
            ("user-agent", "x"),
        ] {
            request.insert(name, HeaderValue::from_static(value));
        }
        let headers = headers_for(&request, KeyFrom::Nowhere, Some("KEY"));
        assert_eq!(headers.len(), 4);
        assert_eq!(headers["authorization"], "Basic S0VZOg==");
        assert!(headers["authorization"].is_sensitive());
        let authorization = |sent: &'static str, key, write_key| {
            let mut request = HeaderMap::new();
            if !sent.is_empty() {
                request.insert("authorization", HeaderValue::from_static(sent));
            }
            let headers = headers_for(&request, key, write_key);
            let value = headers.get("authorization")?;
            Some(value.to_str().unwrap().to_owned())
        };
        for (sent, key, expected) in [
            ("Basic eDo=", KeyFrom::Header, Some("Basic eDo=")),
            // A page's password must not reach Segment.
            ("Basic eDo=", KeyFrom::Body, None),
            ("basic eDo=", KeyFrom::Query, None),
            ("Basic Og==", KeyFrom::Nowhere, Some("Basic S0VZOg==")),
            // An OAuth client's token is forwarded.
            ("Bearer t", KeyFrom::Body, Some("Bearer t")),
            ("Bearer t", KeyFrom::Nowhere, Some("Bearer t")),
            ("", KeyFrom::Body, None),
            ("", KeyFrom::Nowhere, Some("Basic S0VZOg==")),
        ] {
            let got = authorization(sent, key, Some("KEY"));
            assert_eq!(got.as_deref(), expected, "{sent:?} {key:?}");
        }
        assert_eq!(authorization("", KeyFrom::Nowhere, None), None);
    }

    #[test]
    fn a_full_queue_takes_nothing_more() {
        let bounds = QueueBounds {
            requests: 2,
            bytes: 100,
            ..QueueBounds::default()
        };
        let load = |requests, bytes| QueueLoad { requests, bytes };
        assert_eq!(bounds.admit(load(0, 0), 100), QueueAdmission::Queued);
        assert_eq!(bounds.admit(load(0, 0), 101), QueueAdmission::Full);
        assert_eq!(bounds.admit(load(1, 60), 41), QueueAdmission::Full);
        assert_eq!(bounds.admit(load(2, 0), 1), QueueAdmission::Full);
        assert_eq!(bounds.admit(load(1, 0), usize::MAX), QueueAdmission::Full);
    }

    #[test]
    fn attempts_end_by_success_refusal_number_or_age() {
        let bounds = QueueBounds {
            attempts: 3,
            age: Duration::from_secs(60),
            ..QueueBounds::default()
        };
        let answered = |status: u16, retry_after| AttemptOutcome::Answered {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after,
        };
        let next = |attempt, age, outcome| {
            bounds.next(attempt, Duration::from_secs(age), outcome, u32::MAX)
        };
        assert_eq!(next(1, 0, answered(200, None)), AfterAttempt::Delivered);
        for status in [301, 400, 401, 403, 404, 413, 501, 505] {
            assert_eq!(
                next(1, 0, answered(status, None)),
                AfterAttempt::Refused,
                "{status}"
            );
        }
        for status in [408, 410, 429, 460, 500, 502, 503, 504] {
            assert_eq!(
                next(1, 0, answered(status, None)),
                AfterAttempt::Again(Duration::from_secs(1)),
                "{status}"
            );
        }
        assert_eq!(
            next(1, 0, AttemptOutcome::Failed),
            AfterAttempt::Again(Duration::from_secs(1))
        );
        assert_eq!(
            next(2, 0, AttemptOutcome::Failed),
            AfterAttempt::Again(Duration::from_secs(2))
        );
        assert_eq!(
            bounds.next(2, Duration::ZERO, AttemptOutcome::Failed, 0),
            AfterAttempt::Again(Duration::from_secs(1))
        );
        assert_eq!(
            next(1, 0, answered(429, Some(7))),
            AfterAttempt::Again(Duration::from_secs(7))
        );
        assert_eq!(next(1, 0, answered(429, Some(90))), AfterAttempt::Expired);
        assert_eq!(next(3, 0, AttemptOutcome::Failed), AfterAttempt::Expired);
        assert_eq!(next(1, 60, AttemptOutcome::Failed), AfterAttempt::Expired);
        let patient = QueueBounds {
            attempts: u32::MAX,
            age: Duration::MAX,
            ..bounds
        };
        let AfterAttempt::Again(wait) = patient.next(
            u32::MAX - 1,
            Duration::ZERO,
            AttemptOutcome::Failed,
            u32::MAX,
        ) else {
            panic!("gave up");
        };
        assert_eq!(wait, Duration::from_secs(64));
    }

    #[test]
    fn settings_are_fetched_again_when_old_and_never_thrown_away() {
        let seconds = Duration::from_secs;
        assert_eq!(settings_copy(seconds(299), None), SettingsCopy::Fresh);
        assert_eq!(settings_copy(seconds(300), None), SettingsCopy::Refresh);
        assert_eq!(
            settings_copy(seconds(9_999), Some(seconds(29))),
            SettingsCopy::Fresh
        );
        assert_eq!(
            settings_copy(seconds(9_999), Some(seconds(30))),
            SettingsCopy::Refresh
        );
    }
}
