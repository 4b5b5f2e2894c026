//! An ACME directory for behaviour that pebble does not have: it suggests when to renew (RFC 9773),
//! and asks to wait (RFC 8555, 6.6).

use std::sync::{Arc, Mutex};

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use hedgerow::demo::http::{Handler, Request, Response};
use hedgerow::proxy::HandlerApp;
use http::header::{HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use http::StatusCode;
use serde_json::{json, Value};

use super::support::tls::{AlpnOffer, Certificates, Secure};

/// The requests that it got: their paths, and the ordered names.
#[derive(Default)]
pub struct AuthorityRequests {
    pub paths: Mutex<Vec<String>>,
    pub orders: Mutex<Vec<Value>>,
}

/// It accepts every account and refuses every order.
pub struct Authority {
    pub server: Secure,
    pub certificates: Certificates,
    pub asked: Arc<AuthorityRequests>,
}

struct Answers(Arc<AuthorityRequests>);

impl Authority {
    pub async fn start() -> Self {
        let certificates = Certificates::new(&["127.0.0.1"]);
        let asked = Arc::<AuthorityRequests>::default();
        let app = HandlerApp::new(Arc::new(Answers(Arc::clone(&asked))));
        Self {
            server: Secure::start(app, &certificates, AlpnOffer::Http1).await,
            certificates,
            asked,
        }
    }
}

impl Handler for Answers {
    fn handle(&self, request: &Request) -> Response {
        let host = request.headers["host"].to_str().unwrap().to_owned();
        let at = |path: &str| format!("https://{host}{path}");
        self.0.paths.lock().unwrap().push(request.path.clone());
        let nonce = HeaderName::from_static("replay-nonce");
        let answer = |status: StatusCode, body: Value| {
            let answer = Response::new(status, "application/json", body.to_string());
            answer.with(nonce.clone(), HeaderValue::from_static("once"))
        };
        match request.path.as_str() {
            "/directory" => answer(
                StatusCode::OK,
                json!({
                    "newNonce": at("/nonce"), "newAccount": at("/account"),
                    "newOrder": at("/order"), "renewalInfo": at("/renewal"), "meta": {},
                }),
            ),
            "/account" => {
                let place = HeaderValue::from_str(&at("/account/1")).unwrap();
                answer(StatusCode::CREATED, json!({"status": "valid"})).with(LOCATION, place)
            }
            "/order" => {
                let body: Value = serde_json::from_slice(&request.body).unwrap();
                let payload = body["payload"].as_str().unwrap();
                let payload = URL_SAFE_NO_PAD.decode(payload).unwrap();
                let order = serde_json::from_slice(&payload).unwrap();
                self.0.orders.lock().unwrap().push(order);
                let problem = json!({
                    "type": "urn:ietf:params:acme:error:rateLimited",
                    "detail": "too many certificates", "status": 429,
                });
                answer(StatusCode::TOO_MANY_REQUESTS, problem)
                    .with(RETRY_AFTER, HeaderValue::from_static("90000"))
            }
            path if path.starts_with("/renewal/") => answer(
                StatusCode::OK,
                json!({"suggestedWindow": {
                    "start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z",
                }}),
            )
            .with(RETRY_AFTER, HeaderValue::from_static("21600")),
            _ => answer(StatusCode::OK, json!({})),
        }
    }
}
