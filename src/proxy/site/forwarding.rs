//! The changes to a request before a site's server gets it: above all the fields that tell the server
//! who sent the request.

use http::{header, HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::Result;

use crate::proxy::client::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};
use crate::proxy::outbound::keepalive::Repeat;
use crate::proxy::request::exchange::authority;
use crate::site::forwarding_headers::{forged, PeerTrust, Underscores};

use super::conformance::one_length;
use super::context::SiteContext;

/// The bytes of a body that the framework keeps for a second attempt.
const REMEMBERED: usize = 64 << 10;

/// Whether a request may be sent to a site again: its method must be idempotent, and the framework
/// must have kept its whole body.
pub(super) fn repeat(session: &mut Session) -> Repeat {
    let idempotent = session.req_header().method.is_idempotent();
    let length = session.req_header().headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let remembered = length.map_or_else(
        || session.is_body_empty(),
        |length: usize| length <= REMEMBERED,
    );
    match idempotent && remembered {
        true => Repeat::May,
        false => Repeat::MayNot,
    }
}

impl SiteContext {
    /// Sets the fields in a request that name its sender, host and scheme, and removes those that
    /// the client has set, unless it is a trusted proxy.
    pub(super) fn set_forwarded_fields(
        &self,
        session: &Session,
        request: &mut RequestHeader,
        underscores: Underscores,
    ) -> Result<()> {
        let peer = self.caller.and_then(|caller| caller.peer);
        let caller = self.caller.as_ref();
        let trust = caller.map_or(PeerTrust::Untrusted, |caller| caller.trust);
        let trusted = trust == PeerTrust::Trusted;
        for name in forged(&request.headers, underscores, trust) {
            request.remove_header(&name);
        }
        if let Some(address) = peer {
            let before = trusted
                .then(|| {
                    let values = request.headers.get_all(X_FORWARDED_FOR).iter();
                    let texts = values.filter_map(|value| value.to_str().ok());
                    texts.collect::<Vec<_>>().join(", ")
                })
                .filter(|list| !list.is_empty());
            let list = match before {
                Some(list) => format!("{list}, {address}"),
                None => address.to_string(),
            };
            request.insert_header(X_FORWARDED_FOR, list)?;
        }
        let tls = session
            .digest()
            .is_some_and(|digest| digest.ssl_digest.is_some());
        let scheme = HeaderValue::from_static(if tls { "https" } else { "http" });
        insert_if_missing(request, X_FORWARDED_PROTO, scheme)?;
        let host =
            authority(session.req_header()).and_then(|host| HeaderValue::from_str(host).ok());
        if let Some(host) = host {
            insert_if_missing(request, X_FORWARDED_HOST, host)?;
        }
        Ok(())
    }
}

fn insert_if_missing(
    request: &mut RequestHeader,
    name: HeaderName,
    value: HeaderValue,
) -> Result<()> {
    if request.headers.contains_key(&name) {
        return Ok(());
    }
    request.insert_header(name, value)
}

/// Replaces an absolute URL in the request target, as a client of a forward proxy sends it, by its
/// path: a server expects a path (RFC 9112, 3.2.1), and many understand nothing else.
pub(super) fn ask_for_path(request: &mut RequestHeader) -> Result<()> {
    let raw = request.raw_path();
    if raw.starts_with(b"/") || raw == b"*" {
        return Ok(());
    }
    let path = match request.uri.query() {
        Some(query) => format!("{}?{query}", request.uri.path()),
        None => request.uri.path().to_owned(),
    };
    request.set_raw_path(path.as_bytes())
}

/// Replaces several equal `Content-Length` values by one.
pub(super) fn merge_equal_lengths(request: &mut RequestHeader) -> Result<()> {
    match one_length(&request.headers) {
        Some(length) => request.insert_header(header::CONTENT_LENGTH, length),
        None => Ok(()),
    }
}

/// Joins the cookies of a request into one header line: HTTP/2 may send them one by one, and an
/// HTTP/1.1 server expects one line (RFC 9113, 8.2.3).
pub(super) fn join_cookies(request: &mut RequestHeader) -> Result<()> {
    let values: Vec<&[u8]> = request
        .headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if values.len() < 2 {
        return Ok(());
    }
    let joined = values.join(&b"; "[..]);
    match HeaderValue::from_bytes(&joined) {
        Ok(joined) => request.insert_header(header::COOKIE, joined),
        // Cannot happen: all parts are valid values, so the joined value is valid.
        Err(_) => Ok(()),
    }
}

/// Makes an answer of unknown length end with its connection if the client does not support chunks
/// (RFC 9112, 6.1): an HTTP/1.0 client would read their sizes as a part of the page.
pub(super) fn end_by_closing(session: &mut Session, response: &mut ResponseHeader) {
    let old = session.req_header().version <= http::Version::HTTP_10;
    let bodiless = matches!(
        response.status,
        http::StatusCode::NO_CONTENT | http::StatusCode::NOT_MODIFIED
    );
    if old && !bodiless && !response.headers.contains_key(header::CONTENT_LENGTH) {
        response.remove_header(&header::TRANSFER_ENCODING);
        session.set_keepalive(None);
    }
}
