//! Recognises the names of known keys with one look into a table.
//!
//! A key is recognised once, when it is scanned; later lookups only compare a number.

mod chunk;

use super::keys::{hash, hash_of_constant, hash_of_word, known_word, Word};
pub(in crate::rewrite) use chunk::Chunk;

/// The number of a known key, or a number for all unknown keys of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::rewrite) struct Name(pub(super) u8);

/// All known names. The first entry represents every other key.
pub(super) const NAMES: &[&str] = &[
    "",
    // Keys of a message.
    "_metadata",
    "anonymousId",
    "batch",
    "category",
    "context",
    "event",
    "groupId",
    "integrations",
    "messageId",
    "name",
    "originalTimestamp",
    "previousId",
    "properties",
    "receivedAt",
    "sentAt",
    "timestamp",
    "traits",
    "type",
    "userId",
    "writeKey",
    // Keys of `integrations`.
    "Actions Amplitude",
    "All",
    "PostHog",
    // Keys of `context`.
    "app",
    "campaign",
    "device",
    "device.type",
    "direct",
    "ip",
    "library",
    "library_name",
    "library_version",
    "locale",
    "message_id",
    "network",
    "original_timestamp",
    "os",
    "os.name",
    "page",
    "page.path",
    "page.referrer",
    "page.url",
    "screen",
    "screen.height",
    "screen.width",
    "sent_at",
    "sessionId",
    "timezone",
    "userAgent",
    "userAgentData",
    "windowId",
    // Keys of the objects in `context`.
    "bluetooth",
    "brands",
    "build",
    "carrier",
    "cellular",
    "content",
    "density",
    "height",
    "id",
    "innerHeight",
    "innerWidth",
    "manufacturer",
    "medium",
    "mobile",
    "model",
    "namespace",
    "path",
    "platform",
    "platformVersion",
    "referrer",
    "search",
    "source",
    "term",
    "title",
    "url",
    "version",
    "wifi",
    "width",
    // Keys of the message's `properties`, and of the event's.
    "$anon_distinct_id",
    "$app_build",
    "$app_name",
    "$app_namespace",
    "$app_version",
    "$browser",
    "$browser_language",
    "$browser_language_prefix",
    "$browser_version",
    "$config_defaults",
    "$configured_session_timeout_ms",
    "$cookieless_mode",
    "$current_url",
    "$device",
    "$device_id",
    "$device_manufacturer",
    "$device_model",
    "$device_name",
    "$device_type",
    "$geoip_disable",
    "$groups",
    "$group_key",
    "$group_set",
    "$group_type",
    "$host",
    "$initialization_time",
    "$insert_id",
    "$ip",
    "$is_identified",
    "$lib",
    "$lib_version",
    "$locale",
    "$network_bluetooth",
    "$network_carrier",
    "$network_cellular",
    "$network_wifi",
    "$os",
    "$os_version",
    "$pathname",
    "$process_person_profile",
    "$raw_user_agent",
    "$referrer",
    "$referring_domain",
    "$screen_density",
    "$screen_height",
    "$screen_name",
    "$screen_width",
    "$search_engine",
    "$session_id",
    "$set",
    "$set_once",
    "$time",
    "$timezone",
    "$unset",
    "$viewport_height",
    "$viewport_width",
    "$webview_app",
    "$webview_app_version",
    "$window_id",
    "alias",
    "browser",
    "distinct_id",
    "ph_keyword",
    "segment_ip",
    "segment_library_name",
    "segment_library_version",
    "segment_message_id",
    "segment_original_timestamp",
    "segment_sent_at",
    "segment_userAgent",
    "token",
    "utm_campaign",
    "utm_content",
    "utm_id",
    "utm_medium",
    "utm_name",
    "utm_source",
    "utm_term",
    "viewport_height",
    "viewport_width",
    // Parameters of a page's address, which become properties of the event.
    "_kx",
    "bfcid",
    "dclid",
    "epik",
    "fbclid",
    "gad_source",
    "gbraid",
    "gclid",
    "gclsrc",
    "igshid",
    "irclid",
    "li_fat_id",
    "mc_cid",
    "msclkid",
    "oppref",
    "qclid",
    "rdt_cid",
    "sccid",
    "ttclid",
    "twclid",
    "wbraid",
];

/// Returns a [`Name`] that is looked up at compile time.
macro_rules! name {
    ($name:expr) => {
        const { $crate::rewrite::json::Name::known($name) }
    };
}
pub(in crate::rewrite) use name;

impl Name {
    /// Any unknown key that begins with none of [`PREFIXES`].
    pub(in crate::rewrite) const OTHER: Self = Self(0);

    /// An unknown key that begins with one of [`PREFIXES`].
    pub(super) const PREFIXED: Self = Self(NAMES.len() as u8);

    /// Returns the name of a constant text, which must be in the list.
    #[allow(clippy::panic, clippy::indexing_slicing)]
    pub(in crate::rewrite) const fn known(text: &str) -> Self {
        let mut index = 1;
        while index < NAMES.len() {
            if is_same(NAMES[index].as_bytes(), text.as_bytes()) {
                return Self(index as u8);
            }
            index += 1;
        }
        panic!("a name that is asked for stands in the list")
    }

