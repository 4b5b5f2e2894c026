//! The demo shop: one page with buttons that send events, a live list of the results, and a switch that
//! makes PostHog unavailable.
//!
//! The page uses the real analytics.js if the files of the npm package `@segment/analytics-next` are
//! available. Otherwise it sends the same messages with plain requests. It shows which of the two it uses.
//! The shop reads the files once, when it is created. A request can only select files in memory, so no path
//! leads out of the folder.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::{header, Method, StatusCode};
use serde_json::json;

use super::capture::{Capture, InjectedFault};
use super::options::{DemoOptions, REFUSED_EVENT};
use crate::admin::live::Live;
use crate::admin::SHARED;
use crate::handler::{Handler, Request, Response};

mod files;

pub use files::{ShopLibrary, ShopLibraryError};

const PAGE: &str = include_str!("../assets/shop.html");
const ICON: &str = include_str!("../assets/icon.svg");

const CSS: &str = "text/css; charset=utf-8";

/// The page's own files: path, type and text.
const FILES: [(&str, &str, &str); 7] = [
    ("/shop.css", CSS, include_str!("../assets/shop.css")),
    ("/shelf.css", CSS, include_str!("../assets/shelf.css")),
    ("/shop.js", JAVASCRIPT, include_str!("../assets/shop.js")),
    ("/send.js", JAVASCRIPT, include_str!("../assets/send.js")),
    ("/story.js", JAVASCRIPT, include_str!("../assets/story.js")),
    (
        "/blocker.js",
        JAVASCRIPT,
        include_str!("../assets/blocker.js"),
    ),
    ("/icon.svg", "image/svg+xml", ICON),
];

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Allows the page only its own scripts, and requests only to its own host.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// The demo shop.
#[derive(Debug)]
pub struct Shop {
    live: Arc<Live>,
    capture: Arc<Capture>,
    library: ShopLibrary,
    prefix: String,
    write_key: String,
    live_view: Option<SocketAddr>,
}

impl Shop {
    /// Creates a shop whose page posts to `<host of the request><prefix>v1/…`, for example with the prefix
    /// `/hr/`. The page shows `live` and can switch `capture` off. If there is no folder of analytics.js,
    /// or its files cannot be read, the page sends plain requests.
    pub fn new(live: Arc<Live>, capture: Arc<Capture>, options: &DemoOptions) -> Self {
        Self {
            live,
            capture,
            library: match options.analytics_js.as_deref() {
                Some(folder) => ShopLibrary::read(folder),
                None => ShopLibrary::Absent(ShopLibraryError::NotGiven),
            },
            prefix: match options.prefix.trim_matches('/') {
                "" => "/".to_owned(),
                inner => format!("/{inner}/"),
            },
            write_key: options.write_key.clone(),
            live_view: options.live_view,
        }
    }

    /// Returns the files of analytics.js, or the reason why the shop does not serve them.
    pub fn library(&self) -> &ShopLibrary {
        &self.library
    }

    fn answer(&self, request: &Request) -> Response {
        let path = request.path.as_str();
        match path {
            "/" => return self.page(),
            "/favicon.ico" => return text("image/svg+xml", ICON),
            "/live" => return self.live.updates(request.query.as_deref()),
            "/live/message" => return self.live.detail(request.query.as_deref()),
            "/demo/posthog" => return self.posthog(),
            _ => {}
        }
        if let Some((_, kind, file)) = FILES.iter().chain(&SHARED).find(|(name, ..)| *name == path)
        {
            return text(kind, file);
        }
        if let Some(rest) = path.strip_prefix("/analytics.js/v1/") {
            if let Some((_, "analytics.min.js")) = rest.split_once('/') {
                return self.script(files::MAIN, "public, max-age=300");
            }
        } else if let Some(name) = path.strip_prefix("/analytics-next/bundles/") {
            // The names of these files contain a hash of the content.
            return self.script(name, "public, max-age=31536000, immutable");
        } else if let Some(rest) = path.strip_prefix("/v1/projects/") {
            if let Some((write_key, "settings")) = rest.split_once('/') {
                return self.settings(request, write_key);
            }
        }
        Response::empty(StatusCode::NOT_FOUND)
    }

