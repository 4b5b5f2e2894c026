//! The caching that an answer's headers allow (RFC 9111, 3 and 4.2; RFC 5861).

use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap};
use http::StatusCode;

/// The longest time that an answer counts as fresh, whatever its headers state: a wrong header must
/// not keep an old script in use for a year.
const LONGEST_FRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// How long after its freshness a copy may still be used when PostHog is unreachable.
const LAST_GOOD_COPY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Whether an answer may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storability {
    /// It may be stored for this time.
    For(Freshness),
    /// It must not be stored.
    Never,
}

/// How long a stored answer may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freshness {
    /// The time from its arrival in which it is used without asking PostHog. The age that it
    /// arrived with is already subtracted.
    pub fresh: Duration,
    /// The time after that in which it is used only if PostHog cannot be reached or answers with a
    /// 5xx. Zero if the answer forbids it (`must-revalidate`, `proxy-revalidate`, `no-cache`).
    pub stale_if_error: Duration,
    /// The age that it had when it arrived.
    pub age: Duration,
}

/// Returns the caching that the headers of an answer to a GET allow.
///
/// Only a 200 is stored: a 404 or a 400 for a project key must not be served after it is corrected.
pub fn freshness(status: StatusCode, headers: &HeaderMap) -> Storability {
    if status != StatusCode::OK || headers.contains_key(header::SET_COOKIE) {
        return Storability::Never;
    }
    if headers
        .get_all(header::VARY)
        .iter()
        .any(|value| value.to_str().is_ok_and(|value| value.contains('*')))
    {
        return Storability::Never;
    }
    let directives = Directives::read(headers);
    if directives.no_store || directives.private {
        return Storability::Never;
    }
    let age = number(headers, header::AGE).map_or(Duration::ZERO, Duration::from_secs);
    let lifetime = if directives.no_cache {
        Duration::ZERO
    } else {
        directives
            .s_maxage
            .or(directives.max_age)
            .map(Duration::from_secs)
            .or_else(|| expires(headers))
            .unwrap_or(Duration::ZERO)
    };
    let can_be_checked =
        headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED);
    if lifetime.is_zero() && !can_be_checked {
        return Storability::Never;
    }
    Storability::For(Freshness {
        fresh: lifetime.saturating_sub(age).min(LONGEST_FRESH),
        stale_if_error: if directives.must_revalidate || directives.no_cache {
            Duration::ZERO
        } else {
            LAST_GOOD_COPY
        },
        age,
    })
}

#[derive(Default)]
struct Directives {
    no_store: bool,
    no_cache: bool,
    private: bool,
    must_revalidate: bool,
    max_age: Option<u64>,
    s_maxage: Option<u64>,
}

impl Directives {
    fn read(headers: &HeaderMap) -> Self {
        let mut read = Self::default();
        let values = headers.get_all(header::CACHE_CONTROL);
        for item in values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
        {
            let (name, value) = match item.split_once('=') {
                Some((name, value)) => (name, Some(value.trim().trim_matches('"'))),
                None => (item, None),
            };
            // An answer whose number cannot be read counts as stale (RFC 9111, 4.2.1).
            let seconds = value.map(|value| value.parse().unwrap_or(0));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" => read.no_store = true,
                // With a field name it concerns only that field. Nothing here needs the difference, so
                // it is applied to the whole answer.
                "no-cache" => read.no_cache = true,
                "private" => read.private = true,
                "must-revalidate" | "proxy-revalidate" => read.must_revalidate = true,
                "max-age" => read.max_age = read.max_age.or(seconds),
                "s-maxage" => read.s_maxage = read.s_maxage.or(seconds),
                _ => {}
            }
        }
        read
    }
}

fn number(headers: &HeaderMap, name: header::HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// Returns `Expires` minus `Date`. Both come from PostHog's clock, so this machine's does not matter.
fn expires(headers: &HeaderMap) -> Option<Duration> {
    let date = |name| -> Option<SystemTime> {
        let text = headers.get(name)?.to_str().ok()?;
        httpdate::parse_http_date(text.trim()).ok()
    };
    let expires = date(header::EXPIRES)?;
    Some(
        expires
            .duration_since(date(header::DATE)?)
            .unwrap_or(Duration::ZERO),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    type FieldLines = &'static [(&'static str, &'static str)];

    fn headers(lines: FieldLines) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn kept(lines: FieldLines) -> Option<(u64, u64)> {
        match freshness(StatusCode::OK, &headers(lines)) {
            Storability::For(freshness) => Some((
                freshness.fresh.as_secs(),
                freshness.stale_if_error.as_secs(),
            )),
            Storability::Never => None,
        }
    }

    #[test]
    fn headers_decide_how_long_an_answer_is_fresh_and_whether_it_may_outlive_that() {
        let week = LAST_GOOD_COPY.as_secs();
        let rows: &[(FieldLines, Option<(u64, u64)>)] = &[
            (
                &[("cache-control", "public, max-age=300")],
                Some((300, week)),
            ),
            (
                &[("cache-control", "public, max-age=300"), ("age", "100")],
                Some((200, week)),
            ),
            (
                &[("cache-control", "max-age=300"), ("age", "900")],
                Some((0, week)),
            ),
            (
                &[("cache-control", "max-age=10, s-maxage=60")],
                Some((60, week)),
            ),
            (&[("cache-control", "max-age=\"20\"")], Some((20, week))),
            (
                &[("cache-control", "public"), ("cache-control", "Max-Age=5")],
                Some((5, week)),
            ),
            (
                &[("cache-control", "max-age=31536000, immutable")],
                Some((86400, week)),
            ),
            (
                &[("cache-control", "max-age=300, must-revalidate")],
                Some((300, 0)),
            ),
            (
                &[("cache-control", "no-cache"), ("etag", "\"a\"")],
                Some((0, 0)),
            ),
            (&[("cache-control", "no-cache")], None),
            (&[("cache-control", "no-store, max-age=300")], None),
            (&[("cache-control", "private, max-age=300")], None),
            (&[("cache-control", "max-age=x")], None),
            (
                &[("cache-control", "max-age=x"), ("etag", "\"a\"")],
                Some((0, week)),
            ),
            (&[("etag", "\"a\"")], Some((0, week))),
            (&[], None),
            (
                &[("cache-control", "max-age=300"), ("vary", "Origin, *")],
                None,
            ),
            (
                &[("cache-control", "max-age=300"), ("set-cookie", "a=b")],
                None,
            ),
            (
                &[
                    ("expires", "Mon, 23 Nov 2026 10:05:00 GMT"),
                    ("date", "Mon, 23 Nov 2026 10:00:00 GMT"),
                ],
                Some((300, week)),
            ),
            (
                &[("expires", "0"), ("date", "Mon, 23 Nov 2026 10:00:00 GMT")],
                None,
            ),
        ];
        let wrong: Vec<String> = rows
            .iter()
            .filter(|(lines, expected)| kept(lines) != *expected)
            .map(|(lines, expected)| format!("{lines:?}: {:?}, expected {expected:?}", kept(lines)))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn only_a_200_is_kept() {
        let headers = headers(&[("cache-control", "max-age=300")]);
        for status in [206, 301, 304, 400, 401, 404, 500, 503] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(freshness(status, &headers), Storability::Never, "{status}");
        }
    }
}
