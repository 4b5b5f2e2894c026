//! The checks of a request's head before a route is chosen: the server that gets the request must read
//! its target and host as this proxy does (RFC 9110, RFC 9112).

use http::{header, HeaderMap, Method, StatusCode, Version};

/// Why a request is rejected because of its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadFault {
    /// The target is neither a path, nor a whole `http` address, nor the `*` of `OPTIONS`.
    Target,
    /// A segment of the path is `.` or `..`, plain or encoded: the server would resolve it after the
    /// route has been chosen.
    DotSegment,
    /// The path belongs to another route if characters that need no encoding are decoded and repeated
    /// slashes are merged, as the server may do.
    TwoRoutes,
    /// An HTTP/1.1, HTTP/2 or HTTP/3 request that names no host.
    NoHost,
    /// The host is not a name or an address with or without a port.
    Host,
    /// The method `TRACE` or `TRACK`: the answer would show a request's cookies in a body that scripts
    /// can read.
    Trace,
    /// The method `CONNECT`: it requests a tunnel, which this proxy does not open.
    Connect,
    /// A transfer coding other than a single `chunked`.
    TransferCoding,
}

impl HeadFault {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Target | Self::DotSegment | Self::TwoRoutes | Self::NoHost | Self::Host => {
                StatusCode::BAD_REQUEST
            }
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
    /// `:authority` of HTTP/2.
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
    /// Returns the first fault.
    pub fn check(&self) -> Result<(), HeadFault> {
        // Methods are case-sensitive, but not every server respects that. Microsoft's servers also know
        // TRACE as TRACK.
        let is = |name: &str| self.method.as_str().eq_ignore_ascii_case(name);
        if is("TRACE") || is("TRACK") {
            return Err(HeadFault::Trace);
        }
        if is("CONNECT") {
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
        // Browsers never send a fragment, and servers disagree about where the path ends if there is one.
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
        let is_missing = match self.version {
            // HTTP/1.1 requires `Host` even if the target names the host (RFC 9112, 3.2).
            Version::HTTP_11 => in_header.is_none(),
            Version::HTTP_2 | Version::HTTP_3 => in_header.is_none() && self.authority.is_none(),
            _ => false,
        };
        if is_missing {
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

/// Whether the target is a path, and the host a valid one, so that [`RequestHead::check`] would
/// accept both.
pub fn is_plain(target: &[u8], host: &[u8]) -> bool {
    let end = target.iter().position(|byte| *byte == b'?');
    let path = target
        .get(..end.unwrap_or(target.len()))
        .unwrap_or_default();
    path.starts_with(b"/") && !target.contains(&b'#') && !has_dot_segment(path) && is_host(host)
}

/// Splits a request target into the authority and the rest; returns `None` for an invalid target. An
/// `https` target over a connection without TLS is accepted as well, because only the host matters.
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

/// Whether a host is a name or an address, with or without a port (RFC 9110, 7.2). Names with other
/// characters than those allowed here do not exist in DNS, and servers cut them at different places.
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
    // Empty labels do not exist in DNS either, and servers that have a folder for each host would leave it.
    let has_labels = |name: &str| !name.starts_with('.') && !name.contains("..");
    let name_fits =
        name.is_none_or(|name| !name.is_empty() && has_labels(name) && name.bytes().all(in_names));
    let port_fits = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some("") => true,
        Some(digits) => {
            let fits = digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
            fits && digits.parse::<u16>().is_ok()
        }
    };
    name_fits && port_fits
}

/// Whether two hosts are the same one (RFC 9110, 4.2.3). The case, the default port of this scheme and
/// a dot at the name's end make no difference.
pub fn is_same_host(one: &[u8], other: &[u8], scheme: &[u8]) -> bool {
    let default: &[u8] = match scheme.eq_ignore_ascii_case(b"https") {
        true => b"443",
        false => b"80",
    };
    let name = |host: &[u8]| {
        let port = host.iter().rposition(|byte| *byte == b':');
        // A colon within the brackets of an IPv6 address does not begin a port.
        let port = port.filter(|place| !host.get(*place..).unwrap_or_default().contains(&b']'));
        let (name, port) = host.split_at(port.unwrap_or(host.len()));
        // The final dot stands for the DNS root (RFC 1034, 3.1).
        let name = name.strip_suffix(b".").unwrap_or(name);
        let plain = port.is_empty() || port == b":" || port.get(1..) == Some(default);
        let port = if plain { &[][..] } else { port };
        (name.to_ascii_lowercase(), port.to_vec())
    };
    is_host(one) && is_host(other) && name(one) == name(other)
}

/// Whether a server may read a segment of the path as `.` or `..`: also if it is encoded, separated by
/// backslashes, followed by parameters that some servers cut off (`..;x`), or by blanks that some file
/// systems cut off. Also whether the path contains a NUL.
pub fn has_dot_segment(path: &[u8]) -> bool {
    !is_ordinary(path)
        && (reads_dot_segment(path, Continuation::Utf8)
            || reads_dot_segment(path, Continuation::Any))
}

/// Whether no segment of the path begins with a dot, and no character has another meaning for any server.
/// Nearly all paths are like this, so the exact check is rarely needed.
fn is_ordinary(path: &[u8]) -> bool {
    let mut before = b'/';
    path.iter().all(|byte| {
        let begins_segment = before == b'/';
        before = *byte;
        match byte {
            b'.' => !begins_segment,
            b'%' | b'\\' => false,
            byte => byte.is_ascii_graphic(),
        }
    })
}

fn reads_dot_segment(path: &[u8], continuation: Continuation) -> bool {
    let mut segment = Segment::Start;
    let mut rest = path;
    while let Some((byte, after)) = decoded(rest, continuation) {
        rest = after;
        segment = match (byte, segment) {
            // The path ends at a NUL for servers that are written in C.
            (0, _) => return true,
            (b'/' | b'\\', Segment::Dot | Segment::Dots | Segment::Blanks) => return true,
            (b'/' | b'\\', _) => Segment::Start,
            // Where some servers end a segment, and the path if they decode it first.
            (b';' | b'?' | b'#', Segment::Dot | Segment::Dots | Segment::Blanks) => return true,
            (b'.', Segment::Start) => Segment::Dot,
            (b'.', Segment::Dot) => Segment::Dots,
            (1..=b' ' | 0x7f, Segment::Dot | Segment::Dots | Segment::Blanks) => Segment::Blanks,
            _ => Segment::Other,
        };
    }
    matches!(segment, Segment::Dot | Segment::Dots | Segment::Blanks)
}

/// The content of a segment so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segment {
    Start,
    /// One dot.
    Dot,
    /// Two dots.
    Dots,
    /// One dot or two, and blanks or control characters.
    Blanks,
    Other,
}

/// Returns the first character of a path as a server may read it, and the rest. The character is decoded
/// once; also as old servers do it, from `%u` and four digits or from overlong UTF-8. Unicode characters
/// that look like `.`, `/`, `\` or `;` become these, and all others outside ASCII become 0xff.
fn decoded(path: &[u8], continuation: Continuation) -> Option<(u8, &[u8])> {
    let long = path.strip_prefix(b"%u").or(path.strip_prefix(b"%U"));
    if let Some((value, after)) = long.and_then(|digits| hex(digits, 4)) {
        return Some((folded(u32::from(value)), after));
    }
    let (first, after) = byte(path)?;
    let (longer, bits, continuation) = match first {
        0xc0 | 0xc1 => (1, first & 0x01, continuation),
        0xe0..=0xef => (2, first & 0x0f, Continuation::Utf8),
        0xf0..=0xf7 => (3, first & 0x07, Continuation::Utf8),
        // Longer forms, which UTF-8 once had.
        0xf8..=0xfb => (4, first & 0x03, Continuation::Utf8),
        0xfc..=0xfd => (5, first & 0x01, Continuation::Utf8),
        _ => return Some((if first < 0x80 { first } else { u8::MAX }, after)),
    };
    let mut value = u32::from(bits);
    let mut rest = after;
    for _ in 0..longer {
        match byte(rest) {
            Some((next, behind))
                if continuation == Continuation::Any || matches!(next, 0x80..=0xbf) =>
            {
                value = value << 6 | u32::from(next & 0x3f);
                rest = behind;
            }
            _ => return Some((u8::MAX, after)),
        }
    }
    Some((folded(value), rest))
}

/// Which byte a server accepts after 0xc0 and 0xc1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Continuation {
    /// Only a continuation byte of UTF-8; any other byte is a character of its own.
    Utf8,
    /// Any byte, of which the last six bits count: `%c0%2e` is a dot.
    Any,
}

