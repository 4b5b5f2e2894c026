//! Write keys: where a request has them, and which of them a route accepts
//! (segment-tracking 1.3).

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::DecodePaddingMode;
use base64::{alphabet, Engine};

/// A Segment write key, at most 256 bytes long. Its `Debug` form is redacted.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WriteKey(String);

impl WriteKey {
    /// Returns the key, or `None` if the text is empty or longer than 256 bytes.
    pub fn new(text: &str) -> Option<Self> {
        (!text.is_empty() && text.len() <= 256).then(|| Self(text.to_owned()))
    }

    /// Reads the key from the user name of `Authorization: Basic …`.
    ///
    /// A key that was encoded without the colon is accepted, as Segment does. Any other scheme (such as the
    /// Bearer token of an OAuth client) returns `None`, and the caller uses the body's key.
    pub fn from_authorization(header: &str) -> Option<Self> {
        let (scheme, credentials) = header.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = LENIENT.decode(credentials.trim()).ok()?;
        let text = std::str::from_utf8(&decoded).ok()?;
        Self::new(text.split_once(':').map_or(text, |(user, _)| user))
    }

    /// Returns the key's text, to compare it or to look it up. It must not be logged.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for WriteKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WriteKey(redacted)")
    }
}

/// The part of a request that contains its write key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFrom {
    /// The `Authorization` header.
    Header,
    /// The body.
    Body,
    /// The query.
    Query,
    /// None of the parts that were searched.
    Nowhere,
}

/// Base64 with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The write keys that a route accepts, and the target (a project) of each.
#[derive(Clone, PartialEq, Eq)]
pub enum WriteKeys<T> {
    /// Every request, with any key or none.
    Any(T),
    /// Only the keys in this map.
    Listed(HashMap<WriteKey, T>),
}

impl<T> WriteKeys<T> {
    /// Returns the target of a request with this key, or `None` if the key is missing or unknown.
    pub fn target(&self, key: Option<&WriteKey>) -> Option<&T> {
        match self {
            Self::Any(target) => Some(target),
            Self::Listed(keys) => keys.get(key?),
        }
    }

    /// Returns whether the key must be known before a target can be chosen.
    pub fn depends_on_key(&self) -> bool {
        matches!(self, Self::Listed(_))
    }
}

impl<T: fmt::Debug> fmt::Debug for WriteKeys<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any(target) => formatter.debug_tuple("Any").field(target).finish(),
            Self::Listed(keys) => write!(formatter, "Listed({} keys)", keys.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_user_name_of_basic_authorization() {
        for (header, expected) in [
            (
                "Basic d2tfc2hhcmVkX3Nydl8wMDAxOg==",
                Some("wk_shared_srv_0001"),
            ),
            (
                "basic  d2tfc2hhcmVkX3Nydl8wMDAxOg",
                Some("wk_shared_srv_0001"),
            ),
            ("Basic d2tfc2hhcmVkX3Nydl8wMDAx", Some("wk_shared_srv_0001")),
            ("Bearer abc", None),
            ("Basic Og==", None),
            ("Basic !!", None),
            ("Basic", None),
        ] {
            let key = WriteKey::from_authorization(header);
            assert_eq!(key.as_ref().map(WriteKey::expose), expected, "{header}");
        }
    }

    #[test]
    fn a_listed_route_takes_its_keys_only() {
        let key = |text| WriteKey::new(text).unwrap();
        let keys = WriteKeys::Listed(HashMap::from([(key("a"), 1), (key("b"), 2)]));
        assert_eq!(keys.target(Some(&key("b"))), Some(&2));
        assert_eq!(keys.target(Some(&key("c"))), None);
        assert_eq!(keys.target(None), None);
        assert_eq!(WriteKeys::Any(7).target(None), Some(&7));
        assert!(!format!("{keys:?} {:?}", key("secret")).contains("secret"));
    }
}
