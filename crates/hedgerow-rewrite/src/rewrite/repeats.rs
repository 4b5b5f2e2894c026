//! Recognises messages that arrive twice: on unload, from a hidden tab, after a retry
//! (segment-tracking 1.8 and 2.4).
//!
//! PostHog recognises a duplicate event by its uuid, name, distinct id and day (posthog-ingestion 3.4).
//! All of them follow from the message, except the time. Hedgerow corrects the time by how long the
//! message was under way, which differs between retries by some milliseconds. So it remembers the time
//! of a message's first try and uses it for the retries.
//!
//! With `repeats: suppress` it also remembers the messages that PostHog has accepted, and does not send
//! them again. Such messages are compared as a whole, and remembered only after PostHog has accepted
//! them.
//!
//! The memory is allocated once and does not grow. A message that newer ones have evicted, or that
//! arrives through another process, is treated as a new one: its event has the same uuid, name and
//! distinct id, and its time is accurate to within some milliseconds.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use siphasher::sip128::{Hasher128, SipHasher13};

use super::json::Value;
use super::message::Message;
use super::message_source::MessageSource;
use super::time::Timestamp;
use crate::posthog::ProjectId;
use crate::segment::Kind;

/// How long a message is remembered at most, in milliseconds: as long as in Segment.
const WINDOW: u64 = 24 * 60 * 60 * 1000;

/// The number of shards. With many shards, threads rarely wait for each other.
const SHARDS: usize = 64;

/// The number of pairs of slots in a shard. All slots of a table take 1 MiB and hold 32,768 messages.
const PAIRS: usize = 256;

/// A hash with keys that are random for each process, so that no client can choose messages that collide
/// or that evict others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag([u64; 2]);

/// The messages that Hedgerow remembers, as hashes.
#[derive(Debug)]
pub(super) struct SeenMessages {
    /// A hasher of 128 bits with random keys.
    hasher: SipHasher13,
    times: Table,
    /// The messages that PostHog has accepted; `None` if repeats are sent.
    accepted: Option<Table>,
}

/// Whether repeats are sent or left out.
pub(super) use super::mapping::Repeats as Treatment;

impl SeenMessages {
    pub(super) fn new(treatment: Treatment) -> Self {
        Self {
            hasher: SipHasher13::new_with_keys(random(), random()),
            times: Table::new(),
            accepted: match treatment {
                Treatment::Send => None,
                Treatment::Suppress => Some(Table::new()),
            },
        }
    }

    /// Returns the time that a message had when it first arrived, or `time` if it has not been seen.
    ///
    /// Two messages are the same if they have the same project, id, call, own times, event name, user id
    /// and anonymous id. The id alone is not enough: broken clients use one id for many messages, which
    /// must not get each other's times. If this call records a new message, its tag is added to `noted`.
    pub(super) fn first_time(
        &self,
        (project, kind, message_id): (&ProjectId, Kind, &str),
        source: &MessageSource<'_>,
        (now, noted): (Timestamp, &mut Vec<Tag>),
        time: Timestamp,
    ) -> Timestamp {
        let MessageSource { text, message, .. } = *source;
        let of = |value: Option<Value>| value.map_or(&[][..], |value| value.of(text));
        let mut input = HashInput::new(self);
        input.parts([
            project.as_bytes(),
            kind.name().as_bytes(),
            message_id.as_bytes(),
            of(message.timestamp()),
            of(message.original_timestamp()),
            of(message.event()),
            of(message.user_id()),
            of(message.anonymous_id()),
        ]);
        let tag = input.tag();
        let (first, novelty) = self.times.first(tag, now, time.micros());
        if novelty == TagNovelty::Noted {
            noted.push(tag);
        }
        Timestamp::from_micros(first)
    }

    /// Forgets a time that should not have been recorded.
    pub(super) fn forget(&self, tag: Tag) {
        self.times.forget(tag);
    }

    /// Returns the hash of the whole message without the fields that change between retries, or `None` if
    /// repeats are sent.
    pub(super) fn content(
        &self,
        (project, kind, message_id): (&ProjectId, Kind, &str),
        source: MessageSource<'_>,
        shared: [&[u8]; 2],
    ) -> Option<Tag> {
        self.accepted.as_ref()?;
        let mut input = HashInput::new(self);
        let [context, integrations] = shared;
        input.parts([
            project.as_bytes(),
            kind.name().as_bytes(),
            message_id.as_bytes(),
            context,
            integrations,
        ]);
        stable_parts(source.message, source.text, |part| input.write(part));
        Some(input.tag())
    }

    /// Returns whether PostHog has accepted a message with this content before.
    pub(super) fn is_accepted(&self, content: Tag, now: Timestamp) -> bool {
        let accepted = self.accepted.as_ref();
        accepted.is_some_and(|accepted| accepted.knows(content, now))
    }

