//! Decides how a request of posthog-js is passed through: to which host, whether its answer may be
//! cached, and whether its credentials pass (posthog-ingestion 6.2 to 6.6). `posthog_headers` decides
//! about the headers.
//!
//! The rest of these requests stays unchanged: path and query byte for byte with their slashes,
//! bodies, which are not read, and the bodies of PostHog's answers.

/// The host to which a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetHost {
    /// The project's API host. Unknown paths go there too, so that new releases of posthog-js work.
    Api,
    /// The project's host for assets.
    Assets,
    /// The host for assets, and after a 404 the API host. It depends on the installation which of them
    /// serves remote config (posthog-ingestion 6.2).
    AssetsThenApi,
}

/// Whether Hedgerow may store an answer in its cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// The answer's own headers decide, including `Vary`; see [`super::cache`].
    AsItsHeadersSay,
    /// The answer is never stored.
    Never,
}

/// What happens to an `Authorization` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorization {
    /// A bearer token passes, because server SDKs and OTLP exporters use the path. Other credentials
    /// are removed, because pages request some of these paths too.
    Bearer,
    /// The header is removed: on a page's own host a browser also sends the site's own credentials.
    Removed,
}

/// The decisions about one request of posthog-js.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostHogRoute {
    /// The host to which the request goes.
    pub upstream: TargetHost,
    /// Whether the answer may be stored.
    pub caching: Caching,
    /// What happens to an `Authorization` header.
    pub authorization: Authorization,
}

/// Whether a request's method is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodRule {
    /// The request is passed on. This includes `OPTIONS`: PostHog answers preflights itself, and a
    /// second set of CORS headers would break them.
    Passed,
    /// The answer is a 405, because PostHog does not use the method (`CONNECT`, `TRACE`).
    Refused,
}

/// Decides about a request by its method, path and query. The path starts with a slash, is relative to
/// the route's prefix, and has its real names restored.
pub fn posthog_route(method: &str, path_and_query: &str) -> PostHogRoute {
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, query),
        None => (path_and_query, ""),
    };
    let upstream = match first_part(path) {
        "static" => TargetHost::Assets,
        "array" => TargetHost::AssetsThenApi,
        _ => TargetHost::Api,
    };
    let cacheable = upstream != TargetHost::Api && matches!(method, "GET" | "HEAD");
    PostHogRoute {
        upstream,
        caching: if cacheable {
            Caching::AsItsHeadersSay
        } else {
            Caching::Never
        },
        authorization: authorization(path, query),
    }
}

/// Returns whether a method is passed on.
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

/// Returns whether the path's callers authenticate with `Authorization` (posthog-ingestion 1.1, 1.10
/// and 6.2).
fn authorization(path: &str, query: &str) -> Authorization {
    let path = path.trim_end_matches('/');
    /// On these paths the query names the project, and the bearer token permits reading its flags.
    const FLAGS: &[&str] = &["/flags/definitions", "/api/feature_flag/local_evaluation"];
    /// On these paths the bearer token is the project's. A page puts it into the query instead.
    const EVENTS: &[&str] = &[
        "/i/v1/analytics/events",
        "/i/v1/logs",
        "/i/v1/metrics",
        "/v1/logs",
        "/v1/metrics",
    ];
    let takes_events = EVENTS.contains(&path) || below(path, "/i/v0/ai") || below(path, "/i/v1/ai");
    if FLAGS.contains(&path) || takes_events && !names_token(query) {
        Authorization::Bearer
    } else {
        Authorization::Removed
    }
}

fn names_token(query: &str) -> bool {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.any(|(name, _)| matches!(&*name, "token" | "api_key"))
}

fn below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_posthog_js_goes_to_its_host() {
        use Authorization::{Bearer, Removed};
        use Caching::{AsItsHeadersSay, Never};
        use TargetHost::{Api, Assets, AssetsThenApi};
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
            ("GET", "/flags/definitions", Api, Never, Bearer),
            ("GET", "/flags/definitions/", Api, Never, Bearer),
            ("POST", "/decide/", Api, Never, Removed),
            ("GET", "/api/surveys/", Api, Never, Removed),
            (
                "GET",
                "/flags/definitions?token=phc_x&send_cohorts",
                Api,
                Never,
                Bearer,
            ),
            (
                "GET",
                "/api/feature_flag/local_evaluation/?token=phc_x",
                Api,
                Never,
                Bearer,
            ),
            ("POST", "/i/v1/logs", Api, Never, Bearer),
            ("POST", "/i/v1/metrics/", Api, Never, Bearer),
            ("POST", "/i/v1/logs?x=token", Api, Never, Bearer),
            ("POST", "/i/v1/logs?token=phc_x", Api, Never, Removed),
            ("POST", "/i/v1/logs/?a=1&token=phc_x", Api, Never, Removed),
            ("POST", "/i/v1/metrics?token=phc_x", Api, Never, Removed),
            ("POST", "/v1/metrics?api_key=phc_x", Api, Never, Removed),
            ("POST", "/i/v0/ai/otel?token=phc_x", Api, Never, Removed),
            ("POST", "/i/v1/analytics/events", Api, Never, Bearer),
            ("POST", "/i/v0/ai", Api, Never, Bearer),
            ("POST", "/i/v0/ai/batch", Api, Never, Bearer),
            ("POST", "/i/v0/aix", Api, Never, Removed),
            ("GET", "/site_app/1/2/3/", Api, Never, Removed),
            ("POST", "/batch/", Api, Never, Removed),
            ("GET", "/staticx/array.js", Api, Never, Removed),
            ("GET", "/", Api, Never, Removed),
            ("GET", "/something/new", Api, Never, Removed),
            (
                "GET",
                "/static/array.js?v=1",
                Assets,
                AsItsHeadersSay,
                Removed,
            ),
            ("GET", "/e?a=/static/", Api, Never, Removed),
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
}
