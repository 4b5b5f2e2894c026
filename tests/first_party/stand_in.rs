//! The stand-in for capture, with PostHog's other services for posthog-js: scripts from the npm
//! package, remote config, flags, and an endpoint for recordings.

use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hedgerow::demo::capture::Capture;
use hedgerow::demo::http::{Handler, Request, Response};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde_json::{json, Value};

use super::setup::API_KEY;

pub struct StandIn {
    pub capture: Arc<Capture>,
    pub scripts: PathBuf,
    /// The pieces of recordings as capture would take them.
    pub recordings: Mutex<Vec<Value>>,
    /// Path and headers of every request.
    pub seen: Mutex<Vec<(String, HeaderMap)>>,
}

impl StandIn {
    fn other(&self, request: &Request) -> Option<Response> {
        let path = request.path.as_str();
        if let Some(file) = path.strip_prefix("/static/") {
            // The path may begin with the version.
            let name = file.rsplit('/').next()?;
            assert!(
                !name.contains(['\\', '%']) && !name.starts_with('.'),
                "{name}"
            );
            let answer = match std::fs::read(self.scripts.join(name)) {
                Ok(bytes) => Response::new(StatusCode::OK, "text/javascript; charset=utf-8", bytes)
                    .with(
                        cache_control(),
                        HeaderValue::from_static("public, max-age=14400"),
                    ),
                Err(_) => Response::empty(StatusCode::NOT_FOUND),
            };
            return Some(answer);
        }
        if let Some(rest) = path.strip_prefix("/array/") {
            assert!(rest.starts_with(API_KEY), "{rest}");
            let config = config();
            let (kind, body) = if rest.ends_with("config.js") {
                let key = Value::from(API_KEY);
                let text = format!(
                    "window._POSTHOG_REMOTE_CONFIG=window._POSTHOG_REMOTE_CONFIG||{{}};\
                     window._POSTHOG_REMOTE_CONFIG[{key}]={{config:{config},siteApps:[]}}"
                );
                ("text/javascript", text)
            } else {
                ("application/json", config.to_string())
            };
            let answer = Response::new(StatusCode::OK, kind, body)
                .with(
                    cache_control(),
                    HeaderValue::from_static("public, max-age=300"),
                )
                .with(
                    http::header::VARY,
                    HeaderValue::from_static("Origin, Referer"),
                );
            return Some(answer);
        }
        let answer = match path {
            "/flags/" => json!({
                "flags": {"beta": {"key": "beta", "enabled": true, "variant": null,
                    "reason": {}, "metadata": {"id": 1, "version": 1}}},
                "errorsWhileComputingFlags": false,
                "requestId": "0199c1a2-0000-7000-8000-000000000000",
            }),
            "/s/" => {
                if request.method == Method::POST {
                    let pieces = recording(&request.body);
                    self.recordings.lock().unwrap().extend(pieces);
                }
                json!({"status": "Ok"})
            }
            path if path.starts_with("/api/") => json!({"surveys": []}),
            _ => return None,
        };
        let answer = answer.to_string();
        Some(Response::new(StatusCode::OK, "application/json", answer))
    }
}

fn cache_control() -> HeaderName {
    http::header::CACHE_CONTROL
}

/// The answer for a project with every feature on.
fn config() -> Value {
    json!({
        "token": API_KEY,
        "supportedCompression": ["gzip", "gzip-js"],
        "hasFeatureFlags": true,
        "captureDeadClicks": true,
        "capturePerformance": {"web_vitals": true, "network_timing": true},
        "autocapture_opt_out": false,
        "autocaptureExceptions": true,
        "analytics": {"endpoint": "/i/v0/e/"},
        "elementsChainAsString": true,
        "sessionRecording": {"endpoint": "/s/", "consoleLogRecordingEnabled": true,
            "recorderVersion": "v2"},
        "heatmaps": true,
        "surveys": true,
        "siteApps": [],
        "defaultIdentifiedOnly": true,
    })
}

/// The events in a recording's body: JSON, perhaps compressed, one or a list.
fn recording(body: &Bytes) -> Vec<Value> {
    let mut text = Vec::new();
    if body.starts_with(&[0x1f, 0x8b]) {
        flate2::read::GzDecoder::new(body.as_ref())
            .read_to_end(&mut text)
            .unwrap();
    } else {
        text.extend_from_slice(body);
    }
    match serde_json::from_slice(&text).unwrap() {
        Value::Array(list) => list,
        Value::Object(mut one) => match one.remove("batch") {
            Some(Value::Array(list)) => list,
            _ => vec![Value::Object(one)],
        },
        other => panic!("{other}"),
    }
}

impl Handler for StandIn {
    fn handle(&self, request: &Request) -> Response {
        let seen = (request.path.clone(), request.headers.clone());
        self.seen.lock().unwrap().push(seen);
        let mut answer = match self.other(request) {
            Some(answer) => {
                let origin = request.headers.get("origin").cloned();
                let any = HeaderValue::from_static("*");
                let mut answer = answer
                    .with(
                        http::header::ACCESS_CONTROL_ALLOW_ORIGIN,
                        origin.unwrap_or(any),
                    )
                    .with(
                        http::header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                        HeaderValue::from_static("true"),
                    );
                if let Some(asked) = request.headers.get("access-control-request-headers") {
                    let name = http::header::ACCESS_CONTROL_ALLOW_HEADERS;
                    answer.headers.insert(name, asked.clone());
                }
                answer
            }
            None => self.capture.handle(request),
        };
        // Headers of PostHog's edge about itself, which must not reach the page.
        for (name, value) in [
            ("server", "posthog"),
            ("x-envoy-upstream-service-time", "3"),
            ("set-cookie", "edge=1"),
            ("strict-transport-security", "max-age=31536000"),
        ] {
            let name = HeaderName::from_static(name);
            answer.headers.insert(name, HeaderValue::from_static(value));
        }
        answer
    }
}
