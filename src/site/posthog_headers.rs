//! Decides which headers pass on a `posthog` route, in both directions (posthog-ingestion 1.10, 2.1
//! and 6.3).

use super::posthog_routes::Authorization;
use super::trace::trace_id;

/// The request headers that PostHog or the framing of the request needs.
///
/// Every other header is removed, because requests to the site's own domain have many more, and
/// browsers add new ones every year: cookies, addresses that a visitor wrote (`X-Forwarded-*`,
/// `Forwarded`, `X-PostHog-Client-IP*`, `CF-*` …), the site's tracing data (`tracestate`,
/// `baggage`), client hints, and tokens in headers of the site's own.
const REQUEST: &[&str] = &[
    "accept",
    "accept-encoding",
    "accept-language",
    // CORS. PostHog answers preflights itself, and reads origin and referrer for remote config.
    "access-control-request-headers",
    "access-control-request-method",
    "access-control-request-private-network",
    "origin",
    "referer",
    // The description of the body.
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "transfer-encoding",
    // Copies in the client's cache, and ranges of files.
    "cache-control",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "pragma",
    "range",
    // PostHog recognises bots by it, and reads the library of a recording from it.
    "user-agent",
];

/// The sender's description of its batch on the v1 endpoint. PostHog's other `PostHog-*` headers
/// are signatures between its own services.
const REQUEST_V1: &[&str] = &[
    "posthog-sdk-info",
    "posthog-attempt",
    "posthog-request-id",
    "posthog-request-timestamp",
];

/// Returns whether a request's header is passed on to PostHog. `name` is in lower case.
///
/// The caller sets `Host` and `X-Forwarded-For` itself. `X-Forwarded-For` gets only the client's
/// address, because capture uses the leftmost entry, which a client could have written
/// (posthog-ingestion 2.1).
pub fn keeps_request_header(name: &str, value: &[u8], authorization: Authorization) -> bool {
    let bearers = authorization == Authorization::Bearer;
    match name {
        "authorization" => bearers && is_bearer(value),
        // With it a trace continues at PostHog. A valid value contains only numbers.
        "traceparent" => trace_id(value).is_some(),
        name if REQUEST_V1.contains(&name) => bearers,
        name => REQUEST.contains(&name),
    }
}

/// Returns whether credentials are one bearer token (RFC 6750, 2.1), as PostHog's callers send it. On
/// a site with a password, browsers send `Basic` or `Digest` credentials with every request.
fn is_bearer(value: &[u8]) -> bool {
    let Some((scheme, token)) = value.split_at_checked("Bearer ".len()) else {
        return false;
    };
    let token = token.trim_ascii();
    let is_token_byte = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
    };
    scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty() && token.iter().all(is_token_byte)
}

