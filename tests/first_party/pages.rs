//! A site with one page with the snippet and a strict policy, one page without a snippet, and the
//! pages that a test adds.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use hedgerow::demo::http::{Handler, Request, Response};
use http::header::HeaderValue;
use http::StatusCode;

/// The nonce in every page's policy; a real site makes a new one for each answer.
pub const NONCE: &str = "bm9uY2U=";

/// The HTML of the page, set when Hedgerow has printed the snippet.
#[derive(Default)]
pub struct Site {
    pub page: OnceLock<(String, String)>,
    /// Content type and text by path; these pages have no policy.
    pub files: OnceLock<BTreeMap<String, (&'static str, String)>>,
}

impl Handler for Site {
    fn handle(&self, request: &Request) -> Response {
        let files = self.files.get();
        if let Some((kind, text)) = files.and_then(|files| files.get(&request.path)) {
            return Response::new(StatusCode::OK, kind, text.clone());
        }
        let (snippet, policy) = match (request.path.as_str(), self.page.get()) {
            ("/", Some((snippet, policy))) => (snippet.as_str(), policy.as_str()),
            ("/plain", _) => ("", ""),
            ("/healthz", _) => ("", ""),
            _ => return Response::empty(StatusCode::NOT_FOUND),
        };
        let html = format!(
            "<!doctype html><html><head><meta charset=utf-8><title>The shop</title>\
             <link rel=icon href=data:,>{snippet}</head><body><button id=buy>Buy</button>\
             </body></html>"
        );
        let policy = policy.replace('\n', " ").replace("RANDOM", NONCE);
        let policy = format!("default-src 'none'; img-src 'self' data:; {policy}");
        Response::new(StatusCode::OK, "text/html; charset=utf-8", html)
            .with(
                http::header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_str(policy.trim()).unwrap(),
            )
            .with(
                http::header::SET_COOKIE,
                HeaderValue::from_static("shop_session=secret; Path=/; HttpOnly"),
            )
    }
}
