//! Indexes the context of a message, and the objects in it that Hedgerow reads.

use std::cell::Cell;
use std::ops::Range;

use super::super::json::{
    name, Cleanliness, Entry, EntryReceiver, Key, Malformed, Marks, Name, Names, ObjectKind,
    Scanner, Scratch, Shape, Value,
};
use super::super::known_objects::KnownObject;
use super::super::library_kind::LibraryKind;
use super::{find, named, ObjectNovelty};

/// The context and the objects in it that Hedgerow reads. Positions count from the start of the
/// context's text, not of the message's, because most messages of a batch have the same context.
#[derive(Debug, Default)]
pub(in crate::rewrite) struct Context {
    /// The offset of the context in the text of its message.
    at: usize,
    /// The text of the context, which the next message may repeat; empty if it is not stored.
    kept: Vec<u8>,
    kept_value: Value,
    /// Incremented whenever the index is cleared, as before a different context is scanned.
    generation: u64,
    pub(in crate::rewrite) value: Option<Value>,
    pub(in crate::rewrite) entries: Vec<Entry>,
    names: Names,
    inner: Vec<Entry>,
    objects: [Range<usize>; ContextObject::NUMBER],
    /// The kind of the library that sent it, once it has been determined.
    library: Cell<Option<LibraryKind>>,
    /// Parts of an earlier context, once there are any.
    known: Option<Box<KnownParts>>,
    pub(super) novelty: ObjectNovelty,
}

/// `library` and `userAgentData` of an earlier context.
#[derive(Debug, Default)]
struct KnownParts {
    library: KnownObject,
    browser: KnownObject,
}

impl KnownParts {
    fn held(&self) -> usize {
        self.library.held() + self.browser.held()
    }
}

macro_rules! inners {
    ($($inner:ident = $key:literal,)*) => {
        /// An object of the context whose entries are indexed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(in crate::rewrite) enum ContextObject {
            $($inner,)*
        }

        impl ContextObject {
            const NUMBER: usize = [$($key),*].len();
            const NAMES: &'static Marks = {
                static NAMES: Marks = Marks::of(&[$($key),*]);
                &NAMES
            };

            #[inline(always)]
            #[allow(non_upper_case_globals)]
            fn from_name(name: Name) -> Option<Self> {
                $(const $inner: Name = name!($key);)*
                Some(match name {
                    $($inner => Self::$inner,)*
                    _ => return None,
                })
            }

            /// Returns the path of the object in a message.
            pub(in crate::rewrite) fn path(self) -> &'static str {
                match self {
                    $(Self::$inner => concat!("context.", $key),)*
                }
            }
        }
    };
}

// The scanner remembers a form for each of these objects.
const _: () = assert!(ContextObject::NUMBER == ObjectKind::INNERS);

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

impl EntryReceiver for Context {
    #[inline(always)]
    fn receives_plain(name: Name) -> bool {
        !ContextObject::NAMES.has(name)
    }

    #[inline(always)]
    fn plain(&mut self, key: Key, value: Value) {
        self.entries.push(key.with(value));
    }

    #[inline(always)]
    fn other(&mut self, scanner: &mut Scanner<'_, '_>, key: Key) {
        let value = match ContextObject::from_name(key.name) {
            None => scanner.any_other(),
            Some(inner) => self.scan_inner(scanner, inner),
        };
        self.entries.push(key.with(value));
    }
}