    fn page(&self) -> Response {
        let (library, reason) = match &self.library {
            ShopLibrary::Present(_) => ("analytics.js", String::new()),
            ShopLibrary::Absent(reason) => ("fetch", reason.to_string()),
        };
        let live_view = self
            .live_view
            .map_or_else(String::new, |address| format!("http://{address}/"));
        let page = PAGE
            .replace("{{library}}", library)
            .replace("{{reason}}", &escape(&reason))
            .replace("{{prefix}}", &escape(&self.prefix))
            .replace("{{refused_event}}", REFUSED_EVENT)
            .replace("{{live_view}}", &live_view)
            .replace("{{write_key}}", &escape(&self.write_key));
        Response::new(StatusCode::OK, "text/html; charset=utf-8", page)
            .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
            .with(
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(CONTENT_SECURITY_POLICY),
            )
    }

    /// Returns how many events the stand-in has stored, and whether it is unavailable.
    fn posthog(&self) -> Response {
        let is_away = matches!(self.capture.fault(), InjectedFault::Status(..));
        let text = json!({"has": self.capture.stored(), "away": is_away}).to_string();
        Response::new(StatusCode::OK, "application/json", text)
            .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
    }

    /// Makes PostHog unavailable, or available again.
    fn switch(&self, request: &Request) -> Response {
        match request.body.as_ref() {
            b"away" => {
                let fault = InjectedFault::Status(StatusCode::SERVICE_UNAVAILABLE, None);
                self.capture.set_fault(fault);
            }
            b"back" => self
                .capture
                .set_fault(InjectedFault::Poison(REFUSED_EVENT.to_owned())),
            _ => return Response::empty(StatusCode::BAD_REQUEST),
        }
        self.posthog()
    }

    fn script(&self, name: &str, caching: &'static str) -> Response {
        match self.library.file(name) {
            Some(bytes) => Response::new(StatusCode::OK, JAVASCRIPT, bytes)
                .with(header::CACHE_CONTROL, HeaderValue::from_static(caching)),
            None => Response::empty(StatusCode::NOT_FOUND),
        }
    }

    /// Returns the minimal settings for analytics.js (segment-tracking 3.3). `apiHost` has no scheme;
    /// `protocol` is a separate key and defaults to https.
    fn settings(&self, request: &Request, write_key: &str) -> Response {
        let host = host_of(request);
        let settings = json!({
            "integrations": {
                "Segment.io": {
                    "apiKey": write_key,
                    "apiHost": format!("{host}{}v1", self.prefix),
                    "protocol": protocol_of(request, host),
                }
            },
            // Without this, the browser sends metrics to Segment every 30 seconds.
            "metrics": {"sampleRate": 0},
        });
        Response::new(StatusCode::OK, "application/json", settings.to_string())
            .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
    }
}

impl Handler for Shop {
    fn handle(&self, request: &Request) -> Response {
        let answer = match request.method {
            Method::GET | Method::HEAD => self.answer(request),
            Method::POST if request.path == "/demo/posthog" => self.switch(request),
            _ => Response::empty(StatusCode::METHOD_NOT_ALLOWED)
                .with(header::ALLOW, HeaderValue::from_static("GET, HEAD")),
        };
        answer
            .with(
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            )
            .with(
                HeaderName::from_static("referrer-policy"),
                HeaderValue::from_static("same-origin"),
            )
    }
}

fn text(content_type: &'static str, body: &'static str) -> Response {
    Response::new(StatusCode::OK, content_type, body)
        .with(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))
}

/// Returns the host that the browser requested. The settings contain it, so a host with characters that no
/// host has is replaced by `localhost`.
fn host_of(request: &Request) -> &str {
    let fits = |host: &&str| {
        !host.is_empty()
            && host.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']')
            })
    };
    request
        .header(header::HOST)
        .filter(fits)
        .unwrap_or("localhost")
}

/// Returns the browser's scheme: the one that a proxy before the shop reports, or that of the requesting
/// page. If neither is known, it is http for a loopback host and https for any other.
fn protocol_of(request: &Request, host: &str) -> &'static str {
    let scheme = request.header("x-forwarded-proto").or_else(|| {
        let (scheme, _) = request.header(header::REFERER)?.split_once("://")?;
        Some(scheme)
    });
    match scheme {
        Some("http") => return "http",
        Some("https") => return "https",
        _ => {}
    }
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let loopback = name == "localhost"
        || name.ends_with(".localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    if loopback {
        "http"
    } else {
        "https"
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests;
