//! What a page's URL and its referrer say, in posthog-js's terms (mapping 5.1).
//!
//! Browsers report URLs in the normal form of the URL standard, and those are read as they stand:
//! nothing is allocated where nothing has to be encoded. Whatever else a sender writes (capitals,
//! international names, numeric addresses, dots and backslashes in paths) is brought into that form
//! by the `url` crate, as a browser's `location` would.

use std::borrow::Cow;

use percent_encoding::{utf8_percent_encode, AsciiSet, CONTROLS};

mod parameters;
mod search;

pub(in crate::rewrite) use parameters::PARAMETER_NAMES;
pub use parameters::{Parameter, ParameterPrivacy, Query};
pub use search::{search_keyword, SearchEngine};

/// What browsers encode in the path of a URL.
const ENCODED_IN_PATHS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// What posthog-js sends as the domain of a visit without a referrer.
pub const DIRECT: &str = "$direct";

/// An absolute `http` or `https` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url<'a> {
    host: Cow<'a, str>,
    pathname: Cow<'a, str>,
}

impl<'a> Url<'a> {
    /// Parses an absolute `http(s)://` URL. None for anything else, and for one that a browser takes
    /// for broken.
    pub fn parse(text: &'a str) -> Option<Self> {
        if let Some(normal) = Normal::read(text) {
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

    /// `$host`: the host in lower case, with the port unless it is the scheme's own.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `$pathname`: `/` at least, without query and fragment; what browsers encode is encoded.
    pub fn pathname(&self) -> &str {
        &self.pathname
    }
}

/// `$referring_domain`: the referrer's host with its port, [`DIRECT`] for an empty referrer,
/// nothing for a text that names no host. Other schemes than the web's (`android-app:`) do.
pub fn referring_domain(referrer: &str) -> Option<Cow<'_, str>> {
    if referrer.is_empty() {
        return Some(Cow::Borrowed(DIRECT));
    }
    if let Some(normal) = Normal::read(referrer) {
        return Some(Cow::Borrowed(normal.host));
    }
    any(referrer)
        .and_then(|parsed| host(&parsed))
        .map(Cow::Owned)
}

/// The longest name of a host that is brought into its normal form, in characters, as none of DNS is longer
/// in any script: each label of it takes as long as fifty other bytes of a message. Percent signs make
/// three of one.
const LONGEST_HOST: usize = 253;

/// A URL that is not in its normal form, unless no browser can have been there.
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
    // Behind the name there may be a port.
    if host.len() > longest && host.chars().count() > longest + ":65535".len() {
        return None;
    }
    url::Url::parse(text).ok()
}

/// Host and port as a browser's `location.host` has them.
fn host(url: &url::Url) -> Option<String> {
    let name = url.host_str().filter(|name| !name.is_empty())?;
    Some(match url.port() {
        None => name.to_owned(),
        Some(port) => format!("{name}:{port}"),
    })
}

/// The parts of a web URL that is in its normal form already, but for the encoding of its path.
struct Normal<'a> {
    host: &'a str,
    pathname: &'a str,
}

impl<'a> Normal<'a> {
    /// None for whatever may have to be changed; most of what browsers send is not.
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
        // What ends in a number is an address, and `xn--` stands for characters to be checked. What
        // holds two hyphens may hold that.
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
        // Dots, encoded or not, may be steps between folders. Spaces at the very end of a URL and
        // control characters are no part of it.
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

/// Whether a port is written as browsers write it.
fn is_plain_port(port: &str) -> bool {
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    is_number && (port == "0" || !port.starts_with('0')) && port.parse::<u16>().is_ok()
}

/// Whether a dot in one of posthog-js's expressions stops before this character.
fn is_line_end(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}