    /// The number of possible names.
    pub(in crate::rewrite) const COUNT: usize = 256;

    /// Returns its number, below [`COUNT`](Self::COUNT).
    #[inline(always)]
    pub(in crate::rewrite) const fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns the name of any text.
    pub(in crate::rewrite) fn of_text(text: &[u8]) -> Self {
        match known_word(text) {
            Some(word) => Self::of_word(word, hash_of_word(word)),
            None => Self::of(text, hash(text)),
        }
    }

    /// Returns the text of the name; it is empty for an unknown key.
    pub(in crate::rewrite) fn text(self) -> &'static str {
        NAMES.get(usize::from(self.0)).copied().unwrap_or_default()
    }

    /// Returns the bytes that begin its entry after another one: a comma, the name in quotes and a colon.
    #[inline(always)]
    pub(in crate::rewrite) fn entry(self) -> &'static Chunk {
        WRITTEN.get(usize::from(self.0)).unwrap_or(&NOTHING)
    }

    /// Returns the name of a key that fits into a word.
    #[inline(always)]
    pub(super) fn of_word(word: Word, hash: u32) -> Self {
        let mut slot = first_slot(hash);
        loop {
            let index = TABLE.get(slot).copied().unwrap_or(0);
            if index == 0 {
                return Self::unknown(word as u32);
            }
            if WORDS.get(usize::from(index)) == Some(&word) {
                return Self(index);
            }
            slot = next_slot(slot);
        }
    }

    /// Returns the name of any key, whose hash is given.
    pub(super) fn of(key: &[u8], hash: u32) -> Self {
        let mut slot = first_slot(hash);
        loop {
            let index = TABLE.get(slot).copied().unwrap_or(0);
            if index == 0 {
                let first = key.first_chunk().copied();
                return Self::unknown(first.map_or(0, u32::from_le_bytes));
            }
            let name = NAMES.get(usize::from(index)).copied().unwrap_or_default();
            if name.as_bytes() == key {
                return Self(index);
            }
            slot = next_slot(slot);
        }
    }

    /// Whether it is the name of an unknown key.
    #[inline(always)]
    pub(super) fn is_unknown(self) -> bool {
        matches!(self, Self::OTHER | Self::PREFIXED)
    }

    /// Returns the name of an unknown key that begins with these four bytes.
    #[inline(always)]
    fn unknown(first: u32) -> Self {
        let is_prefixed = PREFIXES
            .iter()
            .any(|prefix| first == u32::from_le_bytes(**prefix));
        match is_prefixed {
            true => Self::PREFIXED,
            false => Self::OTHER,
        }
    }
}

/// The first bytes of the prefixes that the keys of the context get as properties.
pub(super) const PREFIXES: [&[u8; 4]; 2] = [b"utm_", b"segm"];

static NOTHING: Chunk = Chunk {
    bytes: [0; Chunk::ROOM],
    length: 0,
};

/// The bytes of each name as a key, after another entry.
#[allow(clippy::indexing_slicing)]
static WRITTEN: [Chunk; 256] = {
    let mut written = [Chunk::of([b""; 3]); 256];
    let mut index = 0;
    while index < NAMES.len() {
        written[index] = Chunk::of([b",\"", NAMES[index].as_bytes(), b"\":"]);
        index += 1;
    }
    written
};

/// The number of slots of the table. Most are empty, so that a lookup inspects few of them.
const SLOTS: usize = 1024;

#[inline(always)]
const fn first_slot(hash: u32) -> usize {
    (hash >> (u32::BITS - SLOTS.trailing_zeros())) as usize
}

#[inline(always)]
const fn next_slot(slot: usize) -> usize {
    (slot + 1) % SLOTS
}

/// A hash table of all names. A name is in the first slot that was free, from the slot of its hash on.
#[allow(clippy::indexing_slicing)]
static TABLE: [u8; SLOTS] = {
    let mut table = [0; SLOTS];
    let mut index = 1;
    while index < NAMES.len() {
        let mut slot = first_slot(hash_of_constant(NAMES[index].as_bytes()));
        while table[slot] != 0 {
            slot = next_slot(slot);
        }
        table[slot] = index as u8;
        index += 1;
    }
    table
};

/// The word of each name that fits into one. For the others it is a single control character, which is
/// never the word of a key.
#[allow(clippy::indexing_slicing)]
static WORDS: [Word; 256] = {
    let mut words = [1; 256];
    let mut index = 1;
    while index < NAMES.len() {
        let name = NAMES[index].as_bytes();
        if name.len() <= size_of::<Word>() {
            let mut word = 0;
            let mut at = name.len();
            while at > 0 {
                at -= 1;
                word = word << 8 | name[at] as Word;
            }
            words[index] = word;
        }
        index += 1;
    }
    words
};

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let (mut one, mut other) = (one, other);
    while let ([first, rest @ ..], [second, others @ ..]) = (one, other) {
        if *first != *second {
            return false;
        }
        (one, other) = (rest, others);
    }
    true
}

#[cfg(test)]
mod tests;
