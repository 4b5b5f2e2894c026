//! One Segment message as an index into its text: nothing is copied.

use std::ops::Range;

use super::json::{Entry, Malformed, Scanner, Scratch, Value};

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
    pub(super) properties: Part,
    pub(super) integrations: Part,
    pub(super) context: Context,
}

/// A value whose first level is looked into.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) value: Option<Value>,
    pub(super) entries: Vec<Entry>,
}

/// The context, with those of its objects that are looked into.
#[derive(Debug, Default)]
pub(super) struct Context {
    pub(super) value: Option<Value>,
    pub(super) entries: Vec<Entry>,
    inner: Vec<Entry>,
    objects: [Range<usize>; INNERS],
}

/// An object of the context that is looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inner {
    Page,
    Os,
    Screen,
    Device,
    Library,
    Campaign,
    App,
    Network,
    UserAgentData,
}

/// How many kinds of [`Inner`] there are.
const INNERS: usize = 9;

impl Inner {
    fn from_key(key: &[u8]) -> Option<Self> {
        Some(match key {
            b"page" => Self::Page,
            b"os" => Self::Os,
            b"screen" => Self::Screen,
            b"device" => Self::Device,
            b"library" => Self::Library,
            b"campaign" => Self::Campaign,
            b"app" => Self::App,
            b"network" => Self::Network,
            b"userAgentData" => Self::UserAgentData,
            _ => return None,
        })
    }
}

/// Whether a text can be copied from as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cleanliness {
    Clean,
    /// It has to be repaired first.
    Unclean,
}

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
        scanner.object(|scanner, key| {
            let slot = match key.of(text) {
                b"properties" => return self.properties.scan(scanner),
                b"context" => return self.context.scan(scanner, text),
                b"integrations" => return self.integrations.scan(scanner),
                b"type" => &mut self.kind,
                b"event" => &mut self.event,
                b"name" => &mut self.name,
                b"category" => &mut self.category,
                b"userId" => &mut self.user_id,
                b"anonymousId" => &mut self.anonymous_id,
                b"previousId" => &mut self.previous_id,
                b"groupId" => &mut self.group_id,
                b"traits" => &mut self.traits,
                b"messageId" => &mut self.message_id,
                b"timestamp" => &mut self.timestamp,
                b"originalTimestamp" => &mut self.original_timestamp,
                b"receivedAt" => &mut self.received_at,
                b"sentAt" => &mut self.sent_at,
                b"writeKey" => &mut self.write_key,
                b"_metadata" => &mut self.metadata,
                _ => return scanner.value().map(drop),
            };
            *slot = Some(scanner.value()?);
            Ok(())
        })?;
        Ok((cleanliness(&scanner), scanner.position()))
    }

    /// The memory it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        self.properties.held() + self.integrations.held() + self.context.held()
    }

    fn clear(&mut self) {
        // Takes the vectors out and back in, so that their memory is used again.
        let mut properties = std::mem::take(&mut self.properties);
        let mut integrations = std::mem::take(&mut self.integrations);
        let mut context = std::mem::take(&mut self.context);
        properties.clear();
        integrations.clear();
        context.clear();
        *self = Self {
            properties,
            integrations,
            context,
            ..Self::default()
        };
    }
}

fn cleanliness(scanner: &Scanner<'_, '_>) -> Cleanliness {
    if scanner.is_clean() {
        Cleanliness::Clean
    } else {
        Cleanliness::Unclean
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
    }

    fn scan(&mut self, scanner: &mut Scanner<'_, '_>) -> Result<(), Malformed> {
        self.clear();
        self.value = Some(scanner.value_with_entries(&mut self.entries)?);
        Ok(())
    }

    /// Scans a text that is one value.
    pub(super) fn scan_text(
        &mut self,
        text: &[u8],
        scratch: &mut Scratch,
    ) -> Result<Cleanliness, Malformed> {
        let mut scanner = Scanner::new(text, scratch);
        self.scan(&mut scanner)?;
        if !scanner.at_end() {
            return Err(Malformed::Syntax);
        }
        Ok(cleanliness(&scanner))
    }

    /// The value of a key of the first level.
    pub(super) fn get(&self, text: &[u8], key: &str) -> Option<Value> {
        find(&self.entries, text, key)
    }
}

/// The value of a key among entries, none of which stands there twice.
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
    }

    fn clear(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        let mut inner = std::mem::take(&mut self.inner);
        entries.clear();
        inner.clear();
        *self = Self {
            entries,
            inner,
            ..Self::default()
        };
    }

    fn scan(&mut self, scanner: &mut Scanner<'_, '_>, text: &[u8]) -> Result<(), Malformed> {
        self.clear();
        if scanner.peek() != Some(b'{') {
            self.value = Some(scanner.value()?);
            return Ok(());
        }
        self.value = Some(scanner.object_value(|scanner, key| {
            let inner = Inner::from_key(key.of(text));
            let value = match inner {
                None => scanner.value()?,
                Some(inner) => {
                    let start = self.inner.len();
                    let value = scanner.value_with_entries(&mut self.inner)?;
                    if let Some(range) = self.objects.get_mut(inner as usize) {
                        *range = start..self.inner.len();
                    }
                    value
                }
            };
            self.entries.push(Entry { key, value });
            Ok(value)
        })?);
        Ok(())
    }

    /// Scans a text that is one value.
    pub(super) fn scan_text(
        &mut self,
        text: &[u8],
        scratch: &mut Scratch,
    ) -> Result<Cleanliness, Malformed> {
        let mut scanner = Scanner::new(text, scratch);
        self.scan(&mut scanner, text)?;
        if !scanner.at_end() {
            return Err(Malformed::Syntax);
        }
        Ok(cleanliness(&scanner))
    }

    /// The value of a key of the first level.
    pub(super) fn get(&self, text: &[u8], key: &str) -> Option<Value> {
        find(&self.entries, text, key)
    }

    /// The entries of one of its objects; none if it is missing or something else.
    pub(super) fn inner(&self, which: Inner) -> &[Entry] {
        let range = self
            .objects
            .get(which as usize)
            .cloned()
            .unwrap_or_default();
        self.inner.get(range).unwrap_or_default()
    }
}
