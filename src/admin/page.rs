//! The page of the live view and its files, all compiled in.

use http::header::{self, HeaderValue};
use http::StatusCode;

use crate::handler::Response;

/// The page runs its own scripts and talks to its own address, nothing else.
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

/// The live view.
pub(super) fn page() -> Response {
    html(StatusCode::OK, PAGE)
}

/// A script or a style sheet of the page. These contain no data.
pub(super) fn asset(path: &str) -> Option<Response> {
    let (_, kind, text) = SHARED.iter().chain(&OWN).find(|(name, ..)| *name == path)?;
    Some(Response::new(StatusCode::OK, kind, *text))
}

/// How often the token has been asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenPrompt {
    /// For the first time.
    First,
    /// The given token is wrong.
    Again,
}

/// The form that asks for the token.
pub(super) fn token(asked: TokenPrompt) -> Response {
    let note = match asked {
        TokenPrompt::First => "",
        TokenPrompt::Again => "That is not the token.",
    };
    html(StatusCode::UNAUTHORIZED, TOKEN.replace("{{note}}", note))
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    Response::new(status, "text/plain; charset=utf-8", text)
}

/// There is no live view.
pub(super) fn live_view_off() -> Response {
    plain(
        StatusCode::NOT_FOUND,
        "The live view is off. On an address that other machines can reach it needs a token:\n\
         admin: {address: 10.0.0.5:9090, token: env:HEDGEROW_LIVE_TOKEN}\n\
         Here are /health, /healthz, /readyz and /metrics.\n",
    )
}

/// The request was made to a name.
pub(super) fn live_view_elsewhere() -> Response {
    plain(
        StatusCode::MISDIRECTED_REQUEST,
        "The live view accepts only an IP address or localhost as its host.\n",
    )
}
