//! What the headers of a request show about its visitor: cookies, tracking signals, and the form of
//! the answer.

use std::net::IpAddr;

use http::{header, HeaderMap};
use ipnet::IpNet;

use crate::doctor::is_inner;
use crate::rewrite::enrich::edge_session::Transport;
use crate::rewrite::privacy::{Privacy, Signal, Signals};
use crate::site::forwarding_headers::PeerTrust;

use crate::proxy::client::{self, X_FORWARDED_FOR, X_FORWARDED_PROTO};
use crate::proxy::request::exchange::ConnectionFacts;

/// The largest `Cookie` header that is read, in bytes; most servers take no more either.
const COOKIE_BYTES: usize = 16 * 1024;

/// The cookies of a request as one list: HTTP/2 sends them one by one (RFC 9113, 8.2.3). None if
/// there are none, or too many.
pub(crate) fn cookies(headers: &HeaderMap) -> Option<String> {
    let values = || headers.get_all(header::COOKIE).iter();
    let length: usize = values().map(|value| value.len() + 2).sum();
    if length == 0 || length > COOKIE_BYTES {
        return None;
    }
    let mut all = String::with_capacity(length);
    // A cookie that is not text is none of those that are read.
    for value in values().filter_map(|value| value.to_str().ok()) {
        if !all.is_empty() {
            all.push_str("; ");
        }
        all.push_str(value);
    }
    Some(all)
}

/// The client of a request, worked out once for each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The peer's address, if it has one.
    pub(crate) peer: Option<IpAddr>,
    /// Whether the peer's headers about its clients are believed.
    pub(crate) trust: PeerTrust,
    /// The client's address; none over a Unix socket.
    pub(crate) address: Option<IpAddr>,
    /// The same, as the receiver of the request may know it.
    pub(crate) shown: Option<IpAddr>,
    /// The tracking signals of the visitor's browser, if the configuration applies them.
    pub(crate) signals: Signals,
    /// The browser's transport: as a trusted proxy reports it, otherwise as this process sees it.
    pub(crate) transport: Transport,
    /// Whether the proxies on the way agree about it.
    pub(crate) word: ProxyAgreement,
}

impl Caller {
    /// The client that sends these headers over this connection.
    pub(crate) fn new(
        wire: ConnectionFacts,
        headers: &HeaderMap,
        trusted: &[IpNet],
        privacy: &Privacy,
    ) -> Self {
        let ConnectionFacts { peer, transport } = wire;
        let trust = match peer.is_some_and(|peer| client::is_trusted(peer, trusted)) {
            true => PeerTrust::Trusted,
            false => PeerTrust::Untrusted,
        };
        let address = peer.map(|peer| match trust {
            PeerTrust::Untrusted => peer,
            PeerTrust::Trusted => {
                let forwarded = headers.get_all(X_FORWARDED_FOR).iter();
                let values = forwarded.map(|value| value.to_str().unwrap_or("not an address"));
                client::address(peer, values, trusted)
            }
        });
        let signals = signals(headers, privacy);
        let (told, word) = match trust {
            PeerTrust::Trusted => transport_in(headers),
            PeerTrust::Untrusted => (None, ProxyAgreement::One),
        };
        Self {
            peer,
            trust,
            address,
            shown: address.map(|address| privacy.forwarded(address, signals)),
            signals,
            transport: told.unwrap_or(transport),
            word,
        }
    }

    /// Whether these headers come from a proxy in front that should most likely be trusted, and is not. Clients on the open network write `X-Forwarded-For` as they like; from an inner address
    /// it is most often the proxy's.
    pub(crate) fn is_probably_a_trusted_proxy(&self, headers: &HeaderMap) -> bool {
        self.trust == PeerTrust::Untrusted
            && self.peer.is_some_and(is_inner)
            && headers.contains_key(X_FORWARDED_FOR)
    }
}

fn signals(headers: &HeaderMap, privacy: &Privacy) -> Signals {
    if !privacy.heeds_signals() {
        return Signals::default();
    }
    let signal = |name: &str| {
        let value = headers.get(name);
        Signal::from_header(value.and_then(|value| value.to_str().ok()))
    };
    Signals {
        global_privacy_control: signal("sec-gpc"),
        do_not_track: signal("dnt"),
    }
}

/// Whether the proxies on a request's way agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxyAgreement {
    /// They do, or there is one at most.
    One,
    /// The proxies disagree: the browser, or a proxy further out, reported something else.
    Several,
}

/// The transport in `X-Forwarded-Proto`. Each proxy that adds to the list reports how the request
/// came to it, so the first value is the browser's.
fn transport_in(headers: &HeaderMap) -> (Option<Transport>, ProxyAgreement) {
    let values = headers.get_all(X_FORWARDED_PROTO).iter();
    let mut said = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|scheme| match scheme.trim().to_ascii_lowercase().as_str() {
            "https" => Some(Transport::Tls),
            "http" => Some(Transport::Plain),
            _ => None,
        });
    let Some(first) = said.next() else {
        return (None, ProxyAgreement::One);
    };
    match said.all(|other| other == first) {
        true => (first, ProxyAgreement::One),
        false => (first, ProxyAgreement::Several),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_first_scheme_that_proxies_name_is_the_browsers() {
        use Transport::{Plain, Tls};
        for (lines, expected) in [
            (&[][..], (None, ProxyAgreement::One)),
            (&["https"], (Some(Tls), ProxyAgreement::One)),
            (&["HTTPS , https"], (Some(Tls), ProxyAgreement::One)),
            (&["https, http"], (Some(Tls), ProxyAgreement::Several)),
            (&["https", "http"], (Some(Tls), ProxyAgreement::Several)),
            (&["http,https"], (Some(Plain), ProxyAgreement::Several)),
            (&["wss"], (None, ProxyAgreement::One)),
            (&[""], (None, ProxyAgreement::One)),
            (&["on, https"], (None, ProxyAgreement::Several)),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(X_FORWARDED_PROTO, HeaderValue::from_static(line));
            }
            assert_eq!(transport_in(&headers), expected, "{lines:?}");
        }
    }

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
