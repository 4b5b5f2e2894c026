//! What a request's headers say of its visitor: cookies, signals about tracking, and how the answer
//! goes back.

use http::{header, HeaderMap, HeaderName};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::proxy::Session;

use crate::rewrite::enrich::edge_session::Transport;
use crate::rewrite::privacy::{Signal, Signals};

use super::{client, Inner};

/// More cookies than this are not looked into; most servers take no more either. In bytes.
const COOKIE_BYTES: usize = 16 * 1024;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The cookies of a request as one list: HTTP/2 sends them one by one (RFC 9113, 8.2.3). None if
/// there are none, or more than anybody means.
pub(super) fn cookies(headers: &HeaderMap) -> Option<String> {
    let values = || headers.get_all(header::COOKIE).iter();
    let length: usize = values().map(|value| value.len() + 2).sum();
    if length == 0 || length > COOKIE_BYTES {
        return None;
    }
    let mut all = String::with_capacity(length);
    // A cookie that is no text is none of those that are looked for.
    for value in values().filter_map(|value| value.to_str().ok()) {
        if !all.is_empty() {
            all.push_str("; ");
        }
        all.push_str(value);
    }
    Some(all)
}

impl Inner {
    /// What the visitor's browser says about being tracked, where that changes anything.
    pub(super) fn signals(&self, session: &Session) -> Signals {
        if !self.config.mapping.privacy.heeds_signals() {
            return Signals::default();
        }
        let signal = |name: &str| {
            let value = session.get_header(name);
            Signal::from_header(value.and_then(|value| value.to_str().ok()))
        };
        Signals {
            global_privacy_control: signal("sec-gpc"),
            do_not_track: signal("dnt"),
        }
    }

    /// Whether the browser speaks TLS: with us, or with a trusted proxy that says so.
    pub(super) fn transport(&self, session: &Session) -> Transport {
        let ours = session
            .digest()
            .is_some_and(|digest| digest.ssl_digest.is_some());
        if ours || self.is_forwarded_over_tls(session) {
            Transport::Tls
        } else {
            Transport::Plain
        }
    }

    fn is_forwarded_over_tls(&self, session: &Session) -> bool {
        let peer = session.client_addr().and_then(SocketAddr::as_inet);
        let trusted = peer.is_some_and(|peer| {
            client::is_trusted(peer.ip().to_canonical(), &self.config.trusted_proxies)
        });
        // The first one of several is the one next to the browser.
        let first = session
            .get_header(X_FORWARDED_PROTO)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(',').next());
        trusted && first.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn cookies_are_one_list_however_they_came_and_no_more_than_bounded() {
        let mut headers = HeaderMap::new();
        assert_eq!(cookies(&headers), None);
        headers.append(header::COOKIE, HeaderValue::from_static("a=1; b=2"));
        headers.append(header::COOKIE, HeaderValue::from_bytes(b"x=\xff").unwrap());
        headers.append(header::COOKIE, HeaderValue::from_static("c=3"));
        assert_eq!(cookies(&headers).as_deref(), Some("a=1; b=2; c=3"));
        let long = HeaderValue::from_str(&"d".repeat(COOKIE_BYTES)).unwrap();
        headers.append(header::COOKIE, long);
        assert_eq!(cookies(&headers), None);
    }
}
