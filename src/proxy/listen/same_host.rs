//! Corrects requests whose target is a whole URL, and whose `Host` field is the same host in another
//! spelling.
//!
//! The framework compares the two byte by byte, and refuses such a request. By RFC 9112, 3.2.2, the host
//! of the target replaces that of the field, so this module writes it into the field if both are the same
//! host.

use bytes::BytesMut;

use crate::site::head::{is_same_host, split_target};

/// Heads with more fields go to the framework unchanged.
const FIELDS: usize = 128;

/// Takes the first bytes of a request, which contain its whole head. Replaces the `Host` by the host of
/// the target if both are the same host, and returns all other requests unchanged.
pub(super) fn name_one_host(begun: BytesMut) -> BytesMut {
    let target = begun.iter().position(|byte| *byte == b' ');
    let first = target.and_then(|blank| begun.get(blank + 1));
    // The target of nearly all requests is a path.
    if matches!(first, None | Some(b'/' | b'*')) {
        return begun;
    }
    named(&begun).unwrap_or(begun)
}

fn named(begun: &BytesMut) -> Option<BytesMut> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let parsed = request.parse(begun).ok()?;
    let httparse::Status::Complete(_) = parsed else {
        return None;
    };
    let target = request.path?.as_bytes();
    let (authority, _) = split_target(target)?;
    let authority = authority?;
    let (scheme, _) = target.split_at_checked(target.iter().position(|byte| *byte == b':')?)?;
    let mut hosts = request.headers.iter();
    let mut hosts = hosts
        .by_ref()
        .filter(|field| field.name.eq_ignore_ascii_case("host"));
    let (host, None) = (hosts.next()?.value, hosts.next()) else {
        return None;
    };
    if host == authority || !is_same_host(authority, host, scheme) {
        return None;
    }
    let position = (host.as_ptr() as usize).checked_sub(begun.as_ptr() as usize)?;
    let (before, after) = begun.split_at_checked(position)?;
    let after = after.get(host.len()..)?;
    Some(BytesMut::from_iter(
        before.iter().chain(authority).chain(after),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_equal_host_becomes_that_of_the_address_and_another_stays() {
        for (target, host, equal) in [
            ("http://shop.example.com:80/x", "shop.example.com", true),
            ("http://shop.example.com/x", "shop.example.com:80", true),
            ("http://shop.example.com/x", "SHOP.example.com:", true),
            ("HTTP://Shop.example.com", "shop.example.com", true),
            ("https://shop.example.com:443/x", "shop.example.com", true),
            ("http://[::1]:80/x", "[::1]", true),
            ("http://shop.example.com./x", "shop.example.com", true),
            ("http://shop.example.com/x", "shop.example.com.:80", true),
            ("http://shop.example.com../x", "shop.example.com", false),
            ("http://shop.example.com/x", "shop.example.com", false),
            ("http://shop.example.com:443/x", "shop.example.com", false),
            ("https://shop.example.com/x", "shop.example.com:80", false),
            ("http://shop.example.com:8080/x", "shop.example.com", false),
            ("http://b.example/x", "shop.example.com", false),
            ("http://u@shop.example.com/x", "shop.example.com", false),
            ("http://[::1]/x", "[::2]", false),
            ("ftp://shop.example.com/x", "SHOP.example.com", false),
            ("/x", "shop.example.com", false),
        ] {
            let head = |host: &str| {
                format!("POST {target} HTTP/1.1\r\nA: 1\r\nHost: {host}\r\nB: 2\r\n\r\nbody")
            };
            let named = name_one_host(BytesMut::from(head(host).as_str()));
            let authority = target.split('/').nth(2).unwrap_or_default();
            let expected = if equal { head(authority) } else { head(host) };
            assert_eq!(named, expected.as_bytes(), "{target} {host}");
        }
        let twice = "GET http://a/ HTTP/1.1\r\nHost: A\r\nHost: a\r\n\r\n";
        assert_eq!(name_one_host(BytesMut::from(twice)), twice.as_bytes());
    }
}
