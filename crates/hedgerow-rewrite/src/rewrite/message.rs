//! Indexes one Segment message: stores the positions of its values, and copies no text.

mod context;
mod fields;

use super::json::{
    name, Cleanliness, Entry, EntryReceiver, Key, Malformed, Name, Names, ObjectKind, Scanner,
    Scratch, Shape, Value,
};
use super::known_objects::KnownObject;
use fields::MessageFields;

pub(super) use context::{Context, ContextObject};

/// The positions of the fields of a message that Hedgerow reads. If a top-level key is given twice, its
/// last value counts.
#[derive(Debug, Default)]
pub(super) struct Message {
    fields: MessageFields,
    pub(super) properties: MessagePart,
    pub(super) integrations: MessagePart,
    pub(super) context: Box<Context>,
    /// `_metadata` and `integrations` of an earlier message.
    known_metadata: KnownObject,
    known_integrations: KnownObject,
    novelty: ObjectNovelty,
}

/// Whether the last scan found a new object, which the cache of [`KnownObject`]s should store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum ObjectNovelty {
    #[default]
    None,
    /// An object of the message itself.
    Own,
    /// An object of the context.
    Parts,
}

/// A value and, if it is an object, the entries of its first level.
#[derive(Debug, Default)]
pub(super) struct MessagePart {
    pub(super) value: Option<Value>,
    pub(super) entries: Vec<Entry>,
    names: Names,
}

/// The keys of a message whose values [`EntryReceiver::other`] scans.
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

    /// Scans the object at the start of a text, and returns the offset of its end.
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
        scanner.named_object(ObjectKind::MESSAGE, self);
        Ok((scanner.cleanliness()?, scanner.position()))
    }

    /// Returns the size of the memory that it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        self.properties.held()
            + self.integrations.held()
            + self.context.held()
            + self.known_metadata.held()
            + self.known_integrations.held()
    }

    /// Stores the context, which the next message of the body may repeat. Must be called for clean
    /// messages only.
    pub(super) fn keep(&mut self, text: &[u8]) {
        self.context.keep(text);
    }

    /// Stores the objects that any later message may repeat. Must be called for clean messages only.
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
        if let Some(metadata) = self.metadata() {
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
                // A name with a known prefix is added as well.
                if entry.name != Name::OTHER {
                    part.names.add(entry.name);
                }
            }
            return;
        }
        part.scan(scanner, ObjectKind::INTEGRATIONS);
        if part.is_of_switches() {
            self.novelty = ObjectNovelty::Own;
        }
    }

    fn clear(&mut self) {
        let Self {
            fields,
            properties,
            integrations,
            context,
            known_metadata: _,
            known_integrations: _,
            novelty,
        } = self;
        *fields = MessageFields::default();
        properties.clear();
        integrations.clear();
        *novelty = ObjectNovelty::None;
        // The other fields of the context belong to the text that it has stored.
        context.value = None;
        context.novelty = ObjectNovelty::None;
    }
}

impl EntryReceiver for Message {
    #[inline(always)]
    fn receives_plain(name: Name) -> bool {
        !matches!(name, PROPERTIES | CONTEXT | INTEGRATIONS | METADATA)
    }

    #[inline(always)]
    fn plain(&mut self, key: Key, value: Value) {
        self.fields.put(key.name, value);
    }

    #[inline(always)]
    fn other(&mut self, scanner: &mut Scanner<'_, '_>, key: Key) {
        match key.name {
            PROPERTIES => {
                let kind = ObjectKind::properties(scanner.rest());
                self.properties.scan(scanner, kind);
            }
            CONTEXT => self.context.scan(scanner),
            INTEGRATIONS => self.scan_integrations(scanner),
            METADATA => {
                let known = self.known_metadata.pass(scanner, &mut Vec::new());
                let value = known.unwrap_or_else(|| {
                    self.novelty = ObjectNovelty::Own;
                    scanner.any()
                });
                self.fields.put(METADATA, value);
            }
            _ => {
                let value = scanner.null().unwrap_or_else(|| scanner.any_other());
                self.plain(key, value);
            }
        }
    }
}

impl MessagePart {
    /// Returns the size of the memory that it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    pub(super) fn clear(&mut self) {
        self.value = None;
        self.entries.clear();
        self.names = Names::default();
    }

    /// Returns whether it is an object with only `true` and `false` values, which contains nothing about a
    /// visitor.
    fn is_of_switches(&self) -> bool {
        let is_switch = |entry: &Entry| matches!(entry.value.shape, Shape::True | Shape::False);
        !self.entries.is_empty() && self.entries.iter().all(is_switch)
    }

    fn scan(&mut self, scanner: &mut Scanner<'_, '_>, kind: ObjectKind) {
        self.clear();
        let (value, names) = scanner.value_with_entries_unchecked(kind, &mut self.entries);
        (self.value, self.names) = (Some(value), names);
    }

    /// Scans the value at the start of a clean text, and ignores the bytes after it.
    pub(super) fn scan_first(
        &mut self,
        text: &[u8],
        scratch: &mut Scratch,
    ) -> Result<(), Malformed> {
        let mut scanner = Scanner::new(text, scratch);
        self.scan(&mut scanner, ObjectKind::OTHER);
        scanner.cleanliness().map(drop)
    }

    /// Scans a text that is one value.
    pub(super) fn scan_text(
        &mut self,
        text: &[u8],
        scratch: &mut Scratch,
    ) -> Result<Cleanliness, Malformed> {
        let mut scanner = Scanner::new(text, scratch);
        self.scan(&mut scanner, ObjectKind::OTHER);
        let cleanliness = scanner.cleanliness()?;
        if !scanner.at_end() {
            return Err(Malformed::Syntax);
        }
        Ok(cleanliness)
    }

    /// Returns the value of any key of the first level.
    pub(super) fn get(&self, text: &[u8], key: &str) -> Option<Value> {
        find(&self.entries, text, key)
    }

    /// Returns the value of a key of the first level that has a [`Name`].
    #[inline(always)]
    pub(super) fn named(&self, name: Name) -> Option<Value> {
        let has = self.names.has(name);
        has.then(|| named(&self.entries, name)).flatten()
    }

    /// Returns the names of the first level's keys; a key without a [`Name`] is not included.
    pub(super) fn names(&self) -> Names {
        self.names
    }
}

/// Returns the value of a key that has a [`Name`]. No key may be given twice in `entries`.
pub(super) fn named(entries: &[Entry], name: Name) -> Option<Value> {
    entries
        .iter()
        .find(|entry| entry.name == name)
        .map(|entry| entry.value)
}

/// Returns the value of any key, for keys that only a setting or the message itself names. No key may be
/// given twice in `entries`.
pub(super) fn find(entries: &[Entry], text: &[u8], key: &str) -> Option<Value> {
    entries
        .iter()
        .find(|entry| entry.key.of(text) == key.as_bytes())
        .map(|entry| entry.value)
}
