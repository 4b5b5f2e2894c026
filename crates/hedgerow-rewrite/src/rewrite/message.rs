//! One Segment message as an index into its text: nothing is copied.

mod context;

use super::json::{
    name, Cleanliness, Entry, Key, Malformed, Name, Names, Scanner, Scratch, Shape, Takes, Value,
    Whose,
};
use super::known_objects::KnownObject;

pub(super) use context::{Context, ContextObject};

/// The fields of a message that are looked into. A key given twice at the top level counts with
/// its last value.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) kind: Option<Value>,
    pub(super) event: Option<Value>,
    pub(super) name: Option<Value>,
    pub(super) category: Option<Value>,
    pub(super) user_id: Option<Value>,
    pub(super) anonymous_id: Option<Value>,
    pub(super) previous_id: Option<Value>,
    pub(super) group_id: Option<Value>,
    pub(super) traits: Option<Value>,
    pub(super) message_id: Option<Value>,
    pub(super) timestamp: Option<Value>,
    pub(super) original_timestamp: Option<Value>,
    pub(super) received_at: Option<Value>,
    pub(super) sent_at: Option<Value>,
    pub(super) write_key: Option<Value>,
    pub(super) metadata: Option<Value>,
    /// What makes a body a batch rather than a message.
    pub(super) batch: Option<Value>,
    pub(super) properties: MessagePart,
    pub(super) integrations: MessagePart,
    pub(super) context: Box<Context>,
    /// Segment's books and the destinations that are switched on and off, as the message before had
    /// them.
    known_metadata: KnownObject,
    known_integrations: KnownObject,
    novelty: ObjectNovelty,
}

/// Whether there is an object in what was scanned last that was not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum ObjectNovelty {
    #[default]
    None,
    /// Of the message's own.
    Own,
    /// Of the context's.
    Parts,
}

/// A value whose first level is looked into.
#[derive(Debug, Default)]
pub(super) struct MessagePart {
    pub(super) value: Option<Value>,
    pub(super) entries: Vec<Entry>,
    names: Names,
}

/// The keys of a message that are looked into.
const PROPERTIES: Name = name!("properties");
const CONTEXT: Name = name!("context");
const INTEGRATIONS: Name = name!("integrations");
const METADATA: Name = name!("_metadata");

impl Message {
    /// Scans a text that must be one object and nothing else.
    pub(super) fn scan(
        &mut self,
        text: &[u8],
        scratch: &mut Scratch,
    ) -> Result<Cleanliness, Malformed> {
        let (cleanliness, length) = self.scan_first(text, scratch)?;
        let rest = text.get(length..).unwrap_or_default();
        if !rest.iter().all(u8::is_ascii_whitespace) {
            return Err(Malformed::Syntax);
        }
        Ok(cleanliness)
    }

    /// Scans the object at the start of a text, and says where it ends.
    pub(super) fn scan_first(
        &mut self,
        text: &[u8],
        scratch: &mut Scratch,
    ) -> Result<(Cleanliness, usize), Malformed> {
        self.clear();
        let mut scanner = Scanner::new(text, scratch);
        if scanner.peek() != Some(b'{') {
            return Err(Malformed::Syntax);
        }
        scanner.named_object(Whose::MESSAGE, self);
        Ok((scanner.cleanliness()?, scanner.position()))
    }

