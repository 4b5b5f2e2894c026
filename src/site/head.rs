//! The checks of a request's head before a route is chosen: the server behind must read target and host
//! as this proxy does (RFC 9110, RFC 9112).

use http::{header, HeaderMap, Method, StatusCode, Version};

/// Why a request is refused for its head alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadFault {
    /// The target is neither a path, nor a whole `http` address, nor the `*` of `OPTIONS`.
    Target,
    /// A segment of the path is `.` or `..`, plain or encoded: the server behind would resolve it
    /// after the route has been chosen.
    DotSegment,
    /// An HTTP/1.1 or HTTP/2 request that names no host.
    NoHost,
    /// The host is not a name or an address with or without a port.
    Host,
    /// `TRACE` returns a request's own cookies in a body that scripts can read.
    Trace,
    /// `CONNECT` asks for a tunnel, which a proxy in front of sites does not open.
    Connect,
    /// A transfer coding besides `chunked`.
    TransferCoding,
}

impl HeadFault {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Target | Self::DotSegment | Self::NoHost | Self::Host => StatusCode::BAD_REQUEST,
            Self::Trace | Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
        }
    }
}

/// The parts of a head that are checked.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'h> {
    /// The method.
    pub method: &'h Method,
    /// The request target as it was sent.
    pub target: &'h [u8],
    /// The authority of HTTP/2's `:authority`.
    pub authority: Option<&'h str>,
    /// The protocol's version.
    pub version: Version,
    /// The header fields.
    pub headers: &'h HeaderMap,
}

impl RequestHead<'_> {
    /// Checks the head.
    ///
    /// # Errors
    ///
    /// The first fault.
    pub fn check(&self) -> Result<(), HeadFault> {
        // Microsoft's servers know the same method as TRACK.
        if *self.method == Method::TRACE || self.method.as_str() == "TRACK" {
            return Err(HeadFault::Trace);
        }
        if *self.method == Method::CONNECT {
            return Err(HeadFault::Connect);
        }
        self.check_target()?;
        self.check_host()?;
        self.check_transfer_coding()
    }

    fn check_target(&self) -> Result<(), HeadFault> {
        if self.target == b"*" {
            return if *self.method == Method::OPTIONS {
                Ok(())
            } else {
                Err(HeadFault::Target)
            };
        }
        let (_, path) = split_target(self.target).ok_or(HeadFault::Target)?;
        // A fragment never leaves a browser, and servers disagree about where the path ends then.
        if path.contains(&b'#') {
            return Err(HeadFault::Target);
        }
        let end = path.iter().position(|byte| *byte == b'?');
        let path = path.get(..end.unwrap_or(path.len())).unwrap_or_default();
        if has_dot_segment(path) {
            return Err(HeadFault::DotSegment);
        }
        Ok(())
    }

    fn check_host(&self) -> Result<(), HeadFault> {
        let in_target = split_target(self.target).and_then(|(authority, _)| authority);
        let in_header = self.headers.get(header::HOST).map(|host| host.as_bytes());
        let lacking = match self.version {
            // Whatever its target says (RFC 9112, 3.2).
            Version::HTTP_11 => in_header.is_none(),
            Version::HTTP_2 | Version::HTTP_3 => in_header.is_none() && self.authority.is_none(),
            _ => false,
        };
        if lacking {
            return Err(HeadFault::NoHost);
        }
        let named = [in_target, in_header, self.authority.map(str::as_bytes)];
        if named.into_iter().flatten().all(is_host) {
            Ok(())
        } else {
            Err(HeadFault::Host)
        }
    }

    fn check_transfer_coding(&self) -> Result<(), HeadFault> {
        let mut codings = self.headers.get_all(header::TRANSFER_ENCODING).iter();
        match (codings.next(), codings.next()) {
            (None, _) => Ok(()),
            (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
            _ => Err(HeadFault::TransferCoding),
        }
    }
}

/// Whether the target is a path, and the host one, that [`RequestHead::check`] has nothing to say against.
pub fn is_plain(target: &[u8], host: &[u8]) -> bool {
    let end = target.iter().position(|byte| *byte == b'?');
    let path = target
        .get(..end.unwrap_or(target.len()))
        .unwrap_or_default();
    path.starts_with(b"/") && !target.contains(&b'#') && !has_dot_segment(path) && is_host(host)
}