/// Returns whether a header of PostHog's answer is passed on to the page. `name` is in lower case.
///
/// Headers that name the server are removed, because a blocker's `header=` rule can match them.
/// Headers in which PostHog's edge describes its own host (HTTP/3 addresses, HSTS, cookies, reports)
/// are removed too, because they would be wrong for the site's host. Caching and CORS headers stay
/// unchanged.
pub fn keeps_response_header(name: &str, value: &str) -> bool {
    let about_the_edge = matches!(
        name,
        "server"
            | "via"
            | "x-powered-by"
            | "server-timing"
            | "set-cookie"
            | "alt-svc"
            | "strict-transport-security"
            | "expect-ct"
            | "public-key-pins"
            | "nel"
            | "report-to"
            | "reporting-endpoints"
            | "content-security-policy"
            | "content-security-policy-report-only"
            | "x-request-id"
            | "x-served-by"
            | "x-cache"
            | "x-cache-hits"
            | "x-timer"
            | "x-runtime"
    ) || [
        "x-posthog",
        "posthog-",
        "x-envoy-",
        "cf-",
        "x-amz-",
        "x-vercel-",
        "x-fastly-",
    ]
    .iter()
    .any(|start| name.starts_with(start));
    if about_the_edge {
        return false;
    }
    // A value can contain such a name too. The header is then removed, unless the browser needs it.
    let needed = name.starts_with("access-control-") || matches!(name, "content-type" | "location");
    let value = value.to_ascii_lowercase();
    needed
        || !["posthog", "segment", "pingora", "hedgerow"]
            .iter()
            .any(|word| value.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_headers_that_posthog_needs_are_passed_on() {
        for name in [
            "origin",
            "referer",
            "user-agent",
            "content-type",
            "content-encoding",
            "content-length",
            "transfer-encoding",
            "accept-encoding",
            "if-none-match",
            "range",
            "access-control-request-headers",
        ] {
            for authorization in [Authorization::Bearer, Authorization::Removed] {
                assert!(keeps_request_header(name, b"x", authorization), "{name}");
            }
        }
        for name in [
            "cookie",
            "cookie2",
            "proxy-authorization",
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-user",
            "x-real-ip",
            "x-client-ip",
            "cf-connecting-ip",
            "cf-ipcountry",
            "cf-access-jwt-assertion",
            "true-client-ip",
            "fastly-client-ip",
            "x-posthog-client-ip",
            "x-posthog-client-ip-signature",
            "x-posthog-client-ip-timestamp",
            "x-posthog-session-id",
            "x-capture-debug",
            "x-csrf-token",
            "x-api-key",
            "x-request-id",
            "traceparent",
            "tracestate",
            "baggage",
            "sec-ch-ua",
            "sec-gpc",
            "dnt",
            "posthog-gateway-signature",
            "posthog-",
        ] {
            for authorization in [Authorization::Bearer, Authorization::Removed] {
                assert!(!keeps_request_header(name, b"x", authorization), "{name}");
            }
        }
        let trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(keeps_request_header(
            "traceparent",
            trace,
            Authorization::Removed
        ));
        for name in REQUEST_V1 {
            assert!(keeps_request_header(name, b"x", Authorization::Bearer));
            assert!(!keeps_request_header(name, b"x", Authorization::Removed));
        }
    }

    #[test]
    fn only_one_bearer_token_passes_and_only_on_paths_that_accept_it() {
        for token in [
            "Bearer phx_1",
            "bearer phc_abc",
            "BEARER a.b-c_d~e+f/g==",
            "Bearer  x",
        ] {
            let token = token.as_bytes();
            let keeps = |to| keeps_request_header("authorization", token, to);
            assert!(keeps(Authorization::Bearer));
            assert!(!keeps(Authorization::Removed));
        }
        for other in [
            "Basic c2l0ZTpwYXNz",
            "basic c2l0ZTpwYXNz",
            "Digest username=\"a\"",
            "Negotiate YII=",
            "Bearer",
            "Bearer ",
            "Bearerx y",
            "Bearer phx_1, Basic c2l0ZQ==",
            "Bearer phx 1",
            "phx_1",
            "",
        ] {
            let value = other.as_bytes();
            assert!(
                !keeps_request_header("authorization", value, Authorization::Bearer),
                "{other:?}"
            );
        }
    }

    #[test]
    fn an_answer_keeps_headers_for_browsers_and_loses_headers_that_name_its_sender() {
        for (name, value) in [
            ("content-type", "application/json"),
            ("cache-control", "public, max-age=300"),
            ("vary", "Origin, Referer"),
            ("etag", "\"x\""),
            ("access-control-allow-origin", "https://shop.example"),
            ("access-control-allow-headers", "x-posthog-session-id"),
            ("retry-after", "1"),
            ("content-encoding", "gzip"),
        ] {
            assert!(keeps_response_header(name, value), "{name}");
        }
        for (name, value) in [
            ("server", "envoy"),
            ("via", "1.1 x"),
            ("set-cookie", "__cf_bm=1"),
            ("alt-svc", "h3=\":443\""),
            ("strict-transport-security", "max-age=1"),
            ("cf-ray", "1"),
            ("x-envoy-upstream-service-time", "3"),
            ("x-posthog-token", "1"),
            ("link", "<https://us.posthog.com>; rel=x"),
        ] {
            assert!(!keeps_response_header(name, value), "{name}");
        }
    }
}
