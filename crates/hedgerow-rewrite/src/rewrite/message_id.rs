//! Computes the uuid of an event from the `messageId`, as PostHog's own Segment destination does. So
//! PostHog deduplicates retries and the events of both during a parallel run (mapping 1.2).

use std::hash::Hasher;

use sha1::{Digest, Sha1};
use siphasher::sip128::{Hasher128, SipHasher13};

use super::enrich::uuid7::{hyphenated, Uuid7};
use super::json::Value;
use super::mapping::Mode;
use super::message::Message;
use super::moment::moment;
use super::sha1_blocks::hash_of;
use super::usable;

/// UUID v5 of the name "PostHog" in the nil namespace.
const NAMESPACE: [u8; 16] = [
    0x67, 0x1b, 0xc8, 0x69, 0xc8, 0xec, 0x5b, 0xcb, 0x9b, 0xb5, 0x8d, 0x78, 0x8b, 0xd2, 0x05, 0x13,
];

/// An event's uuid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct EventUuid(u128);

impl EventUuid {
    /// Returns the uuid of version 5 for a message id in PostHog's namespace (RFC 9562, 5.5).
    #[inline(never)]
    pub(super) fn v5(message_id: &str) -> Self {
        let [a, b, c, d, _] = hash_of(&NAMESPACE, message_id.as_bytes());
        let (version, variant) = (0x5000, 0x8000_0000);
        let b = b & 0xffff_0fff | version;
        let c = c & 0x3fff_ffff | variant;
        let words = [a, b, c, d].map(u128::from);
        Self(words.into_iter().fold(0, |uuid, word| uuid << 32 | word))
    }

    /// Returns the uuid as text of 36 characters.
    #[inline(always)]
    pub(super) fn text(self) -> [u8; 36] {
        hyphenated(self.0.to_be_bytes())
    }
}

impl From<Uuid7> for EventUuid {
    fn from(uuid: Uuid7) -> Self {
        Self(u128::from_be_bytes(*uuid.as_bytes()))
    }
}

/// Returns the message id that the client sent. The reference mode accepts any string, even an empty one.
/// But PostHog would take all events with an empty or placeholder id for one event, so the enriched mode
/// treats such an id as missing.
#[inline(always)]
pub(super) fn given(
    id: Option<Value>,
    text: &str,
    mode: Mode,
) -> Option<std::borrow::Cow<'_, str>> {
    let id = id.filter(|id| id.is_string())?;
    match mode {
        Mode::Reference => Some(id.decode_str(text)),
        Mode::Enriched => usable::text_of_str(id, text),
    }
}

/// The position of a message, from which the id of a message without one is computed.
#[derive(Debug, Clone, Copy)]
pub(super) struct MessagePosition {
    /// Its index in the body, from 0.
    pub(super) index: usize,
    /// Random bits of the request.
    pub(super) nonce: u128,
}

/// Returns an id for a message that has none.
///
/// If the message has a readable time, the id is a hash of the message and of its index, so that a
/// client's retry gets the same id. The hash excludes the fields that change between retries (`sentAt`,
/// `_metadata`) and the write key. Without a readable time the id is random: two equal heartbeats are
/// two events.
pub(super) fn made(message: &Message, text: &[u8], position: MessagePosition) -> String {
    let times = [message.timestamp(), message.original_timestamp()];
    let is_timed = times
        .into_iter()
        .flatten()
        .any(|time| moment(time, text).is_some());
    if !is_timed {
        return random(text, position);
    }
    let mut hash = Sha1::new();
    hash.update(position.index.to_be_bytes());
    let mut changing: [Option<Value>; 3] =
        [message.sent_at(), message.metadata(), message.write_key()];
    changing.sort_by_key(|value| value.map(|value| value.span.start()));
    let mut at = 0;
    for value in changing.into_iter().flatten() {
        hash.update(text.get(at..value.span.start()).unwrap_or_default());
        at = value.span.end();
    }
    hash.update(text.get(at..).unwrap_or_default());
    named(&hash.finalize())
}

/// Returns a random id: a hash of the message and its index, keyed with the request's nonce. Messages that
/// need one are the smallest of all, so the id is short: its uuid needs only one SHA-1 block.
fn random(text: &[u8], place: MessagePosition) -> String {
    let (high, low) = ((place.nonce >> 64) as u64, place.nonce as u64);
    let mut hash = SipHasher13::new_with_keys(high, low);
    hash.write(&place.index.to_be_bytes());
    hash.write(text);
    let digest = hash.finish128().as_bytes();
    named(digest.first_chunk::<15>().map_or(&digest[..], |part| part))
}

