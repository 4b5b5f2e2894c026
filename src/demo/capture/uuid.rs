//! UUIDs as capture reads and mints them (posthog-ingestion 3.4).

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

/// A UUID; printed with dashes, lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(u128);

impl Uuid {
    /// Reads the spellings that Rust's usual parser knows: 32 digits, with dashes, with dashes in
    /// braces, and as a URN.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = match text.len() {
            32 => text.to_owned(),
            36 => without_dashes(text)?,
            38 => without_dashes(text.strip_prefix('{')?.strip_suffix('}')?)?,
            45 => without_dashes(text.strip_prefix("urn:uuid:")?)?,
            _ => return None,
        };
        // `from_str_radix` would take a sign.
        if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(&digits, 16).ok().map(Self)
    }

    /// A version 7 UUID of this time. Its other bits are `count`: unique among those minted here,
    /// not random.
    pub(super) fn mint(time: DateTime<Utc>, count: u64) -> Self {
        let millis = u128::from(time.timestamp_millis().max(0).unsigned_abs()) & ((1 << 48) - 1);
        let count = u128::from(count) & ((1 << 62) - 1);
        Self(millis << 80 | 7 << 76 | 0b10 << 62 | count)
    }

    /// The version, 7 for ids that carry a time.
    pub fn version(self) -> u8 {
        // Four bits fit.
        u8::try_from((self.0 >> 76) & 0xf).unwrap_or_default()
    }
}

fn without_dashes(text: &str) -> Option<String> {
    let dashed = [8, 13, 18, 23];
    let fits = text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| (byte == b'-') == dashed.contains(&at));
    fits.then(|| text.replace('-', ""))
}

impl fmt::Display for Uuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            self.0 >> 96,
            self.0 >> 80 & 0xffff,
            self.0 >> 64 & 0xffff,
            self.0 >> 48 & 0xffff,
            self.0 & ((1 << 48) - 1)
        )
    }
}

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_uuid_is_read_and_nothing_else() {
        let plain = "0199f8a1-c0de-7abc-8def-0123456789ab";
        for text in [
            plain,
            "0199F8A1-C0DE-7ABC-8DEF-0123456789AB",
            "0199f8a1c0de7abc8def0123456789ab",
            "{0199f8a1-c0de-7abc-8def-0123456789ab}",
            "urn:uuid:0199f8a1-c0de-7abc-8def-0123456789ab",
        ] {
            let read = Uuid::parse(text);
            assert_eq!(read.map(|uuid| uuid.to_string()).as_deref(), Some(plain));
        }
        for text in [
            "",
            "ajs-next-1795166130250-4c1f",
            "0199f8a1-c0de-7abc-8def-0123456789a",
            "0199f8a1-c0de-7abc-8def-0123456789ag",
            "0199f8a1c-0de-7abc-8def-0123456789ab",
            "+199f8a1c0de7abc8def0123456789ab",
            "é199f8a1-c0de-7abc-8def-0123456789a",
        ] {
            assert_eq!(Uuid::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_minted_uuid_is_a_version_7_of_its_time() {
        let time = DateTime::from_timestamp_millis(1_795_166_130_250).unwrap();
        let uuid = Uuid::mint(time, 5);
        assert_eq!(uuid.to_string(), "01a1f83d-504a-7000-8000-000000000005");
        assert_eq!(uuid.version(), 7);
        assert!(Uuid::parse(&uuid.to_string()).is_some());
    }
}
