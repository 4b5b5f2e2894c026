//! Write keys: where they stand in a request, and which of them a route takes
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
    /// Takes a key that is neither empty nor longer than 256 bytes.
    pub fn new(text: &str) -> Option<Self> {
        (!text.is_empty() && text.len() <= 256).then(|| Self(text.to_owned()))
    }

    /// The key in the user name of `Authorization: Basic …`.
    ///
    /// A key encoded without the colon is tolerated, as Segment does. Any other scheme (a Bearer
    /// token of an OAuth client) yields none, and the body's key counts.
    pub fn from_authorization(header: &str) -> Option<Self> {
        let (scheme, credentials) = header.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = LENIENT.decode(credentials.trim()).ok()?;
        let text = std::str::from_utf8(&decoded).ok()?;
        Self::new(text.split_once(':').map_or(text, |(user, _)| user))
    }

    /// The key itself, to compare or to look up; not for logs.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for WriteKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WriteKey(redacted)")
    }
}

/// Where the write key of a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFrom {
    /// In `Authorization`.
    Header,
    /// In the body.
    Body,
    /// In the query.
    Query,
    /// In none of them, as far as it was looked for.
    Nowhere,
}

/// Base64 with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Which write keys a route takes, and the target (a project) that each of them stands for.
#[derive(Clone, PartialEq, Eq)]
pub enum WriteKeys<T> {
    /// Every key, and no key.
    Any(T),
    /// Only keys in this map.
    Listed(HashMap<WriteKey, T>),
}

impl<T> WriteKeys<T> {
    /// The target of a request with this key, or none when the key is missing or unknown.
    pub fn target(&self, key: Option<&WriteKey>) -> Option<&T> {
        match self {
            Self::Any(target) => Some(target),
            Self::Listed(keys) => keys.get(key?),
        }
    }

    /// Whether the key must be known before a target can be chosen.
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
