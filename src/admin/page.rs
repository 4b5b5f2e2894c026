//! The page of the live view and its files, all compiled in.

use http::header::{self, HeaderValue};
use http::StatusCode;

use crate::handler::Response;

/// The page may run only its own scripts and connect only to its own address.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const PAGE: &str = include_str!("assets/live.html");
const TOKEN: &str = include_str!("assets/token.html");

const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Files that the demo's page uses as well: path, type and text.
pub(crate) const SHARED: [(&str, &str, &str); 3] = [
    ("/sides.css", CSS, include_str!("assets/sides.css")),
    ("/sides.js", JAVASCRIPT, include_str!("assets/sides.js")),
    ("/json.js", JAVASCRIPT, include_str!("assets/json.js")),
];

const OWN: [(&str, &str, &str); 10] = [
    (
        "/hedgerow.svg",
        "image/svg+xml",
        include_str!("assets/hedgerow.svg"),
    ),
    ("/live.css", CSS, include_str!("assets/live.css")),
    ("/list.css", CSS, include_str!("assets/list.css")),
    ("/live.js", JAVASCRIPT, include_str!("assets/live.js")),
    ("/feed.js", JAVASCRIPT, include_str!("assets/feed.js")),
    ("/list.js", JAVASCRIPT, include_str!("assets/list.js")),
    ("/filters.js", JAVASCRIPT, include_str!("assets/filters.js")),
    ("/detail.js", JAVASCRIPT, include_str!("assets/detail.js")),
    ("/strip.js", JAVASCRIPT, include_str!("assets/strip.js")),
    ("/words.js", JAVASCRIPT, include_str!("assets/words.js")),
];

fn html(status: StatusCode, text: impl Into<bytes::Bytes>) -> Response {
    Response::new(status, "text/html; charset=utf-8", text).with(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(CONTENT_SECURITY_POLICY),
    )
}

/// Returns the page of the live view.
pub(super) fn page() -> Response {
    html(StatusCode::OK, PAGE)
}

/// Returns a script, a style sheet or an image of the page. These files contain no data about visitors.
pub(super) fn asset(path: &str) -> Option<Response> {
    let (_, kind, text) = SHARED.iter().chain(&OWN).find(|(name, ..)| *name == path)?;
    Some(Response::new(StatusCode::OK, kind, *text))
}

/// Whether the token is requested for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenPrompt {
    /// The client has not sent a token.
    First,
    /// The client has sent a wrong token.
    Again,
}

/// Returns the form that requests the token.
pub(super) fn token(prompt: TokenPrompt) -> Response {
    let note = match prompt {
        TokenPrompt::First => "",
        TokenPrompt::Again => "That is not the token.",
    };
    html(StatusCode::UNAUTHORIZED, TOKEN.replace("{{note}}", note))
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    Response::new(status, "text/plain; charset=utf-8", text)
}

/// Returns the response if the live view is off.
pub(super) fn live_view_off() -> Response {
    plain(
        StatusCode::NOT_FOUND,
        "The live view is off. On an address that other machines can reach it needs a token:\n\
         admin: {address: 10.0.0.5:9090, token: env:HEDGEROW_LIVE_TOKEN}\n\
         Here are /health, /healthz, /readyz and /metrics.\n",
    )
}

/// Returns the response if the `Host` header is a name other than `localhost`.
pub(super) fn live_view_elsewhere() -> Response {
    plain(
        StatusCode::MISDIRECTED_REQUEST,
        "The live view accepts only an IP address or localhost as its host.\n",
    )
}