    /// Where the value of a key is kept that is not looked into.
    #[inline(always)]
    fn slot(&mut self, name: Name) -> Option<&mut Option<Value>> {
        const KIND: Name = name!("type");
        const EVENT: Name = name!("event");
        const NAME: Name = name!("name");
        const CATEGORY: Name = name!("category");
        const USER_ID: Name = name!("userId");
        const ANONYMOUS_ID: Name = name!("anonymousId");
        const PREVIOUS_ID: Name = name!("previousId");
        const GROUP_ID: Name = name!("groupId");
        const TRAITS: Name = name!("traits");
        const MESSAGE_ID: Name = name!("messageId");
        const TIMESTAMP: Name = name!("timestamp");
        const ORIGINAL_TIMESTAMP: Name = name!("originalTimestamp");
        const RECEIVED_AT: Name = name!("receivedAt");
        const SENT_AT: Name = name!("sentAt");
        const WRITE_KEY: Name = name!("writeKey");
        const BATCH: Name = name!("batch");
        Some(match name {
            KIND => &mut self.kind,
            EVENT => &mut self.event,
            NAME => &mut self.name,
            CATEGORY => &mut self.category,
            USER_ID => &mut self.user_id,
            ANONYMOUS_ID => &mut self.anonymous_id,
            PREVIOUS_ID => &mut self.previous_id,
            GROUP_ID => &mut self.group_id,
            TRAITS => &mut self.traits,
            MESSAGE_ID => &mut self.message_id,
            TIMESTAMP => &mut self.timestamp,
            ORIGINAL_TIMESTAMP => &mut self.original_timestamp,
            RECEIVED_AT => &mut self.received_at,
            SENT_AT => &mut self.sent_at,
            WRITE_KEY => &mut self.write_key,
            BATCH => &mut self.batch,
            _ => return None,
        })
    }

    /// The memory it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        self.properties.held()
            + self.integrations.held()
            + self.context.held()
            + self.known_metadata.held()
            + self.known_integrations.held()
    }

    /// Keeps what the next message of the body may have as well. To be said of clean messages.
    pub(super) fn keep(&mut self, text: &[u8]) {
        self.context.keep(text);
    }

    /// Keeps what any next message may have as well. To be said of clean messages.
    #[inline(always)]
    pub(super) fn keep_parts(&mut self, text: &str) {
        if self.novelty == ObjectNovelty::Own {
            self.keep_own(text.as_bytes());
        }
        if self.context.novelty == ObjectNovelty::Parts {
            self.context.keep_parts(text);
        }
    }

    #[inline(never)]
    fn keep_own(&mut self, text: &[u8]) {
        if let Some(metadata) = self.metadata {
            self.known_metadata.keep(metadata, text, &[]);
        }
        let MessagePart { value, entries, .. } = &self.integrations;
        if let (Some(value), true) = (value, self.integrations.is_of_switches()) {
            self.known_integrations.keep(*value, text, entries);
        }
    }

    #[inline(always)]
    fn scan_integrations(&mut self, scanner: &mut Scanner<'_, '_>) {
        let part = &mut self.integrations;
        part.clear();
        if let Some(value) = self.known_integrations.pass(scanner, &mut part.entries) {
            part.value = Some(value);
            for entry in &part.entries {
                if entry.name != Name::OTHER {
                    part.names.add(entry.name);
                }
            }
            return;
        }
        part.scan(scanner, Whose::INTEGRATIONS);
        if part.is_of_switches() {
            self.novelty = ObjectNovelty::Own;
        }
    }

    fn clear(&mut self) {
        let Self {
            kind,
            event,
            name,
            category,
            user_id,
            anonymous_id,
            previous_id,
            group_id,
            traits,
            message_id,
            timestamp,
            original_timestamp,
            received_at,
            sent_at,
            write_key,
            metadata,
            batch,
            properties,
            integrations,
            context,
            known_metadata: _,
            known_integrations: _,
            novelty,
        } = self;
        for value in [
            kind,
            event,
            name,
            category,
            user_id,
            anonymous_id,
            previous_id,
            group_id,
            traits,
            message_id,
            timestamp,
            original_timestamp,
            received_at,
            sent_at,
            write_key,
            metadata,
            batch,
        ] {
            *value = None;
        }
        properties.clear();
        integrations.clear();
        *novelty = ObjectNovelty::None;
        // What else there is of it belongs to the text that it has kept.
        context.value = None;
        context.novelty = ObjectNovelty::None;
    }
}