    /// Records that PostHog has accepted a message with this content.
    pub(super) fn accept(&self, content: Tag, now: Timestamp) {
        if let Some(accepted) = &self.accepted {
            accepted.first(content, now, 0);
        }
    }
}

/// Returns random bits from the source of the standard library's hash keys.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Collects the input of a hash in large pieces, because hashing many small pieces costs more.
struct HashInput {
    hasher: SipHasher13,
    piece: [u8; 512],
    filled: usize,
}

impl HashInput {
    fn new(repeats: &SeenMessages) -> Self {
        Self {
            hasher: repeats.hasher,
            piece: [0; 512],
            filled: 0,
        }
    }

    /// Adds parts. Their lengths are added first, so that the borders between the parts count.
    #[inline(always)]
    fn parts<const N: usize>(&mut self, parts: [&[u8]; N]) {
        let lengths = parts.map(|part| (part.len() as u32).to_ne_bytes());
        self.write(lengths.as_flattened());
        for part in parts {
            if !part.is_empty() {
                self.write(part);
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let end = self.filled + bytes.len();
        if let Some(place) = self.piece.get_mut(self.filled..end) {
            place.copy_from_slice(bytes);
            self.filled = end;
            return;
        }
        self.flush();
        self.hasher.write(bytes);
    }

    fn flush(&mut self) {
        let piece = self.piece.get(..self.filled).unwrap_or_default();
        self.hasher.write(piece);
        self.filled = 0;
    }

    fn tag(mut self) -> Tag {
        self.flush();
        let hash = self.hasher.finish128();
        Tag([hash.h1, hash.h2])
    }
}

/// Passes the parts of a message's text that are the same on every retry to `take`: all except `sentAt`,
/// `_metadata` and `writeKey`, with their keys and commas.
fn stable_parts(message: &Message, text: &[u8], mut take: impl FnMut(&[u8])) {
    let mut changing = [
        (message.sent_at(), "sentAt"),
        (message.metadata(), "_metadata"),
        (message.write_key(), "writeKey"),
    ];
    changing.sort_unstable_by_key(|(value, _)| value.map(|value| value.span.start()));
    let mut at = 0;
    let mut opened = false;
    let mut part = |from: usize, to: usize| {
        let part = text.get(from..to).unwrap_or_default().trim_ascii();
        let part = part.strip_prefix(b",").unwrap_or(part).trim_ascii_start();
        let part = part.strip_suffix(b",").unwrap_or(part).trim_ascii_end();
        if part.is_empty() {
            return;
        }
        // A comma replaces the removed entry: without it, different messages could give the same text.
        if std::mem::replace(&mut opened, part != b"{") && part != b"}" {
            take(b",");
        }
        take(part);
    };
    for (value, key) in changing {
        let Some(value) = value else {
            continue;
        };
        let before = text.get(..value.span.start()).unwrap_or_default();
        let colon = before.trim_ascii_end();
        let name = colon.strip_suffix(b":").unwrap_or(colon).trim_ascii_end();
        // 2 is for the quotes of the key.
        part(at, name.len().saturating_sub(key.len() + 2));
        at = value.span.end();
    }
    part(at, text.len());
}

/// Whether a tag was already in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TagNovelty {
    Known,
    Noted,
}

/// A table of fixed size. A new tag replaces the older of the two in its pair of slots.
#[derive(Debug)]
struct Table {
    shards: Box<[Mutex<Box<[TagSlots]>>]>,
}

type TagSlots = [TagSlot; 2];

#[derive(Debug, Clone, Copy)]
struct TagSlot {
    tag: Tag,
    /// When the tag was recorded, in milliseconds since 1970.
    seen_at: i64,
    value: i64,
}

/// An empty slot: its tag is older than any window.
const EMPTY: TagSlot = TagSlot {
    tag: Tag([0; 2]),
    seen_at: i64::MIN,
    value: 0,
};

impl TagSlot {
    fn holds(&self, tag: Tag, now: i64) -> bool {
        // The absolute difference, because a clock may be set back.
        self.tag == tag && self.seen_at.abs_diff(now) <= WINDOW
    }
}

impl Table {
    fn new() -> Self {
        let shard = || Mutex::new(vec![[EMPTY; 2]; PAIRS].into_boxed_slice());
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
        }
    }

    /// Returns the value with which a tag was first recorded. A tag that is not in the table is recorded
    /// with `value`.
    fn first(&self, tag: Tag, now: Timestamp, value: i64) -> (i64, TagNovelty) {
        let now = now.millis();
        let Some(mut shard) = self.shard(tag) else {
            return (value, TagNovelty::Known);
        };
        let Some(pair) = shard.get_mut(place(tag)) else {
            return (value, TagNovelty::Known);
        };
        if let Some(slot) = pair.iter().find(|slot| slot.holds(tag, now)) {
            return (slot.value, TagNovelty::Known);
        }
        let fresh = TagSlot {
            tag,
            seen_at: now,
            value,
        };
        let [left, right] = pair;
        let oldest = if left.seen_at <= right.seen_at {
            left
        } else {
            right
        };
        *oldest = fresh;
        (value, TagNovelty::Noted)
    }

