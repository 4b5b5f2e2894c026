//! posthog-js passed through: which host a path goes to, what may be kept, and which headers go
//! with it (posthog-ingestion 2.1 and 6.2 to 6.6).
//!
//! Everything else about these requests is left as it is: path and query byte for byte with their
//! slashes, bodies unread, PostHog's answers as they come.

/// The host that a path goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upstream {
    /// The project's API host. Also for everything unknown, or the next release of posthog-js breaks.
    Api,
    /// The project's host for assets.
    Assets,
    /// The host for assets, and the API host when it says 404: PostHog serves remote config from
    /// both, and which one has it depends on the installation (posthog-ingestion 6.2).
    AssetsThenApi,
}

/// Whether an answer may be kept here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// As its own headers say, `Vary` included; see [`super::cache`].
    AsItsHeadersSay,
    /// Never.
    Never,
}

/// What becomes of an `Authorization` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorization {
    /// The path needs it: server SDKs and OTLP exporters, never a page.
    Kept,
    /// Taken out: on a page's own host a browser sends the site's own credentials along.
    Removed,
}

/// Where a request of posthog-js goes and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostHogRoute {
    /// The host.
    pub upstream: Upstream,
    /// Whether the answer may be kept.
    pub caching: Caching,
    /// What becomes of an `Authorization` header.
    pub authorization: Authorization,
}

/// What becomes of a request by its method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodRule {
    /// Passed on. `OPTIONS` too: PostHog answers its own preflights, and a second set of CORS
    /// headers would break them.
    Passed,
    /// 405: nothing that PostHog has (`CONNECT`, `TRACE`).
    Refused,
}

/// Where a request goes, by its method and its path: below the route's prefix, real names
/// restored, with a slash in front and without the query.
pub fn posthog_route(method: &str, path: &str) -> PostHogRoute {
    let upstream = match first_part(path) {
        "static" => Upstream::Assets,
        "array" => Upstream::AssetsThenApi,
        _ => Upstream::Api,
    };
    let cacheable = upstream != Upstream::Api && matches!(method, "GET" | "HEAD");
    PostHogRoute {
        upstream,
        caching: if cacheable {
            Caching::AsItsHeadersSay
        } else {
            Caching::Never
        },
        authorization: if needs_authorization(path) {
            Authorization::Kept
        } else {
            Authorization::Removed
        },
    }
}

/// Whether a method is passed on.
pub fn method_rule(method: &str) -> MethodRule {
    match method {
        "CONNECT" | "TRACE" => MethodRule::Refused,
        _ => MethodRule::Passed,
    }
}

fn first_part(path: &str) -> &str {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split('/').next().unwrap_or_default()
}

/// Paths whose callers name themselves by `Authorization` (posthog-ingestion 1.1, 1.10 and 6.2).
fn needs_authorization(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    const EXACT: &[&str] = &[
        "/flags/definitions",
        "/i/v1/analytics/events",
        "/i/v1/logs",
        "/i/v1/metrics",
        "/v1/logs",
        "/v1/metrics",
        "/api/feature_flag/local_evaluation",
    ];
    EXACT.contains(&path) || below(path, "/i/v0/ai") || below(path, "/i/v1/ai")
}

fn below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a header of the page's request goes on to PostHog; the name in lower case.
///
/// The caller sets `Host` and `X-Forwarded-For` itself, the latter to the one client address:
/// capture believes the leftmost entry, which a client could have written (posthog-ingestion 2.1).
/// Hop-by-hop headers are the proxy framework's own affair.
pub fn keeps_request_header(name: &str, authorization: Authorization) -> bool {
    match name {
        "authorization" => authorization == Authorization::Kept,
        // The site's session belongs to the site.
        "cookie" | "proxy-authorization" | "proxy-connection" => false,
        // Addresses that somebody else wrote.
        "forwarded"
        | "x-forwarded-for"
        | "x-forwarded-host"
        | "x-forwarded-proto"
        | "x-forwarded-port"
        | "x-real-ip"
        | "true-client-ip"
        | "cf-connecting-ip"
        | "fly-client-ip"
        | "cloudfront-viewer-address"
        | "x-client-ip"
        | "x-cluster-client-ip" => false,
        // Switches verbose logging on at PostHog's side.
        "x-capture-debug" => false,
        // Only the v1 endpoint has them, which is never called without an `Authorization`.
        _ => !name.starts_with("posthog-") || authorization == Authorization::Kept,
    }
}

