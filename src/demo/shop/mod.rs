//! The demo shop: one page with buttons that track, and a live list of what came of it.
//!
//! It tracks with the real analytics.js when the files of the npm package
//! `@segment/analytics-next` are at hand, else with plain requests of the same messages, and says
//! on the page which of the two it is. The files are read once, when the shop is made: a request
//! can only name what is in memory, so no path leads out of the folder.

use std::path::Path;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::{header, Method, StatusCode};
use serde_json::json;

use super::http::{Handler, Request, Response};
use super::live::Live;

mod files;

pub use files::{Library, LibraryError};

const PAGE: &str = include_str!("../assets/shop.html");
const STYLE: &str = include_str!("../assets/shop.css");
const SCRIPT: &str = include_str!("../assets/shop.js");
const ICON: &str = include_str!("../assets/icon.svg");

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The page runs its own scripts and talks to its own host, nothing else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// The demo shop.
#[derive(Debug)]
pub struct Shop {
    live: Arc<Live>,
    library: Library,
    prefix: String,
    write_key: String,
}

impl Shop {
    /// A shop whose page posts to `<host of the request><prefix>v1/…`, for example with the
    /// prefix `/hr/`, and shows `live`. `analytics_js` is the folder of the npm package or its
    /// `dist/umd`; without it, or if its files cannot be read, the page falls back to plain
    /// requests.
    pub fn new(
        live: Arc<Live>,
        analytics_js: Option<&Path>,
        prefix: &str,
        write_key: &str,
    ) -> Self {
        Self {
            live,
            library: match analytics_js {
                Some(folder) => Library::read(folder),
                None => Library::Absent(LibraryError::NotGiven),
            },
            prefix: match prefix.trim_matches('/') {
                "" => "/".to_owned(),
                inner => format!("/{inner}/"),
            },
            write_key: write_key.to_owned(),
        }
    }

    /// Whether the real analytics.js is served, and if not, why.
    pub fn library(&self) -> &Library {
        &self.library
    }

    fn answer(&self, request: &Request) -> Response {
        let path = request.path.as_str();
        match path {
            "/" => return self.page(),
            "/shop.css" => return text("text/css; charset=utf-8", STYLE),
            "/shop.js" => return text(JAVASCRIPT, SCRIPT),
            "/icon.svg" | "/favicon.ico" => return text("image/svg+xml", ICON),
            "/live" => return self.live.news(request.query.as_deref()),
            _ => {}
        }
        if let Some(rest) = path.strip_prefix("/analytics.js/v1/") {
            if let Some((_, "analytics.min.js")) = rest.split_once('/') {
                return self.script(files::MAIN, "public, max-age=300");
            }
        } else if let Some(name) = path.strip_prefix("/analytics-next/bundles/") {
            // Their names carry a hash of what they hold.
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
            Library::Present(_) => ("analytics.js", String::new()),
            Library::Absent(reason) => ("fetch", reason.to_string()),
        };
        let page = PAGE
            .replace("{{library}}", library)
            .replace("{{reason}}", &escape(&reason))
            .replace("{{prefix}}", &escape(&self.prefix))
            .replace("{{write_key}}", &escape(&self.write_key));
        Response::new(StatusCode::OK, "text/html; charset=utf-8", page)
            .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
            .with(
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(CONTENT_SECURITY_POLICY),
            )
    }

    fn script(&self, name: &str, caching: &'static str) -> Response {
        match self.library.file(name) {
            Some(bytes) => Response::new(StatusCode::OK, JAVASCRIPT, bytes)
                .with(header::CACHE_CONTROL, HeaderValue::from_static(caching)),
            None => Response::empty(StatusCode::NOT_FOUND),
        }
    }

    /// The least that analytics.js starts with (segment-tracking 3.3). `apiHost` has no scheme;
    /// `protocol` stands beside it and is https unless it says otherwise.
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
            // Else the browser reports to Segment every 30 seconds.
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

/// The host that the browser asked for; it comes back in the settings, so only a host's own
/// characters are taken.
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

/// How the browser reached us: what a proxy in front says, else the page that asks, else plain
/// text on the machine itself and TLS anywhere else.
fn protocol_of(request: &Request, host: &str) -> &'static str {
    let said = request.header("x-forwarded-proto").or_else(|| {
        let (scheme, _) = request.header(header::REFERER)?.split_once("://")?;
        Some(scheme)
    });
    match said {
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