impl Context {
    /// Returns the size of the memory that it holds, in bytes.
    pub(in crate::rewrite) fn held(&self) -> usize {
        (self.entries.capacity() + self.inner.capacity()) * size_of::<Entry>()
            + self.kept.capacity()
            + self.known.as_ref().map_or(0, |known| known.held())
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

    /// Returns the kind of the library that sent it, and calls `determine` only the first time.
    pub(in crate::rewrite) fn library_once(
        &self,
        determine: impl FnOnce() -> LibraryKind,
    ) -> LibraryKind {
        let library = self.library.get().unwrap_or_else(determine);
        self.library.set(Some(library));
        library
    }

    /// Returns the text of the context within the text of its message.
    pub(in crate::rewrite) fn text<'t>(&self, message: &'t str) -> &'t str {
        let length = self.value.map_or(0, |value| value.span.end());
        message.get(self.at..self.at + length).unwrap_or_default()
    }

    /// Stores the text of the context, which is clean, so that it is recognised in the next message.
    pub(super) fn keep(&mut self, message: &[u8]) {
        /// The length of the longest text that is stored, in bytes: few messages share a longer context.
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

    /// Stores the objects that any later message may repeat.
    #[inline(never)]
    pub(super) fn keep_parts(&mut self, message: &str) {
        let text = self.text(message).as_bytes();
        let (library, browser) = (
            self.named(name!("library")),
            self.named(name!("userAgentData")),
        );
        let Self {
            inner,
            objects,
            known,
            ..
        } = self;
        let known = known.get_or_insert_default();
        let kept = [
            (library, ContextObject::Library, &mut known.library),
            (browser, ContextObject::UserAgentData, &mut known.browser),
        ];
        for (value, object, known) in kept {
            let range = objects.get(object as usize).cloned().unwrap_or_default();
            if let (Some(value), Some(entries)) = (value, inner.get(range)) {
                known.keep(value, text, entries);
            }
        }
    }

    /// Returns whether the text is stored, so that it is recognised in the next message.
    pub(in crate::rewrite) fn is_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Exchanges the stored objects with those of another context.
    pub(in crate::rewrite) fn exchange_parts(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.known, &mut other.known);
    }

    /// Forgets the stored text and the index.
    pub(in crate::rewrite) fn forget(&mut self) {
        if self.value.is_some() || self.is_kept() {
            self.clear();
        }
    }

    /// Returns a number that changes whenever a different context is scanned.
    pub(in crate::rewrite) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn scan(&mut self, scanner: &mut Scanner<'_, '_>) {
        scanner.peek();
        self.at = scanner.position();
        if !self.kept.is_empty() && scanner.skip_same(&self.kept) {
            self.value = Some(self.kept_value);
            return;
        }
        self.clear();
        scanner.as_separate_text(|scanner| self.rescan(scanner));
    }

    fn rescan(&mut self, scanner: &mut Scanner<'_, '_>) {
        if scanner.peek() != Some(b'{') {
            self.value = Some(scanner.any());
            return;
        }
        let (value, names) = scanner.named_object(ObjectKind::CONTEXT, self);
        (self.value, self.names) = (Some(value), names);
    }

    #[inline(always)]
    fn scan_inner(&mut self, scanner: &mut Scanner<'_, '_>, inner: ContextObject) -> Value {
        let start = self.inner.len();
        let known = self.known.as_ref().and_then(|known| match inner {
            ContextObject::Library => known.library.pass(scanner, &mut self.inner),
            ContextObject::UserAgentData => known.browser.pass(scanner, &mut self.inner),
            _ => None,
        });
        let value = known.unwrap_or_else(|| {
            if matches!(inner, ContextObject::Library | ContextObject::UserAgentData) {
                self.novelty = ObjectNovelty::Parts;
            }
            let kind = ObjectKind::inner(inner as u8);
            scanner
                .value_with_entries_unchecked(kind, &mut self.inner)
                .0
        });
        if let Some(range) = self.objects.get_mut(inner as usize) {
            *range = start..self.inner.len();
        }
        value
    }

    /// Scans a text that is one value.
    pub(in crate::rewrite) fn scan_text(
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

    /// Returns the value of any key of the first level.
    pub(in crate::rewrite) fn get(&self, text: &[u8], key: &str) -> Option<Value> {
        find(&self.entries, text, key)
    }

    /// Returns the value of a key of the first level that has a [`Name`].
    #[inline(always)]
    pub(in crate::rewrite) fn named(&self, name: Name) -> Option<Value> {
        let has = self.names.has(name);
        has.then(|| named(&self.entries, name)).flatten()
    }

    /// Returns whether the first level has the key `name`.
    #[inline(always)]
    pub(in crate::rewrite) fn has(&self, name: Name) -> bool {
        self.names.has(name)
    }

    /// Returns the names of the first level's keys; a key without a [`Name`] is not included.
    #[inline(always)]
    pub(in crate::rewrite) fn names(&self) -> &Names {
        &self.names
    }

    /// Returns the entries of one of its objects, or none if the value is missing or not an object.
    #[inline(always)]
    pub(in crate::rewrite) fn inner(&self, object: ContextObject) -> &[Entry] {
        match self.objects.get(object as usize) {
            Some(range) if range.start < range.end => {
                self.inner.get(range.clone()).unwrap_or_default()
            }
            _ => &[],
        }
    }
}