/// Whether a header of PostHog's answer goes on to the page; the name in lower case.
///
/// What tells who answered goes (a blocker's `header=` rule matches it), and what PostHog's edge
/// says about its own host would be wrong for the site's: HTTP/3 addresses, HSTS, cookies, reports.
/// Caching and CORS stay as they are.
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
    // A name in a value is a mark as well, except where the browser needs the value.
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
    fn every_path_of_posthog_js_goes_to_its_host() {
        use Authorization::{Kept, Removed};
        use Caching::{AsItsHeadersSay, Never};
        use Upstream::{Api, Assets, AssetsThenApi};
        for (method, path, upstream, caching, authorization) in [
            ("GET", "/static/array.js", Assets, AsItsHeadersSay, Removed),
            (
                "GET",
                "/static/1.449.2/recorder.js",
                Assets,
                AsItsHeadersSay,
                Removed,
            ),
            (
                "HEAD",
                "/static/surveys.js",
                Assets,
                AsItsHeadersSay,
                Removed,
            ),
            ("OPTIONS", "/static/array.js", Assets, Never, Removed),
            (
                "GET",
                "/array/phc_x/config.js",
                AssetsThenApi,
                AsItsHeadersSay,
                Removed,
            ),
            (
                "GET",
                "/array/phc_x/config",
                AssetsThenApi,
                AsItsHeadersSay,
                Removed,
            ),
            ("POST", "/e/", Api, Never, Removed),
            ("POST", "/i/v0/e/", Api, Never, Removed),
            ("POST", "/s/", Api, Never, Removed),
            ("POST", "/flags/", Api, Never, Removed),
            ("GET", "/flags/definitions", Api, Never, Kept),
            ("GET", "/flags/definitions/", Api, Never, Kept),
            ("POST", "/decide/", Api, Never, Removed),
            ("GET", "/api/surveys/", Api, Never, Removed),
            ("POST", "/i/v1/logs", Api, Never, Kept),
            ("POST", "/i/v1/analytics/events", Api, Never, Kept),
            ("POST", "/i/v0/ai", Api, Never, Kept),
            ("POST", "/i/v0/ai/batch", Api, Never, Kept),
            ("POST", "/i/v0/aix", Api, Never, Removed),
            ("GET", "/site_app/1/2/3/", Api, Never, Removed),
            ("POST", "/batch/", Api, Never, Removed),
            ("GET", "/staticx/array.js", Api, Never, Removed),
            ("GET", "/", Api, Never, Removed),
            ("GET", "/something/new", Api, Never, Removed),
        ] {
            let expected = PostHogRoute {
                upstream,
                caching,
                authorization,
            };
            assert_eq!(posthog_route(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn methods_that_posthog_has_are_passed_with_their_preflights() {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            assert_eq!(method_rule(method), MethodRule::Passed, "{method}");
        }
        assert_eq!(method_rule("TRACE"), MethodRule::Refused);
        assert_eq!(method_rule("CONNECT"), MethodRule::Refused);
    }

    #[test]
    fn a_sites_cookies_and_credentials_and_forged_addresses_never_reach_posthog() {
        for name in [
            "cookie",
            "authorization",
            "forwarded",
            "x-forwarded-for",
            "x-real-ip",
            "cf-connecting-ip",
            "true-client-ip",
            "x-capture-debug",
            "posthog-attempt",
        ] {
            assert!(
                !keeps_request_header(name, Authorization::Removed),
                "{name}"
            );
        }
        for name in [
            "origin",
            "referer",
            "user-agent",
            "content-type",
            "content-encoding",
            "accept-encoding",
            "if-none-match",
            "access-control-request-headers",
        ] {
            assert!(keeps_request_header(name, Authorization::Removed), "{name}");
        }
        assert!(keeps_request_header("authorization", Authorization::Kept));
        assert!(keeps_request_header(
            "posthog-request-id",
            Authorization::Kept
        ));
        assert!(!keeps_request_header("cookie", Authorization::Kept));
    }

    #[test]
    fn an_answer_keeps_what_a_browser_needs_and_loses_what_names_its_sender() {
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
