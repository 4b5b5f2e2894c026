//! Puts the snippet into the pages that an `origin:` route passes on.
//!
//! Only whole HTML documents that a browser navigates to are changed; every other answer passes
//! unchanged. The body is read as it streams: at most the first bytes of a tag are held back.

mod coding;
mod etag;
mod page_stream;
mod policy;
mod scan;
mod script;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};

pub use coding::{accepted, Coding};
pub use etag::{marked, unmarked};
pub use page_stream::{BrokenPage, PageStream};
pub use policy::{inline_script, InlineScript};
pub use scan::Injector;

/// Whether a request may lead to a page that is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageRequest {
    /// A navigation. The request to the server gets the `Accept-Encoding` that [`accepted`]
    /// returns, so that the page can be read, and the `If-None-Match` that [`unmarked`] returns.
    /// `If-Modified-Since` is removed.
    MayBePage,
    /// Any other request. It is passed on unchanged, with its `Accept-Encoding`.
    Other,
}

/// Returns [`PageRequest::MayBePage`] if a browser navigates with GET or HEAD and requests no range.
/// The answer to HEAD has the headers of the changed page (RFC 9110, 9.3.2).
///
/// A document that a script fetches is not changed even if it is HTML, because it is a part of a
/// page that already has the snippet. Browsers without `Sec-Fetch-Dest` are recognised by `Accept`.
pub fn request(method: &Method, headers: &HeaderMap) -> PageRequest {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let navigates = match value("sec-fetch-dest") {
        Some(destination) => destination == "document",
        None => value("accept").is_some_and(|accept| accept.contains("text/html")),
    };
    let reads = method == Method::GET || method == Method::HEAD;
    if reads && navigates && !headers.contains_key(header::RANGE) {
        PageRequest::MayBePage
    } else {
        PageRequest::Other
    }
}

/// What happens to an answer to a request that [`may be a page`](PageRequest::MayBePage).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageResponse {
    /// The snippet is put in, with this nonce if the page's policy has one. The caller also calls
    /// [`change_headers`].
    Inject {
        /// The nonce, as it is written in the policy.
        nonce: Option<String>,
        /// How the page is compressed.
        coding: Coding,
    },
    /// The answer passes unchanged.
    Leave(UnchangedReason),
}

/// Why an answer passes unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnchangedReason {
    /// Not a 200.
    Status,
    /// Not `text/html`, or a download.
    NotHtml,
    /// The charset may not write `</head>` in ASCII bytes (UTF-16, for example).
    Charset,
    /// The `Content-Encoding` is unknown, or more than one was applied.
    Encoded,
    /// `Cache-Control: no-transform` (RFC 9111, 5.2.2.6).
    NoTransform,
    /// The page's policy forbids every inline script that Hedgerow could write.
    Policy,
}

impl UnchangedReason {
    /// Returns the reason's name for the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::NotHtml => "not_html",
            Self::Charset => "charset",
            Self::Encoded => "encoded",
            Self::NoTransform => "no_transform",
            Self::Policy => "policy",
        }
    }
}

/// Decides from the status and the headers whether the answer gets the snippet.
pub fn response(status: StatusCode, headers: &HeaderMap) -> PageResponse {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if status != StatusCode::OK {
        return PageResponse::Leave(UnchangedReason::Status);
    }
    let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let attached = text(header::CONTENT_DISPOSITION).is_some_and(|value| {
        value
            .trim_start()
            .to_ascii_lowercase()
            .starts_with("attachment")
    });
    if !kind.trim().eq_ignore_ascii_case("text/html") || attached {
        return PageResponse::Leave(UnchangedReason::NotHtml);
    }
    if !charset(parameters).is_none_or(is_ascii_compatible) {
        return PageResponse::Leave(UnchangedReason::Charset);
    }
    let Some(coding) = Coding::of(headers) else {
        return PageResponse::Leave(UnchangedReason::Encoded);
    };
    let no_transform = headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|directive| directive.trim().eq_ignore_ascii_case("no-transform"));
    if no_transform {
        return PageResponse::Leave(UnchangedReason::NoTransform);
    }
    match inline_script(headers) {
        InlineScript::Allowed => PageResponse::Inject {
            nonce: None,
            coding,
        },
        InlineScript::WithNonce(nonce) => PageResponse::Inject {
            nonce: Some(nonce),
            coding,
        },
        InlineScript::Forbidden => PageResponse::Leave(UnchangedReason::Policy),
    }
}