/// Returns the first byte of a path, decoded if it is encoded, and the rest.
fn byte(path: &[u8]) -> Option<(u8, &[u8])> {
    if let Some((value, after)) = path.strip_prefix(b"%").and_then(|digits| hex(digits, 2)) {
        return Some((u8::try_from(value).unwrap_or(u8::MAX), after));
    }
    path.split_first().map(|(first, rest)| (*first, rest))
}

/// Returns the ASCII character to which some servers convert a character; 0xff if there is none.
fn folded(character: u32) -> u8 {
    match character {
        // The second is two dots in one character.
        0x2024 | 0x2025 | 0xfe52 | 0xff0e => b'.',
        0x2044 | 0x2215 | 0xff0f => b'/',
        0x2216 | 0xfe68 | 0xff3c => b'\\',
        0xff1b => b';',
        other => u8::try_from(other)
            .ok()
            .filter(u8::is_ascii)
            .unwrap_or(u8::MAX),
    }
}

/// Returns a path as servers compare it: characters that need no encoding are decoded (RFC 3986, 6.2.2),
/// and so are encoded slashes; repeated slashes are merged. Returns `None` if this changes nothing.
pub fn normal(path: &str) -> Option<String> {
    if !path.contains('%') && !path.contains("//") {
        return None;
    }
    let mut normal = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let encoded = (*first == b'%').then(|| hex(behind, 2)).flatten();
        let decoded = encoded.and_then(|(value, after)| {
            let value = u8::try_from(value).ok()?;
            let plain = value.is_ascii_alphanumeric() || b"-._~/".contains(&value);
            plain.then_some((value, after))
        });
        let (byte, after) = decoded.unwrap_or((*first, behind));
        if byte != b'/' || normal.last() != Some(&b'/') {
            normal.push(byte);
        }
        rest = after;
    }
    // Only ASCII characters were added or removed, so it is still valid UTF-8.
    let normal = String::from_utf8(normal).ok()?;
    (normal != path).then_some(normal)
}

/// Reads a number of `count` hexadecimal digits. Returns it and the rest.
fn hex(text: &[u8], count: usize) -> Option<(u16, &[u8])> {
    let (digits, after) = text.split_at_checked(count)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let digits = std::str::from_utf8(digits).ok()?;
    Some((u16::from_str_radix(digits, 16).ok()?, after))
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