/// The authority and the rest of a request target; none for what is no target of a request to a
/// server. An `https` target over a connection without TLS is taken as well: the host counts.
pub fn split_target(target: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    if target.first() == Some(&b'/') {
        return Some((None, target));
    }
    let rest = ["http://", "https://"].iter().find_map(|scheme| {
        let start = target.get(..scheme.len())?;
        start
            .eq_ignore_ascii_case(scheme.as_bytes())
            .then(|| target.get(scheme.len()..))?
    })?;
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    Some((Some(authority), path))
}

/// Whether a host is a name or an address, with or without a port (RFC 9110, 7.2). Names with
/// other characters than these exist in no DNS, and servers cut them at different places.
fn is_host(authority: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(authority) else {
        return false;
    };
    let (name, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        (None, port)
    } else {
        let end = text.find(':').unwrap_or(text.len());
        let (name, port) = text.split_at(end);
        (Some(name), port)
    };
    let in_names = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let name_fits = name.is_none_or(|name| !name.is_empty() && name.bytes().all(in_names));
    let port_fits = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) => digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()),
    };
    name_fits && port_fits
}

/// Whether a segment of a path is `.` or `..` for the server behind: encoded ones, with backslashes
/// for slashes, and with the parameters that some servers cut off a segment (`..;x`); or whether there is
/// a NUL in it.
pub fn has_dot_segment(path: &[u8]) -> bool {
    let mut segment = Segment::Start;
    let mut rest = path;
    while let Some((byte, after)) = decoded(rest) {
        rest = after;
        segment = match (byte, segment) {
            // Where the path ends for servers that are written in C.
            (0, _) => return true,
            (b'/' | b'\\', Segment::Dots) => return true,
            (b'/' | b'\\', _) => Segment::Start,
            (b';', Segment::Dots) => return true,
            (b'.', Segment::Start) => Segment::Dot,
            (b'.', Segment::Dot) => Segment::Dots,
            (b';', Segment::Dot) => return true,
            _ => Segment::Other,
        };
        if segment == Segment::Dot && ends_segment(rest) {
            return true;
        }
    }
    segment == Segment::Dots
}

/// What a segment consists of so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segment {
    Start,
    /// One dot.
    Dot,
    /// Two dots.
    Dots,
    Other,
}

fn ends_segment(rest: &[u8]) -> bool {
    decoded(rest).is_none_or(|(byte, _)| matches!(byte, b'/' | b'\\'))
}

/// The first character of a path, decoded once, and what follows it: also as old servers decode it, by
/// `%u` and four digits, and from two bytes where UTF-8 takes one.
fn decoded(path: &[u8]) -> Option<(u8, &[u8])> {
    let (first, rest) = path.split_first()?;
    if *first == b'%' {
        let long = rest.strip_prefix(b"u").or(rest.strip_prefix(b"U"));
        if let Some((value, after)) = long.and_then(|digits| hex(digits, 4)) {
            return Some((u8::try_from(value).unwrap_or(u8::MAX), after));
        }
        if let Some((value, after)) = hex(rest, 2) {
            let value = u8::try_from(value).unwrap_or(u8::MAX);
            let second = after.strip_prefix(b"%").and_then(|after| hex(after, 2));
            return Some(match (value, second) {
                (0xc0 | 0xc1, Some((low @ 0x80..=0xbf, after))) => {
                    let low = u8::try_from(low & 0x3f).unwrap_or(u8::MAX);
                    ((value & 1) << 6 | low, after)
                }
                _ => (value, after),
            });
        }
    }
    Some((*first, rest))
}