fn named(digest: &[u8]) -> String {
    const NAME: &[u8] = b"hedgerow-";
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    // Room for the longest digest, that of SHA-1.
    let mut id = [0; NAME.len() + 2 * 20];
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.map(|digit| DIGITS.get(usize::from(digit)).copied().unwrap_or(b'0'));
    for (place, byte) in id.iter_mut().zip(NAME.iter().copied().chain(digits)) {
        *place = byte;
    }
    let length = NAME.len() + 2 * digest.len();
    let id = id.get(..length).unwrap_or(&id);
    // It is ASCII.
    std::str::from_utf8(id).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::json::Scratch;
    use super::*;

    fn uuid(message_id: &str) -> String {
        String::from_utf8(EventUuid::v5(message_id).text().to_vec()).unwrap()
    }

    #[test]
    fn uuids_are_those_of_posthogs_destination() {
        let long = "x".repeat(1000);
        for (message_id, expected) in [
            (
                "ajs-f8ca1e4de5024d9430b3928bd8ac6b96",
                "2e1e762e-c318-5c5b-a96e-955e840a3cf2",
            ),
            (
                "022bb90c-bbac-11e4-8dfc-aa07a5b093db",
                "38c091ab-1857-58c9-bf58-b98a022f95dd",
            ),
            ("", "b7995791-6db7-5099-9c72-a2fcbb71aed7"),
            (
                "node-next-1700000000001-3f0a",
                "32501d94-ca54-556c-bc9c-68130f542430",
            ),
            ("segment-héllo-日本", "241ef852-e54d-5f05-ad42-e693a5ba2e1e"),
            ("😀", "8ac5fad3-8dc3-5de6-9dc6-9cfd860e053b"),
            (&long, "99eb4987-43dd-55ce-b86d-0fb750aa689d"),
        ] {
            assert_eq!(uuid(message_id), expected, "{message_id}");
        }
    }

    #[test]
    fn ids_of_every_length_are_hashed_as_sha_1_has_it() {
        let text = "0123456789".repeat(20);
        for length in 0..=text.len() {
            let name = &text[..length];
            let whole = Sha1::new().chain_update(NAMESPACE).chain_update(name);
            let mut expected: [u8; 16] = *whole.finalize().first_chunk().unwrap();
            expected[6] = expected[6] & 0x0f | 0x50;
            expected[8] = expected[8] & 0x3f | 0x80;
            let expected = String::from_utf8(hyphenated(expected).to_vec()).unwrap();
            assert_eq!(uuid(name), expected, "{length}");
        }
    }

    fn id(text: &str, index: usize, nonce: u128) -> String {
        let mut message = Message::default();
        message
            .scan(text.as_bytes(), &mut Scratch::default())
            .unwrap();
        made(&message, text.as_bytes(), MessagePosition { index, nonce })
    }

    #[test]
    fn a_timed_message_keeps_its_made_id_when_it_is_sent_again() {
        let first = r#"{"sentAt":"2026-01-01T00:00:01Z","timestamp":"2026-01-01T00:00:00Z","event":"A","_metadata":{}}"#;
        let again = r#"{"sentAt":"2026-01-01T00:00:09Z","timestamp":"2026-01-01T00:00:00Z","event":"A","_metadata":{"retryCount":1}}"#;
        assert_eq!(id(first, 0, 1), id(again, 0, 2));
        assert_ne!(id(first, 0, 1), id(first, 1, 1));
        let other = r#"{"timestamp":"2026-01-01T00:00:00Z","event":"B"}"#;
        assert_ne!(id(first, 0, 1), id(other, 0, 1));
    }

    #[test]
    fn untimed_messages_differ_by_their_request() {
        let beat = r#"{"event":"Heartbeat","userId":"u"}"#;
        assert_ne!(id(beat, 0, 1), id(beat, 0, 2));
        let blank = r#"{"event":"Heartbeat","timestamp":"","originalTimestamp":null}"#;
        assert_ne!(id(blank, 0, 1), id(blank, 0, 2));
        let unreadable = r#"{"event":"Heartbeat","timestamp":"soon"}"#;
        assert_ne!(id(unreadable, 0, 1), id(unreadable, 0, 2));
    }
}