impl Takes for Message {
    #[inline(always)]
    fn takes_plain(name: Name) -> bool {
        !matches!(name, PROPERTIES | CONTEXT | INTEGRATIONS | METADATA)
    }

    #[inline(always)]
    fn plain(&mut self, key: Key, value: Value) {
        if let Some(slot) = self.slot(key.name) {
            *slot = Some(value);
        }
    }

    #[inline(always)]
    fn other(&mut self, scanner: &mut Scanner<'_, '_>, key: Key) {
        match key.name {
            PROPERTIES => {
                let whose = Whose::properties(scanner.rest());
                self.properties.scan(scanner, whose);
            }
            CONTEXT => self.context.scan(scanner),
            INTEGRATIONS => self.scan_integrations(scanner),
            METADATA => {
                let known = self.known_metadata.pass(scanner, &mut Vec::new());
                self.metadata = Some(known.unwrap_or_else(|| {
                    self.novelty = ObjectNovelty::Own;
                    scanner.any()
                }));
            }
            _ => {
                let value = scanner.any_other();
                self.plain(key, value);
            }
        }
    }
}

impl MessagePart {
    /// The memory it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    pub(super) fn clear(&mut self) {
        self.value = None;
        self.entries.clear();
        self.names = Names::default();
    }

    /// Whether it is an object of nothing but yes and no, which says nothing of a visitor.
    fn is_of_switches(&self) -> bool {
        let is_switch = |entry: &Entry| matches!(entry.value.shape, Shape::True | Shape::False);
        !self.entries.is_empty() && self.entries.iter().all(is_switch)
    }

    fn scan(&mut self, scanner: &mut Scanner<'_, '_>, whose: Whose) {
        self.clear();
        let (value, names) = scanner.value_with_entries_unchecked(whose, &mut self.entries);
        (self.value, self.names) = (Some(value), names);
    }

    /// Scans the value at the start of a clean text, whatever comes behind it.
    pub(super) fn scan_first(
        &mut self,
        text: &[u8],
        scratch: &mut Scratch,
    ) -> Result<(), Malformed> {
        let mut scanner = Scanner::new(text, scratch);
        self.scan(&mut scanner, Whose::OTHER);
        scanner.cleanliness().map(drop)
    }

    /// Scans a text that is one value.
    pub(super) fn scan_text(
        &mut self,
        text: &[u8],
        scratch: &mut Scratch,
    ) -> Result<Cleanliness, Malformed> {
        let mut scanner = Scanner::new(text, scratch);
        self.scan(&mut scanner, Whose::OTHER);
        let cleanliness = scanner.cleanliness()?;
        if !scanner.at_end() {
            return Err(Malformed::Syntax);
        }
        Ok(cleanliness)
    }

    /// The value of a key of the first level.
    pub(super) fn get(&self, text: &[u8], key: &str) -> Option<Value> {
        find(&self.entries, text, key)
    }

    /// The value of a key of the first level that is asked for.
    #[inline(always)]
    pub(super) fn named(&self, name: Name) -> Option<Value> {
        let has = self.names.has(name);
        has.then(|| named(&self.entries, name)).flatten()
    }

    /// Which of the keys of the first level are asked for.
    pub(super) fn names(&self) -> Names {
        self.names
    }
}

/// The value of a key that is asked for among entries, none of which stands there twice.
pub(super) fn named(entries: &[Entry], name: Name) -> Option<Value> {
    entries
        .iter()
        .find(|entry| entry.name == name)
        .map(|entry| entry.value)
}

/// The value of a key that only a setting or the message itself names, likewise.
pub(super) fn find(entries: &[Entry], text: &[u8], key: &str) -> Option<Value> {
    entries
        .iter()
        .find(|entry| entry.key.of(text) == key.as_bytes())
        .map(|entry| entry.value)
}