/// A number of so many hexadecimal digits, and what follows it.
fn hex(text: &[u8], count: usize) -> Option<(u16, &[u8])> {
    let (digits, after) = text.split_at_checked(count)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let digits = std::str::from_utf8(digits).ok()?;
    Some((u16::from_str_radix(digits, 16).ok()?, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_path_that_the_server_behind_would_resolve_is_found_however_it_is_written() {
        let found = [
            "/..",
            "/.",
            "/a/..",
            "/a/../b",
            "/../a",
            "/a/./b",
            "/a/.",
            "/%2e%2e/a",
            "/.%2e/a",
            "/%2E./a",
            "/a/..%2fb",
            "/a/..%2Fb",
            "/a%2f..%2fb",
            "/a/..\\b",
            "/a\\..\\b",
            "/a/%2e%2e%5cb",
            "/..;/a",
            "/..;x=1/a",
            "/.;/a",
            "/a/%2e",
            "/a/%2e/b",
            "//../a",
            "/a/..%5C",
            "/a/..%00",
            "/a%00.html",
            "/a/%u002e%u002e/b",
            "/a/..%u002fb",
            "/a/%c0%ae%c0%ae/b",
            "/a/..%c0%afb",
            "/a/..%C1%9Cb",
        ];
        let innocent = [
            "/",
            "/a",
            "/a/",
            "/...",
            "/a...",
            "/..a",
            "/a..",
            "/.well-known/x",
            "/a/.b/c",
            "/a.b/c.d",
            "/%252e%252e/",
            "/a/..b",
            "/a/...../b",
            "/a;b/c",
            "/%2ehtaccess",
            "/a%",
            "/a%2",
            "//",
            "/a//b",
            "/.%20/",
            "/%c0/%C3%80/%u00e9/%u/%u00",
            "/%+1%2",
        ];
        let mut wrong = Vec::new();
        for path in found {
            if !has_dot_segment(path.as_bytes()) {
                wrong.push(format!("{path} was not found"));
            }
        }
        for path in innocent {
            if has_dot_segment(path.as_bytes()) {
                wrong.push(format!("{path} was refused"));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    fn check(method: &str, target: &str, version: Version, fields: &[(&str, &str)]) -> u16 {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: http::HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let head = RequestHead {
            method: &method.parse().unwrap(),
            target: target.as_bytes(),
            authority: None,
            version,
            headers: &headers,
        };
        head.check()
            .map_or_else(|fault| fault.status().as_u16(), |()| 200)
    }

    #[test]
    fn each_kind_of_head_gets_the_status_that_the_rfc_names() {
        const OLD: Version = Version::HTTP_10;
        const NEW: Version = Version::HTTP_11;
        const HOST: (&str, &str) = ("host", "shop.example.com");
        type HeadCase = (
            u16,
            &'static str,
            &'static str,
            Version,
            &'static [(&'static str, &'static str)],
        );
        let cases: &[HeadCase] = &[
            (200, "GET", "/", NEW, &[HOST]),
            (200, "GET", "/a?next=/../b", NEW, &[HOST]),
            (200, "GET", "http://shop.example.com/a", NEW, &[HOST]),
            (200, "GET", "HTTP://shop.example.com", OLD, &[]),
            (200, "GET", "/", OLD, &[]),
            (200, "OPTIONS", "*", NEW, &[HOST]),
            (
                200,
                "POST",
                "/",
                NEW,
                &[HOST, ("transfer-encoding", "Chunked")],
            ),
            (400, "GET", "*", NEW, &[HOST]),
            (400, "GET", "", NEW, &[HOST]),
            (400, "GET", " /a", NEW, &[HOST]),
            (400, "GET", "a", NEW, &[HOST]),
            (400, "GET", "ftp://shop.example.com/", NEW, &[HOST]),
            (400, "GET", "/a#/../b", NEW, &[HOST]),
            (400, "GET", "http://shop.example.com/../b", NEW, &[HOST]),
            (400, "GET", "/", NEW, &[]),
            (400, "GET", "http://shop.example.com/a", NEW, &[]),
            (400, "GET", "/", NEW, &[("host", "")]),
            (400, "GET", "/", NEW, &[("host", "shop example.com")]),
            (400, "GET", "/", NEW, &[("host", "a.example, b.example")]),
            (400, "GET", "/", NEW, &[("host", "shop.example.com/path")]),
            (400, "GET", "/", NEW, &[("host", "shop.example.com:80:80")]),
            (400, "GET", "/", NEW, &[("host", "shop.example.com:http")]),
            (400, "GET", "/", NEW, &[("host", "[::1")]),
            (200, "GET", "/", NEW, &[("host", "[::1]:8080")]),
            (200, "GET", "/", NEW, &[("host", "127.0.0.1:8080")]),
            (200, "GET", "/", NEW, &[("host", "shop.example.com:")]),
            (405, "TRACE", "/", NEW, &[HOST]),
            (
                501,
                "POST",
                "/",
                NEW,
                &[HOST, ("transfer-encoding", "gzip, chunked")],
            ),
            (
                501,
                "POST",
                "/",
                NEW,
                &[
                    HOST,
                    ("transfer-encoding", "gzip"),
                    ("transfer-encoding", "chunked"),
                ],
            ),
        ];
        let mut wrong = Vec::new();
        for (expected, method, target, version, fields) in cases {
            let status = check(method, target, *version, fields);
            if status != *expected {
                wrong.push(format!(
                    "{method} {target} {fields:?}: {status}, not {expected}"
                ));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
