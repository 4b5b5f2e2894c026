//! One Segment message as an index into its text: nothing is copied.

use std::cell::Cell;
use std::ops::Range;

use super::library::Library;

use super::json::{
    name, Cleanliness, Entry, Malformed, Name, Names, Scanner, Scratch, Shape, Value, Whose,
};

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
    pub(super) properties: Part,
    pub(super) integrations: Part,
    pub(super) context: Context,
}

/// A value whose first level is looked into.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) value: Option<Value>,
    pub(super) entries: Vec<Entry>,
    names: Names,
}

/// The context, with those of its objects that are looked into. It is an index of its own text, not
/// of its message's: the messages of a batch mostly have one and the same.
#[derive(Debug, Default)]
pub(super) struct Context {
    /// Where it begins in its message.
    at: usize,
    /// Its text, once another message may have the same.
    kept: Vec<u8>,
    kept_value: Value,
    /// How many different ones have been here.
    generation: u64,
    pub(super) value: Option<Value>,
    pub(super) entries: Vec<Entry>,
    names: Names,
    inner: Vec<Entry>,
    objects: [Range<usize>; Inner::NUMBER],
    /// Which library sent it, once it has been asked.
    library: Cell<Option<Library>>,
}

macro_rules! inners {
    ($($inner:ident = $key:literal,)*) => {
        /// An object of the context that is looked into.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Inner {
            $($inner,)*
        }

        impl Inner {
            const NUMBER: usize = [$($key),*].len();

            #[inline(always)]
            #[allow(non_upper_case_globals)]
            fn from_name(name: Name) -> Option<Self> {
                $(const $inner: Name = name!($key);)*
                Some(match name {
                    $($inner => Self::$inner,)*
                    _ => return None,
                })
            }

            /// Where it stands in a message.
            pub(super) fn path(self) -> &'static str {
                match self {
                    $(Self::$inner => concat!("context.", $key),)*
                }
            }
        }
    };
}

inners! {
    Page = "page",
    Os = "os",
    Screen = "screen",
    Device = "device",
    Library = "library",
    Campaign = "campaign",
    App = "app",
    Network = "network",
    UserAgentData = "userAgentData",
}

/// The keys of a message that are looked into.
const PROPERTIES: Name = name!("properties");
const CONTEXT: Name = name!("context");
const INTEGRATIONS: Name = name!("integrations");

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
        scanner.named_object(Whose::MESSAGE, |scanner, key| match key.name {
            PROPERTIES => self.properties.scan(scanner, Whose::PROPERTIES),
            CONTEXT => self.context.scan(scanner),
            INTEGRATIONS => self.integrations.scan(scanner, Whose::INTEGRATIONS),
            name => {
                let value = scanner.any();
                if let Some(slot) = self.slot(name) {
                    *slot = Some(value);
                }
            }
        });
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
        const METADATA: Name = name!("_metadata");
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
            METADATA => &mut self.metadata,
            BATCH => &mut self.batch,
            _ => return None,
        })
    }

    /// The memory it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        self.properties.held() + self.integrations.held() + self.context.held()
    }

    /// Keeps what the next message may have as well. To be said of clean messages.
    pub(super) fn keep(&mut self, text: &[u8]) {
        self.context.keep(text);
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
        // What else there is of it belongs to the text that it has kept.
        context.value = None;
    }
}

impl Part {
    /// The memory it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    pub(super) fn clear(&mut self) {
        self.value = None;
        self.entries.clear();
        self.names = Names::default();
    }

    fn scan(&mut self, scanner: &mut Scanner<'_, '_>, whose: Whose) {
        self.clear();
        let (value, names) = scanner.any_with_entries(whose, &mut self.entries);
        (self.value, self.names) = (Some(value), names);
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

impl Context {
    /// The memory it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        (self.entries.capacity() + self.inner.capacity()) * size_of::<Entry>()
            + self.kept.capacity()
    }

    fn clear(&mut self) {
        self.kept.clear();
        self.generation += 1;
        self.value = None;
        self.entries.clear();
        self.names = Names::default();
        self.inner.clear();
        self.objects = Default::default();
        self.library.set(None);
    }

    /// Which library sent it; found out once.
    pub(super) fn library_once(&self, find_out: impl FnOnce() -> Library) -> Library {
        let library = self.library.get().unwrap_or_else(find_out);
        self.library.set(Some(library));
        library
    }

    /// Its text, in that of its message.
    pub(super) fn text<'t>(&self, message: &'t str) -> &'t str {
        let length = self.value.map_or(0, |value| value.span.end());
        let text = message.get(self.at..).unwrap_or_default();
        text.get(..length).unwrap_or_default()
    }

    /// Keeps its text, which is clean, so that the next message's is known again.
    fn keep(&mut self, message: &[u8]) {
        /// Longer ones are no context that many messages have.
        const LONGEST: usize = 16 * 1024;
        let Some(value) = self.value.filter(|value| value.shape == Shape::Object) else {
            return;
        };
        if self.kept.is_empty() && value.span.end() <= LONGEST {
            self.kept_value = value;
            let text = message.get(self.at..).unwrap_or_default();
            let text = text.get(..value.span.end()).unwrap_or_default();
            self.kept.extend_from_slice(text);
        }
    }

    /// Forgets the text it has kept.
    pub(super) fn forget(&mut self) {
        self.clear();
    }

    /// Changes whenever another context has been scanned.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    fn scan(&mut self, scanner: &mut Scanner<'_, '_>) {
        scanner.peek();
        self.at = scanner.position();
        if !self.kept.is_empty() && scanner.skip_same(&self.kept) {
            self.value = Some(self.kept_value);
            return;
        }
        self.clear();
        scanner.on_its_own(|scanner| self.scan_anew(scanner));
    }

    fn scan_anew(&mut self, scanner: &mut Scanner<'_, '_>) {
        if scanner.peek() != Some(b'{') {
            self.value = Some(scanner.any());
            return;
        }
        let (value, names) = scanner.named_object(Whose::CONTEXT, |scanner, key| {
            let value = match Inner::from_name(key.name) {
                None => scanner.any(),
                Some(inner) => {
                    let start = self.inner.len();
                    let whose = Whose::inner(inner as u8);
                    let (value, _) = scanner.any_with_entries(whose, &mut self.inner);
                    if let Some(range) = self.objects.get_mut(inner as usize) {
                        *range = start..self.inner.len();
                    }
                    value
                }
            };
            self.entries.push(Entry {
                key: key.span,
                value,
                name: key.name,
            });
        });
        (self.value, self.names) = (Some(value), names);
    }

    /// Scans a text that is one value.
    pub(super) fn scan_text(
        &mut self,
        text: &[u8],
        scratch: &mut Scratch,
    ) -> Result<Cleanliness, Malformed> {
        let mut scanner = Scanner::new(text, scratch);
        self.scan(&mut scanner);
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

    /// Whether it has a key of the first level that is asked for.
    #[inline(always)]
    pub(super) fn has(&self, name: Name) -> bool {
        self.names.has(name)
    }

    /// Which of the keys of the first level are asked for.
    #[inline(always)]
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// The entries of one of its objects; none if it is missing or something else.
    #[inline(always)]
    pub(super) fn inner(&self, which: Inner) -> &[Entry] {
        match self.objects.get(which as usize) {
            Some(range) if range.start < range.end => {
                self.inner.get(range.clone()).unwrap_or_default()
            }
            _ => &[],
        }
    }
}
