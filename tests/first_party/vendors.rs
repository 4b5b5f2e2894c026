//! The vendors' own hosts, and a site that uses them as the vendors describe. Blockers know these
//! hosts.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use hedgerow::demo::http::{Handler, Request, Response};
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde_json::{json, Value};

use super::installed::{Prerequisite, Version};
use super::setup::API_KEY;
use super::stand_in::StandIn;

pub const SITE: &str = "www.plain-shop.com";

pub const NAMES: [&str; 5] = [
    SITE,
    "cdn.segment.com",
    "api.segment.io",
    "us-assets.i.posthog.com",
    "us.i.posthog.com",
];

/// Hosts that the installed lists contain, one of each kind. The test answers for all of them.
pub const KNOWN: [&str; 7] = [
    "https://cdn.segment.com/analytics.js/v1/KEY/analytics.min.js",
    "https://api.segment.io/v1/t",
    "https://us-assets.i.posthog.com/static/array.js",
    "https://us.i.posthog.com/i/v0/e/",
    // File names that the lists contain for any host.
    "/analytics.js/v1/KEY/analytics.min.js",
    "/static/rrweb.js",
    "/ingest/e/?ip=1",
];

pub struct Vendors {
    posthog: Arc<StandIn>,
    analytics_js: PathBuf,
    /// Host, path and body of each request to a vendor.
    pub asked: Mutex<Vec<(String, String, Value)>>,
}

impl Vendors {
    pub fn new(posthog: Arc<StandIn>) -> Self {
        Self {
            posthog,
            analytics_js: Prerequisite::AnalyticsJs(Version::Newest)
                .path()
                .join("dist/umd"),
            asked: Mutex::default(),
        }
    }

    /// The names of the events that Segment's host got.
    pub fn segments_events(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let calls = asked.iter().filter(|(host, ..)| host == "api.segment.io");
        let names = calls.filter_map(|(_, _, body)| match body["type"].as_str()? {
            "track" => body["event"].as_str().map(str::to_owned),
            kind => Some(kind.to_owned()),
        });
        names.collect()
    }

    fn segment(&self, request: &Request) -> Response {
        let answer = match request.path.as_str() {
            path if path.ends_with("/analytics.min.js") => {
                let file = self.analytics_js.join("standalone.js");
                Response::new(
                    StatusCode::OK,
                    "text/javascript",
                    std::fs::read(file).unwrap(),
                )
            }
            path if path.starts_with("/v1/projects/") => {
                let settings = json!({
                    "integrations": {"Segment.io": {
                        "apiKey": "KEY", "apiHost": "api.segment.io/v1",
                    }},
                    "metrics": {"sampleRate": 0},
                });
                Response::new(StatusCode::OK, "application/json", settings.to_string())
            }
            _ => Response::new(StatusCode::OK, "application/json", "{\"success\":true}"),
        };
        let any = HeaderValue::from_static("*");
        let asked = request.headers.get("access-control-request-headers");
        let headers = asked.cloned().unwrap_or_else(|| any.clone());
        answer
            .with(header::ACCESS_CONTROL_ALLOW_ORIGIN, any)
            .with(header::ACCESS_CONTROL_ALLOW_HEADERS, headers)
    }
}

impl Handler for Vendors {
    fn handle(&self, request: &Request) -> Response {
        let host = request.headers[header::HOST].to_str().unwrap();
        if host == SITE {
            return match request.path.as_str() {
                "/" => Response::new(StatusCode::OK, "text/html; charset=utf-8", page()),
                "/none" => Response::new(StatusCode::OK, "text/html; charset=utf-8", NONE),
                _ => Response::new(StatusCode::OK, "text/javascript", ""),
            };
        }
        if request.method == Method::POST {
            let body = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
            let one = (host.to_owned(), request.path.clone(), body);
            self.asked.lock().unwrap().push(one);
        }
        if host == "us.i.posthog.com" && request.method == Method::GET {
            // The test itself checks that the host can be reached.
            return Response::empty(StatusCode::OK);
        }
        match host {
            "cdn.segment.com" | "api.segment.io" => self.segment(request),
            _ => {
                let cors = HeaderName::from_static("cross-origin-resource-policy");
                let any = HeaderValue::from_static("cross-origin");
                self.posthog.handle(request).with(cors, any)
            }
        }
    }
}

const NONE: &str = "<!doctype html><title>Nothing</title><link rel=icon href=data:,>";

/// Both libraries from the vendors' hosts, with as little code as they need, and the outcome of
/// each script.
fn page() -> String {
    format!(
        "<!doctype html><html><head><meta charset=utf-8><title>The plain shop</title>
         <link rel=icon href=data:,><script>
         window.fate = {{}}
         function load(name, address) {{
           const script = document.createElement('script')
           script.async = true
           script.src = address
           script.onload = () => {{ window.fate[name] = 'came' }}
           script.onerror = () => {{ window.fate[name] = 'blocked' }}
           document.head.append(script)
         }}
         const analytics = window.analytics = []
         analytics._writeKey = 'KEY'
         for (const call of ['page', 'track']) {{
           analytics[call] = (...given) => {{ analytics.push([call, ...given]) }}
         }}
         analytics.page()
         analytics.track('Bought')
         load('analytics', 'https://cdn.segment.com/analytics.js/v1/KEY/analytics.min.js')
         const posthog = window.posthog = []
         posthog._i = [['{API_KEY}', {{ api_host: 'https://us.i.posthog.com',
           loaded: (loaded) => loaded.capture('direct') }}, 'posthog']]
         posthog.__SV = 1
         load('posthog', 'https://us-assets.i.posthog.com/static/array.js')
         </script></head><body></body></html>"
    )
}
