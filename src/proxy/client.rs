//! The client of a request: the peer of the socket, or the client that a trusted proxy names.

use std::net::{IpAddr, SocketAddr};

use http::HeaderName;
use ipnet::IpNet;

/// The addresses that the request came from, as the proxies on its way report them.
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The host that the client requested from the first proxy.
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The protocol (`http` or `https`) over which each proxy received the request.
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Returns the client's address.
///
/// `forwarded` are the values of `X-Forwarded-For` in the order of the request. They are trusted
/// only when the peer is a trusted proxy, and then from right to left: each trusted address
/// confirms the one before it. The first address that is not trusted is the client's; the client
/// could have invented everything further left. An entry that is not an address ends the search.
pub(crate) fn address<'a>(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &[IpNet],
) -> IpAddr {
    let mut client = peer.to_canonical();
    if !is_trusted(client, trusted) {
        return client;
    }
    for entry in forwarded.rev().flat_map(|value| value.rsplit(',')) {
        match parse(entry.trim()) {
            Some(address) => client = address,
            None => return client,
        }
        if !is_trusted(client, trusted) {
            return client;
        }
    }
    client
}

/// Whether this address is a trusted proxy.
pub(crate) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// Parses an address as proxies write it: bare, with a port, or in brackets.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.trim_matches('"');
    let inner = bare
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(bare);
    let address = inner
        .parse::<IpAddr>()
        .or_else(|_| bare.parse::<SocketAddr>().map(|socket| socket.ip()))
        .ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        address(peer.parse().unwrap(), forwarded.iter().copied(), &trusted).to_string()
    }

    #[test]
    fn the_header_counts_only_from_a_trusted_peer() {
        assert_eq!(client("203.0.113.9", &["198.51.100.1"], &[]), "203.0.113.9");
        assert_eq!(
            client("10.0.0.1", &["198.51.100.1"], &["10.0.0.0/8"]),
            "198.51.100.1"
        );
        assert_eq!(
            client("203.0.113.9", &["198.51.100.1"], &["10.0.0.0/8"]),
            "203.0.113.9"
        );
    }

    #[test]
    fn a_forged_entry_on_the_left_is_not_believed() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(
            client("10.0.0.1", &["1.2.3.4, 198.51.100.1, 10.0.0.2"], &trusted),
            "198.51.100.1"
        );
        // Two header lines are one list.
        assert_eq!(
            client("10.0.0.1", &["1.2.3.4", "198.51.100.1,10.0.0.2"], &trusted),
            "198.51.100.1"
        );
        assert_eq!(
            client("10.0.0.1", &["1.2.3.4, unknown, 10.0.0.2"], &trusted),
            "10.0.0.2"
        );
        assert_eq!(
            client("10.0.0.1", &["10.0.0.3, 10.0.0.2"], &trusted),
            "10.0.0.3"
        );
        assert_eq!(client("10.0.0.1", &[""], &trusted), "10.0.0.1");
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_read() {
        let trusted = ["127.0.0.0/8", "::1/128"];
        for (entry, expected) in [
            ("198.51.100.1:5678", "198.51.100.1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:198.51.100.1", "198.51.100.1"),
            ("\"[2001:db8::1]:443\"", "2001:db8::1"),
        ] {
            assert_eq!(
                client("::ffff:127.0.0.1", &[entry], &trusted),
                expected,
                "{entry}"
            );
        }
        assert_eq!(client("::ffff:203.0.113.9", &[], &trusted), "203.0.113.9");
    }
}
