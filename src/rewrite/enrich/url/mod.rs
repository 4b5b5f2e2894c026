//! What a page's URL and its referrer say, in posthog-js's terms (mapping 5.1).
//!
//! Nothing is allocated where nothing has to be decoded, encoded or put in lower case. Dots and
//! backslashes in paths and hosts outside ASCII are not brought into normal form, as in a
//! browser's `location`: browsers have done so before they report a URL.

use std::borrow::Cow;

use percent_encoding::{utf8_percent_encode, AsciiSet, CONTROLS};

mod parameters;
mod search;

pub use parameters::{Parameter, Privacy, Query};
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
    /// Parses an absolute `http(s)://` URL. None for anything else.
    ///
    /// A host outside ASCII, with a percent sign or with characters that no host has makes it
    /// none. Numeric and IPv6 hosts are taken as they stand.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = split_scheme(text)?;
        if !["http", "https"]
            .iter()
            .any(|web| scheme.eq_ignore_ascii_case(web))
        {
            return None;
        }
        let (authority, rest) = split_authority(rest);
        let end = rest.find(['?', '#']).unwrap_or(rest.len());
        let pathname = rest.get(..end).filter(|path| !path.is_empty());
        Some(Self {
            host: host(authority, default_port(scheme))?,
            pathname: utf8_percent_encode(pathname.unwrap_or("/"), ENCODED_IN_PATHS).into(),
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
    let (scheme, rest) = split_scheme(referrer)?;
    host(split_authority(rest).0, default_port(scheme))
}

/// Host and port of an authority as a browser's `location.host` has them. A scheme without a
/// default port is opaque to browsers: its hosts keep their capitals.
fn host(authority: &str, default_port: Option<u16>) -> Option<Cow<'_, str>> {
    let text = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let host_end = match text.strip_prefix('[') {
        Some(_) => text.find(']')? + 1,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(host_end);
    let is_bracketed = host.starts_with('[');
    if host.is_empty() || !host.bytes().all(|byte| is_host_byte(byte, is_bracketed)) {
        return None;
    }
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits,
        None if port.is_empty() => "",
        _ => return None,
    };
    let number = match port {
        "" => None,
        digits => Some(digits.parse::<u16>().ok()?),
    };
    let mut host = match number.filter(|number| Some(*number) != default_port) {
        None => Cow::Borrowed(host),
        Some(_) if port == "0" || !port.starts_with('0') => Cow::Borrowed(text),
        Some(number) => Cow::Owned(format!("{host}:{number}")),
    };
    if default_port.is_some() && host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        host.to_mut().make_ascii_lowercase();
    }
    Some(host)
}

/// Bytes of host names and addresses. A percent sign is not among them: what it stands for would
/// have to be decoded and checked again.
fn is_host_byte(byte: u8, is_bracketed: bool) -> bool {
    match byte {
        b'[' | b']' | b':' => is_bracketed,
        b'%' | b'#' | b'/' | b'<' | b'>' | b'?' | b'@' | b'\\' | b'^' | b'|' => false,
        _ => byte.is_ascii_graphic(),
    }
}

/// The scheme, and what follows the two slashes behind it. Space around a URL is not part of it.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_matches(|character| character <= ' ');
    let (scheme, rest) = text.split_once("://")?;
    let mut bytes = scheme.bytes();
    let is_scheme = bytes.next()?.is_ascii_alphabetic()
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    is_scheme.then_some((scheme, rest))
}

/// The authority, and what follows it.
fn split_authority(text: &str) -> (&str, &str) {
    text.split_at(text.find(['/', '\\', '?', '#']).unwrap_or(text.len()))
}

/// The port that goes without saying; none for a scheme that browsers treat as opaque.
fn default_port(scheme: &str) -> Option<u16> {
    [
        ("http", 80),
        ("https", 443),
        ("ws", 80),
        ("wss", 443),
        ("ftp", 21),
    ]
    .into_iter()
    .find(|(name, _)| scheme.eq_ignore_ascii_case(name))
    .map(|(_, port)| port)
}

/// Whether a dot in one of posthog-js's expressions stops before this character.
fn is_line_end(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}