    fn forget(&self, tag: Tag) {
        let mut shard = self.shard(tag);
        let pair = shard.as_mut().and_then(|shard| shard.get_mut(place(tag)));
        for slot in pair.into_iter().flatten() {
            if slot.tag == tag {
                *slot = EMPTY;
            }
        }
    }

    fn knows(&self, tag: Tag, now: Timestamp) -> bool {
        let now = now.millis();
        let shard = self.shard(tag);
        let pair = shard.as_ref().and_then(|shard| shard.get(place(tag)));
        pair.is_some_and(|pair| pair.iter().any(|slot| slot.holds(tag, now)))
    }

    /// Locks the shard of a tag. A poisoned lock is ignored, because a shard is consistent between any two
    /// statements.
    fn shard(&self, tag: Tag) -> Option<MutexGuard<'_, Box<[TagSlots]>>> {
        let Tag([first, _]) = tag;
        let shard = self.shards.get(first as usize % SHARDS)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns the index of a tag's pair in its shard, from bits that did not select the shard.
fn place(tag: Tag) -> usize {
    let Tag([first, _]) = tag;
    (first >> 32) as usize % PAIRS
}

#[cfg(test)]
mod tests {
    use super::super::json::Scratch;
    use super::*;

    const DAY: i64 = 24 * 60 * 60 * 1000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn tag(number: u64) -> Tag {
        let key = RandomState::new();
        Tag([key.hash_one(number), key.hash_one(number)])
    }

    #[test]
    fn the_first_value_stays_for_a_day_and_no_longer() {
        let table = Table::new();
        let one = tag(1);
        assert_eq!(table.first(one, at(0), 10), (10, TagNovelty::Noted));
        assert_eq!(table.first(one, at(DAY), 20), (10, TagNovelty::Known));
        assert_eq!(table.first(one, at(-DAY), 20), (10, TagNovelty::Known));
        assert_eq!(table.first(one, at(DAY + 1), 30), (30, TagNovelty::Noted));
        table.forget(one);
        assert_eq!(table.first(one, at(DAY + 1), 40), (40, TagNovelty::Noted));
        assert!(table.knows(one, at(DAY + 1)));
        assert!(!table.knows(tag(2), at(0)));
    }

    #[test]
    fn a_new_entry_replaces_the_oldest_and_the_table_does_not_grow() {
        let table = Table::new();
        // All of these tags have the same pair of slots.
        let same_place = |number| Tag([0, number]);
        for number in 1..=1000 {
            table.first(same_place(number), at(number as i64), number as i64);
        }
        let known: Vec<u64> = (1..=1000)
            .filter(|number| table.knows(same_place(*number), at(1000)))
            .collect();
        assert_eq!(known, [999, 1000]);
        let bytes = std::mem::size_of::<TagSlot>() * 2 * PAIRS * SHARDS;
        assert_eq!(bytes, 1 << 20);
    }

    #[test]
    fn threads_that_see_one_message_at_once_agree_on_its_time() {
        let table = Table::new();
        for number in 0..200 {
            let one = tag(number);
            let times: Vec<i64> = std::thread::scope(|scope| {
                let see = |thread| table.first(one, at(0), thread).0;
                let threads: Vec<_> = (0..4)
                    .map(|thread| scope.spawn(move || see(thread)))
                    .collect();
                let times = threads.into_iter().map(|thread| thread.join().unwrap());
                times.collect()
            });
            assert!(times.windows(2).all(|pair| pair[0] == pair[1]), "{times:?}");
        }
    }

    fn stable_text(text: &str) -> String {
        let mut message = Message::default();
        message
            .scan(text.as_bytes(), &mut Scratch::default())
            .unwrap();
        let mut rest = Vec::new();
        stable_parts(&message, text.as_bytes(), |part| rest.extend(part));
        String::from_utf8(rest).unwrap()
    }

    #[test]
    fn fields_that_change_between_tries_are_ignored_everywhere() {
        for (text, expected) in [
            (r#"{"a":1,"b":[2]}"#, r#"{"a":1,"b":[2]}"#),
            (r#"{"sentAt":"x","a":1}"#, r#"{"a":1}"#),
            (r#"{"a":1,"sentAt":"x"}"#, r#"{"a":1}"#),
            (r#"{"a":1 , "sentAt" : "x" , "b":2 }"#, r#"{"a":1,"b":2 }"#),
            (
                r#"{"writeKey":"k","_metadata":{"retryCount":1},"sentAt":"x"}"#,
                "{}",
            ),
            (
                r#"{"_metadata":{},"a":{"sentAt":1},"writeKey":"k","b":2,"sentAt":3}"#,
                r#"{"a":{"sentAt":1},"b":2}"#,
            ),
        ] {
            assert_eq!(stable_text(text), expected, "{text}");
        }
    }
}
