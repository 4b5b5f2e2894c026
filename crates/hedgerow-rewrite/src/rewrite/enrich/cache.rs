//! A cache of parsed user agents, because a few user agents make most of the traffic.
//!
//! A hit costs one hash, one lock of one shard and one reference count; it allocates nothing. The
//! memory is limited whatever clients send: the cache counts its entries and bytes, and parses user
//! agents that are longer than real ones each time. The key of the hash is random, so that no client
//! can choose user agents whose hashes collide.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;

use super::user_agent::UserAgent;

/// The number of shards. With several shards, threads seldom wait for each other.
const SHARDS: usize = 16;

/// The longest user agent that is cached, in bytes: the limit of `$raw_user_agent`.
const LONGEST: usize = 1000;

/// The user agents that were parsed recently, shared by all threads.
///
/// Each shard has a young and an old generation. An entry that is read moves to the young generation.
/// When the young generation is full, it becomes the old one, and the entries that are still in the old
/// one are forgotten.
#[derive(Debug)]
pub struct UserAgents {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
}

/// The size of a cache: its limit, or how much it holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheCapacity {
    /// The number of user agents.
    pub entries: usize,
    /// The number of bytes of their texts. The parsed values of each user agent take about 150 bytes more.
    pub bytes: usize,
}

impl Default for CacheCapacity {
    fn default() -> Self {
        Self {
            entries: 8192,
            bytes: 2 << 20,
        }
    }
}

/// The entries by the hash of their text. If two texts have the same hash, the later one replaces the
/// other.
type Generation = HashMap<u64, KnownUserAgents, BuildHasherDefault<IdentityHasher>>;

#[derive(Debug)]
struct KnownUserAgents {
    text: Box<str>,
    parsed: Arc<UserAgent>,
}

/// A hasher for keys that are already hashes: it returns them unchanged.
#[derive(Debug, Default)]
struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

#[derive(Debug)]
struct Shard {
    young: Generation,
    old: Generation,
    young_bytes: usize,
    /// The limits of one generation.
    capacity: CacheCapacity,
}

impl Default for UserAgents {
    fn default() -> Self {
        Self::new(CacheCapacity::default())
    }
}

impl UserAgents {
    /// Creates an empty cache of this capacity. Its tables are allocated here, once.
    pub fn new(capacity: CacheCapacity) -> Self {
        let hasher = RandomState::new();
        let share = CacheCapacity {
            entries: capacity.entries / SHARDS / 2,
            bytes: capacity.bytes / SHARDS / 2,
        };
        let shard = || {
            let table =
                || HashMap::with_capacity_and_hasher(share.entries, BuildHasherDefault::default());
            Mutex::new(Shard {
                young: table(),
                old: table(),
                young_bytes: 0,
                capacity: share,
            })
        };
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher,
        }
    }

    /// Returns the parsed user agent. It is parsed only if it is not in the cache.
    pub fn parse(&self, user_agent: &str) -> Arc<UserAgent> {
        let hash = self.hasher.hash_one(user_agent);
        let shard = usize::try_from(hash >> 32).unwrap_or(0) % SHARDS;
        let Some(shard) = self
            .shards
            .get(shard)
            .filter(|_| user_agent.len() <= LONGEST)
        else {
            return Arc::new(UserAgent::parse(user_agent));
        };
        if let Some(known) = lock(shard).find(hash, user_agent) {
            return known;
        }
        // The lock is not held here: two threads may parse the same text at once, and the later one wins.
        let parsed = Arc::new(UserAgent::parse(user_agent));
        let known = KnownUserAgents {
            text: user_agent.into(),
            parsed: Arc::clone(&parsed),
        };
        lock(shard).insert(hash, known);
        parsed
    }

    /// How much the cache holds now.
    pub fn held(&self) -> CacheCapacity {
        let mut held = CacheCapacity {
            entries: 0,
            bytes: 0,
        };
        for shard in &self.shards {
            let shard = lock(shard);
            held.entries += shard.young.len() + shard.old.len();
            held.bytes += shard.young_bytes
                + shard
                    .old
                    .values()
                    .map(KnownUserAgents::bytes)
                    .sum::<usize>();
        }
        held
    }
}

/// Locks a shard. It is valid between any two statements, so a panic of another thread does no harm.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KnownUserAgents {
    fn bytes(&self) -> usize {
        self.text.len()
    }
}

impl Shard {
    fn find(&mut self, hash: u64, text: &str) -> Option<Arc<UserAgent>> {
        let same = |known: &&KnownUserAgents| *known.text == *text;
        if let Some(known) = self.young.get(&hash).filter(same) {
            return Some(Arc::clone(&known.parsed));
        }
        self.old.get(&hash).filter(same)?;
        let known = self.old.remove(&hash)?;
        let parsed = Arc::clone(&known.parsed);
        self.insert(hash, known);
        Some(parsed)
    }

    fn insert(&mut self, hash: u64, known: KnownUserAgents) {
        let bytes = known.bytes();
        if bytes > self.capacity.bytes || self.capacity.entries == 0 {
            return;
        }
        if self.young.len() >= self.capacity.entries
            || self.young_bytes + bytes > self.capacity.bytes
        {
            // The tables are swapped and cleared, not replaced, so that both keep their allocated memory.
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
            self.young_bytes = 0;
        }
        let before = self.young.insert(hash, known);
        self.young_bytes += bytes;
        self.young_bytes -= before.map_or(0, |before| before.bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chrome(version: usize) -> String {
        format!(
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/{version}.0.0.0 Safari/537.36"
        )
    }

    #[test]
    fn a_user_agent_is_parsed_once_and_the_same_for_all_threads() {
        let memory = UserAgents::default();
        let first = memory.parse(&chrome(1));
        assert_eq!(*first, UserAgent::parse(&chrome(1)));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        assert!(Arc::ptr_eq(&first, &memory.parse(&chrome(1))));
                    }
                });
            }
        });
        assert_eq!(memory.held().entries, 1);
    }

    #[test]
    fn any_number_of_user_agents_takes_bounded_memory() {
        for capacity in [
            CacheCapacity {
                entries: 64,
                bytes: 1 << 20,
            },
            CacheCapacity {
                entries: 1 << 20,
                bytes: 16 << 10,
            },
            CacheCapacity {
                entries: 0,
                bytes: 0,
            },
        ] {
            let memory = UserAgents::new(capacity);
            for version in 0..5000 {
                let parsed = memory.parse(&chrome(version));
                assert_eq!(parsed.browser_version, Some(version.to_string()));
            }
            let held = memory.held();
            assert!(held.entries <= capacity.entries, "{held:?} {capacity:?}");
            assert!(held.bytes <= capacity.bytes, "{held:?} {capacity:?}");
        }
    }

    #[test]
    fn frequently_used_entries_stay() {
        let memory = UserAgents::new(CacheCapacity {
            entries: 256,
            bytes: 1 << 20,
        });
        let popular = memory.parse(&chrome(0));
        for version in 1..5000 {
            memory.parse(&chrome(version));
            assert!(
                Arc::ptr_eq(&popular, &memory.parse(&chrome(0))),
                "{version}"
            );
        }
    }

    #[test]
    fn a_user_agent_longer_than_any_real_one_is_parsed_but_not_kept() {
        let memory = UserAgents::default();
        let long = chrome(152) + &"x".repeat(LONGEST);
        assert_eq!(memory.parse(&long).browser, Some("Chrome"));
        assert_eq!(memory.held().entries, 0);
    }
}
