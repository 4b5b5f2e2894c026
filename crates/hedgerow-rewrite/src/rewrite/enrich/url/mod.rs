//! Reads a page's URL and its referrer as posthog-js does (mapping 5.1).
//!
//! Browsers report URLs in the normal form of the URL standard. Those are read as they are, without
//! an allocation unless a character has to be encoded. The `url` crate brings all other URLs (with
//! capitals, international names, numeric addresses, dots and backslashes in paths) into that form,
//! as a browser's `location` would.

use std::borrow::Cow;

use percent_encoding::{utf8_percent_encode, AsciiSet, CONTROLS};

mod parameters;
mod search;

pub(in crate::rewrite) use parameters::PARAMETER_NAMES;
pub use parameters::{Parameter, ParameterPrivacy, Query};
pub use search::{search_keyword, SearchEngine};

/// The characters that browsers encode in the path of a URL.
const ENCODED_IN_PATHS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// The domain that posthog-js sends for a visit without a referrer.
pub const DIRECT: &str = "$direct";

/// An absolute `http` or `https` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url<'a> {
    host: Cow<'a, str>,
    pathname: Cow<'a, str>,
}

impl<'a> Url<'a> {
    /// Parses an absolute `http(s)://` URL. Returns `None` for anything else, and for a URL that a
    /// browser rejects.
    pub fn parse(text: &'a str) -> Option<Self> {
        if let Some(normal) = NormalUrl::read(text) {
            return Some(Self {
                host: Cow::Borrowed(normal.host),
                pathname: utf8_percent_encode(normal.pathname, ENCODED_IN_PATHS).into(),
            });
        }
        let parsed = any(text)?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return None;
        }
        Some(Self {
            host: Cow::Owned(host(&parsed)?),
            pathname: Cow::Owned(parsed.path().to_owned()),
        })
    }

    /// Returns `$host`: the host in lower case, with the port unless it is the scheme's default.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns `$pathname`: at least `/`, without query and fragment, encoded as in browsers.
    pub fn pathname(&self) -> &str {
        &self.pathname
    }
}

/// Returns `$referring_domain`: the referrer's host with its port, or [`DIRECT`] for an empty
/// referrer. Returns `None` for a text without a host. URLs of other schemes (`android-app:`) may
/// have a host, too.
pub fn referring_domain(referrer: &str) -> Option<Cow<'_, str>> {
    if referrer.is_empty() {
        return Some(Cow::Borrowed(DIRECT));
    }
    if let Some(normal) = NormalUrl::read(referrer) {
        return Some(Cow::Borrowed(normal.host));
    }
    any(referrer)
        .and_then(|parsed| host(&parsed))
        .map(Cow::Owned)
}

/// The longest host name that is brought into its normal form, in characters. DNS has no longer
/// names in any script, and each label takes as long as fifty other bytes of a message. With
/// percent signs, one character may take three.
const LONGEST_HOST: usize = 253;

/// Parses a URL that is not in its normal form. Returns `None` if it is invalid, or if its host is
/// longer than any that a browser can have visited.
fn any(text: &str) -> Option<url::Url> {
    let (_, rest) = text.split_once(':')?;
    let rest = rest.trim_start_matches(['/', '\\']);
    let is_end = |byte: u8| matches!(byte, b'/' | b'\\' | b'?' | b'#');
    let end = rest.bytes().position(is_end).unwrap_or(rest.len());
    let authority = rest.get(..end).unwrap_or_default();
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let longest = match host.contains('%') {
        true => 3 * LONGEST_HOST,
        false => LONGEST_HOST,
    };
    // A port may follow the name.
    if host.len() > longest && host.chars().count() > longest + ":65535".len() {
        return None;
    }
    url::Url::parse(text).ok()
}

/// Returns host and port as a browser's `location.host` has them.
fn host(url: &url::Url) -> Option<String> {
    let name = url.host_str().filter(|name| !name.is_empty())?;
    Some(match url.port() {
        None => name.to_owned(),
        Some(port) => format!("{name}:{port}"),
    })
}

/// The parts of a web URL that is already in its normal form, except for the encoding of its path.
struct NormalUrl<'a> {
    host: &'a str,
    pathname: &'a str,
}

impl<'a> NormalUrl<'a> {
    /// Reads a URL. Returns `None` if a part may have to be changed; most URLs from browsers need
    /// no change.
    fn read(text: &'a str) -> Option<Self> {
        let (rest, default_port) = match text.strip_prefix("https://") {
            Some(rest) => (rest, "443"),
            None => (text.strip_prefix("http://")?, "80"),
        };
        let is_end = |byte: u8| matches!(byte, b'/' | b'?' | b'#');
        let end = rest.bytes().position(is_end).unwrap_or(rest.len());
        let (host, rest) = rest.split_at(end);
        let (name, port) = match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        };
        // If the last label begins with a digit, the host may be an address. `xn--` marks encoded
        // characters that must be checked, so a label with two hyphens in a row is not accepted
        // either.
        let (mut before, mut starts_with_letter) = (b'.', false);
        for byte in name.bytes() {
            match byte {
                b'a'..=b'z' if before == b'.' => starts_with_letter = true,
                b'a'..=b'z' => {}
                b'0'..=b'9' if before == b'.' => starts_with_letter = false,
                b'0'..=b'9' => {}
                b'-' if before != b'-' && before != b'.' => {}
                b'.' => starts_with_letter = false,
                _ => return None,
            }
            before = byte;
        }
        if !starts_with_letter {
            return None;
        }
        if port.is_some_and(|port| port == default_port || !is_plain_port(port)) {
            return None;
        }
        let end = rest.bytes().position(|byte| matches!(byte, b'?' | b'#'));
        let end = end.unwrap_or(rest.len());
        let pathname = rest.get(..end).filter(|path| !path.is_empty());
        let pathname = pathname.unwrap_or("/");
        // A dot after a slash, encoded or not, may be a step between folders. Spaces at the very
        // end of a URL and control characters are not part of it.
        let mut bytes = pathname.as_bytes();
        loop {
            match bytes {
                [b'/', b'.', ..] | [b'/', b'%', b'2', ..] | [b'\\', ..] => return None,
                [byte, ..] if byte.is_ascii_control() => return None,
                [_, rest @ ..] => bytes = rest,
                [] => break,
            }
        }
        if text.ends_with(' ') {
            return None;
        }
        Some(Self { host, pathname })
    }
}

/// Returns whether a port is written as browsers write it.
fn is_plain_port(port: &str) -> bool {
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    is_number && (port == "0" || !port.starts_with('0')) && port.parse::<u16>().is_ok()
}