/// Changes the headers of a page that gets the snippet.
///
/// The page's length is no longer known, digests of its bytes are wrong, and its ETag must change
/// with the snippet. `mark` identifies the snippet's version and consists of letters and digits.
pub fn change_headers(headers: &mut HeaderMap, mark: &str) {
    for name in [
        "content-length",
        "content-md5",
        "digest",
        "content-digest",
        "repr-digest",
        "accept-ranges",
        // With it a cache could keep a page with an old snippet.
        "last-modified",
    ] {
        headers.remove(name);
    }
    if let Some(etag) = headers.remove(header::ETAG) {
        if let Some(etag) = marked(&etag, mark) {
            headers.insert(header::ETAG, etag);
        }
    }
}

/// Adds `Vary: Sec-Fetch-Dest` to an HTML answer, or a 304, of a site whose pages get the snippet.
///
/// A script that fetches the page's address gets the page without the snippet. Both answers need
/// the header, so that a cache does not confuse them.
pub fn vary(status: StatusCode, headers: &mut HeaderMap) {
    let html = headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        value
            .as_bytes()
            .to_ascii_lowercase()
            .starts_with(b"text/html")
    });
    if html || status == StatusCode::NOT_MODIFIED {
        headers.append(header::VARY, HeaderValue::from_static("Sec-Fetch-Dest"));
    }
}

fn charset(parameters: &str) -> Option<&str> {
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches('"'))
    })
}

