//! The PROXY protocol, with which a load balancer states the client's address at the start of a
//! connection.

use std::io;
use std::net::SocketAddr;

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The maximum length of a header of version 1, in bytes (haproxy's proxy-protocol.txt, 2.1).
const LONGEST_TEXT: usize = 107;
/// The length of the fixed part of version 2, in bytes. It begins with the signature.
const BINARY: usize = 16;
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The maximum length of the rest of version 2, in bytes: addresses, and more than any load balancer adds
/// to them.
const LONGEST_REST: usize = 4096;

/// Reads the header that a balancer sends before the client's bytes, and not a byte more. Returns the
/// client's address as the balancer saw it, or `None` if the header states none, as in the balancer's own
/// health checks.
///
/// # Errors
///
/// When the bytes are no such header, or the connection ends within it.
pub(crate) async fn proxied<S: AsyncRead + Unpin>(
    stream: &mut S,
) -> io::Result<Option<SocketAddr>> {
    // A header of either version is longer than this.
    let mut head = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut head).await?;
    match head == SIGNATURE {
        true => binary(stream, head).await,
        false => text(stream, head).await,
    }
}

async fn text<S: AsyncRead + Unpin>(
    stream: &mut S,
    mut head: Vec<u8>,
) -> io::Result<Option<SocketAddr>> {
    if !head.starts_with(b"PROXY ") {
        return Err(no_header());
    }
    while !head.ends_with(b"\r\n") {
        if head.len() >= LONGEST_TEXT {
            return Err(no_header());
        }
        head.push(stream.read_u8().await?);
    }
    // The parser accepts a sign before a port, and the protocol has none.
    if head.starts_with(b"PROXY TCP") && head.contains(&b'+') {
        return Err(no_header());
    }
    let header = v1::Header::try_from(head.as_slice()).map_err(|_| no_header())?;
    Ok(match header.addresses {
        v1::Addresses::Tcp4(ip) => Some((ip.source_address, ip.source_port).into()),
        v1::Addresses::Tcp6(ip) => Some((ip.source_address, ip.source_port).into()),
        v1::Addresses::Unknown => None,
    })
}

async fn binary<S: AsyncRead + Unpin>(
    stream: &mut S,
    mut head: Vec<u8>,
) -> io::Result<Option<SocketAddr>> {
    head.resize(BINARY, 0);
    let fixed = head.get_mut(SIGNATURE.len()..).ok_or_else(no_header)?;
    stream.read_exact(fixed).await?;
    let length = match fixed {
        [_, _, high, low] => usize::from(u16::from_be_bytes([*high, *low])),
        _ => return Err(no_header()),
    };
    if length > LONGEST_REST {
        return Err(no_header());
    }
    head.resize(BINARY + length, 0);
    let rest = head.get_mut(BINARY..).ok_or_else(no_header)?;
    stream.read_exact(rest).await?;
    let header = v2::Header::try_from(head.as_slice()).map_err(|_| no_header())?;
    Ok(match (header.command, header.addresses) {
        (v2::Command::Local, _) => None,
        (_, v2::Addresses::IPv4(ip)) => Some((ip.source_address, ip.source_port).into()),
        (_, v2::Addresses::IPv6(ip)) => Some((ip.source_address, ip.source_port).into()),
        (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
    })
}

fn no_header() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "no header of the PROXY protocol",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns the result for these bytes, and the bytes that were not read.
    fn read(mut bytes: &[u8]) -> (io::Result<Option<SocketAddr>>, &[u8]) {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        let read = runtime.block_on(proxied(&mut bytes));
        (read, bytes)
    }

    fn version_2(command: u8, source: SocketAddr, extra: &[u8]) -> Vec<u8> {
        let mut addresses = Vec::new();
        let family = match source.ip() {
            std::net::IpAddr::V4(ip) => {
                addresses.extend(ip.octets());
                addresses.extend([10, 0, 0, 1]);
                0x11
            }
            std::net::IpAddr::V6(ip) => {
                addresses.extend(ip.octets());
                addresses.extend([0; 16]);
                0x21
            }
        };
        addresses.extend(source.port().to_be_bytes());
        addresses.extend(443_u16.to_be_bytes());
        addresses.extend(extra);
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[0x20 | command, family], &length, &addresses].concat()
    }

    proptest! {
        #[test]
        fn each_header_gives_its_source_and_leaves_the_following_bytes(
            source: SocketAddr,
            rest: Vec<u8>,
            value in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let source = SocketAddr::new(source.ip(), source.port());
            let extra = [&[0xEA, 0, u8::try_from(value.len()).unwrap()], &value[..]].concat();
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let to = if source.is_ipv4() { "10.0.0.1" } else { "::1" };
            let text = format!("PROXY {family} {} {to} {} 443\r\n", source.ip(), source.port());
            for header in [text.into_bytes(), version_2(1, source, &extra)] {
                let bytes = [header, rest.clone()].concat();
                let (read, left) = read(&bytes);
                prop_assert_eq!(read.unwrap(), Some(source));
                prop_assert_eq!(left, &rest[..]);
            }
        }

        #[test]
        fn no_bytes_bring_it_down(bytes: Vec<u8>, version in 0..3) {
            let begin: &[u8] = match version { 0 => b"", 1 => b"PROXY TCP4 ", _ => SIGNATURE };
            let _ = read(&[begin, &bytes].concat());
        }
    }

    #[test]
    fn a_header_without_a_source_has_none_and_an_invalid_header_is_refused() {
        let source = "192.0.2.1:5".parse().unwrap();
        assert_eq!(read(b"PROXY UNKNOWN\r\n").0.unwrap(), None);
        assert_eq!(read(&version_2(0, source, &[])).0.unwrap(), None);
        let long = format!("PROXY TCP4 {}\r\n", "1".repeat(200));
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"PROXY TCP4 192.0.2.1 10.0.0.1 1 99999\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 +1 2\r\n",
            b"PROXY TCP4 192.0.2.1",
            long.as_bytes(),
            &[SIGNATURE, &[0x21, 0x11, 0xFF, 0xFF]].concat(),
            &[SIGNATURE, &[0x51, 0x11, 0, 12], &[0; 12]].concat(),
        ] {
            assert!(read(bytes).0.is_err(), "{bytes:?}");
        }
    }
}
