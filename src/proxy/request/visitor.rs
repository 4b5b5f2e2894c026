//! Reads from the headers of a request what they show about its visitor: cookies, tracking signals, the
//! client's address, and the browser's transport.

use std::net::IpAddr;

use http::{header, HeaderMap};
use ipnet::IpNet;

use crate::doctor::is_inner;
use crate::rewrite::enrich::edge_session::Transport;
use crate::rewrite::privacy::{Privacy, Signal, Signals};
use crate::site::forwarding_headers::PeerTrust;

use crate::proxy::client::{self, X_FORWARDED_FOR, X_FORWARDED_PROTO};
use crate::proxy::request::exchange::ConnectionFacts;

/// The limit for the cookies of a request together, in bytes. Most servers accept no more either.
const COOKIE_BYTES: usize = 16 * 1024;

/// Returns the cookies of a request as one list, because HTTP/2 sends them one by one (RFC 9113, 8.2.3).
/// Returns `None` if there are no cookies, or more than `COOKIE_BYTES`.
pub(crate) fn cookies(headers: &HeaderMap) -> Option<String> {
    let values = || headers.get_all(header::COOKIE).iter();
    let length: usize = values().map(|value| value.len() + 2).sum();
    if length == 0 || length > COOKIE_BYTES {
        return None;
    }
    let mut all = String::with_capacity(length);
    // Values that are not text are skipped: Hedgerow reads no cookies that are not text.
    for value in values().filter_map(|value| value.to_str().ok()) {
        if !all.is_empty() {
            all.push_str("; ");
        }
        all.push_str(value);
    }
    Some(all)
}

/// The client of a request, determined once for each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The peer's address, if it has one.
    pub(crate) peer: Option<IpAddr>,
    /// Whether the peer's headers about its clients are believed.
    pub(crate) trust: PeerTrust,
    /// The client's address; `None` over a Unix socket.
    pub(crate) address: Option<IpAddr>,
    /// The client's address in the form that the receiver of the request may get.
    pub(crate) shown: Option<IpAddr>,
    /// The tracking signals of the visitor's browser, if the configuration applies them.
    pub(crate) signals: Signals,
    /// The browser's transport: the one that a trusted proxy reports, or by default that of the connection.
    pub(crate) transport: Transport,
    /// Whether the proxies between the browser and this process agree about the transport.
    pub(crate) agreement: ProxyAgreement,
}

impl Caller {
    /// Determines the client that sends these headers over this connection.
    pub(crate) fn new(
        connection_facts: ConnectionFacts,
        headers: &HeaderMap,
        trusted: &[IpNet],
        privacy: &Privacy,
    ) -> Self {
        let ConnectionFacts { peer, transport } = connection_facts;
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
        let (reported, agreement) = match trust {
            PeerTrust::Trusted => transport_in(headers),
            PeerTrust::Untrusted => (None, ProxyAgreement::One),
        };
        Self {
            peer,
            trust,
            address,
            shown: address.map(|address| privacy.forwarded(address, signals)),
            signals,
            transport: reported.unwrap_or(transport),
            agreement,
        }
    }

    /// Returns whether these headers are most likely from a proxy that should be trusted but is not in the
    /// configuration. Clients on the open network can send any `X-Forwarded-For`; if the peer has an
    /// internal address, a proxy has most likely set it.
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

/// Whether the proxies between the browser and this process agree about the transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxyAgreement {
    /// The proxies agree, or there is at most one.
    One,
    /// The proxies disagree.
    Several,
}

/// Reads the transport in `X-Forwarded-Proto`. Each proxy appends the transport on which it received the
/// request, so the first value is the browser's.
fn transport_in(headers: &HeaderMap) -> (Option<Transport>, ProxyAgreement) {
    let values = headers.get_all(X_FORWARDED_PROTO).iter();
    let mut transports = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|scheme| match scheme.trim().to_ascii_lowercase().as_str() {
            "https" => Some(Transport::Tls),
            "http" => Some(Transport::Plain),
            _ => None,
        });
    let Some(first) = transports.next() else {
        return (None, ProxyAgreement::One);
    };
    match transports.all(|other| other == first) {
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