/// Returns whether the bytes of `<`, `/` and letters have their ASCII meaning wherever a tag can
/// start. In the double-byte charsets of the list `<` is never a second byte. An unknown charset
/// gives `false`.
fn is_ascii_compatible(charset: &str) -> bool {
    let charset = charset.to_ascii_lowercase();
    matches!(
        charset.as_str(),
        "utf-8"
            | "utf8"
            | "us-ascii"
            | "ascii"
            | "latin1"
            | "gbk"
            | "gb2312"
            | "gb18030"
            | "big5"
            | "big5-hkscs"
            | "euc-jp"
            | "euc-kr"
            | "shift_jis"
            | "shift-jis"
            | "sjis"
            | "macintosh"
            | "tis-620"
            | "ks_c_5601-1987"
    ) || ["iso-8859-", "windows-", "koi8-", "cp125"]
        .iter()
        .any(|start| charset.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_navigations_are_looked_at() {
        for (method, lines, expected) in [
            (
                Method::GET,
                vec![("sec-fetch-dest", "document")],
                PageRequest::MayBePage,
            ),
            (
                Method::GET,
                vec![("accept", "text/html,*/*")],
                PageRequest::MayBePage,
            ),
            (
                Method::GET,
                vec![("sec-fetch-dest", "empty"), ("accept", "text/html")],
                PageRequest::Other,
            ),
            (
                Method::GET,
                vec![("sec-fetch-dest", "iframe"), ("accept", "text/html")],
                PageRequest::Other,
            ),
            (
                Method::GET,
                vec![("sec-fetch-dest", "script")],
                PageRequest::Other,
            ),
            (Method::GET, vec![("accept", "*/*")], PageRequest::Other),
            (Method::GET, vec![], PageRequest::Other),
            (
                Method::HEAD,
                vec![("sec-fetch-dest", "document")],
                PageRequest::MayBePage,
            ),
            (
                Method::POST,
                vec![("sec-fetch-dest", "document")],
                PageRequest::Other,
            ),
            (
                Method::GET,
                vec![("sec-fetch-dest", "document"), ("range", "bytes=0-")],
                PageRequest::Other,
            ),
        ] {
            assert_eq!(
                request(&method, &map(&lines)),
                expected,
                "{method} {lines:?}"
            );
        }
    }

    #[test]
    fn only_whole_readable_html_documents_are_changed() {
        let coded = |coding| PageResponse::Inject {
            nonce: None,
            coding,
        };
        let inject = coded(Coding::Identity);
        for (status, lines, expected) in [
            (200, vec![("content-type", "text/html")], inject.clone()),
            (
                200,
                vec![("content-type", "Text/HTML; Charset=\"UTF-8\"")],
                inject.clone(),
            ),
            (
                200,
                vec![("content-type", "text/html; charset=shift_jis")],
                inject.clone(),
            ),
            (
                200,
                vec![
                    ("content-type", "text/html"),
                    ("content-encoding", "identity"),
                ],
                inject,
            ),
            (
                404,
                vec![("content-type", "text/html")],
                PageResponse::Leave(UnchangedReason::Status),
            ),
            (
                206,
                vec![("content-type", "text/html")],
                PageResponse::Leave(UnchangedReason::Status),
            ),
            (304, vec![], PageResponse::Leave(UnchangedReason::Status)),
            (200, vec![], PageResponse::Leave(UnchangedReason::NotHtml)),
            (
                200,
                vec![("content-type", "application/json")],
                PageResponse::Leave(UnchangedReason::NotHtml),
            ),
            (
                200,
                vec![("content-type", "application/xhtml+xml")],
                PageResponse::Leave(UnchangedReason::NotHtml),
            ),
            (
                200,
                vec![
                    ("content-type", "text/html"),
                    ("content-disposition", "Attachment; filename=x"),
                ],
                PageResponse::Leave(UnchangedReason::NotHtml),
            ),
            (
                200,
                vec![("content-type", "text/html; charset=utf-16le")],
                PageResponse::Leave(UnchangedReason::Charset),
            ),
            (
                200,
                vec![("content-type", "text/html; charset=iso-2022-jp")],
                PageResponse::Leave(UnchangedReason::Charset),
            ),
            (
                200,
                vec![("content-type", "text/html"), ("content-encoding", "gzip")],
                coded(Coding::Gzip),
            ),
            (
                200,
                vec![("content-type", "text/html"), ("content-encoding", "dcb")],
                PageResponse::Leave(UnchangedReason::Encoded),
            ),
            (
                200,
                vec![
                    ("content-type", "text/html"),
                    ("cache-control", "private, No-Transform"),
                ],
                PageResponse::Leave(UnchangedReason::NoTransform),
            ),
            (
                200,
                vec![
                    ("content-type", "text/html"),
                    ("content-security-policy", "script-src 'self'"),
                ],
                PageResponse::Leave(UnchangedReason::Policy),
            ),
            (
                200,
                vec![
                    ("content-type", "text/html"),
                    ("content-security-policy", "script-src 'nonce-aGk='"),
                ],
                PageResponse::Inject {
                    nonce: Some("aGk=".to_owned()),
                    coding: Coding::Identity,
                },
            ),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(
                response(status, &map(&lines)),
                expected,
                "{status} {lines:?}"
            );
        }
    }

    #[test]
    fn headers_that_would_be_wrong_for_the_changed_page_go() {
        let mut headers = map(&[
            ("content-length", "10"),
            ("etag", "\"abc\""),
            ("last-modified", "Mon, 23 Nov 2026 10:00:00 GMT"),
            ("accept-ranges", "bytes"),
            ("vary", "Cookie"),
            ("content-type", "text/html"),
        ]);
        change_headers(&mut headers, "m7");
        vary(StatusCode::OK, &mut headers);
        for gone in ["content-length", "last-modified", "accept-ranges"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        assert_eq!(headers["etag"], "W/\"abc-m7\"");
        assert_eq!(headers.get_all("vary").iter().count(), 2);
        assert_eq!(headers["content-type"], "text/html");
    }
}
