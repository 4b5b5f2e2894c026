//! The values of a key of the YAML, and the relations between the keys of a section.

/// The type of a key's value.
pub(super) enum KeyType {
    /// One of the words, or a size, duration or number within the bounds, that the reader asks for.
    Read,
    /// The same, where the example has it.
    ReadAt(&'static str),
    /// A single value of any text.
    Text,
    /// A single value or nothing: a constant of a project.
    Value,
    /// A whole number from, and up to.
    Number(usize, usize),
    /// A text of this form.
    Pattern(&'static str),
    /// One of these.
    Words(&'static [&'static str]),
    /// The word `off`.
    Off,
    /// Nothing behind the key.
    Nothing,
    /// A section.
    Section(&'static str),
    /// A section, or nothing.
    Optional(&'static str),
    /// A mapping that is not ours.
    Mapping,
    /// A mapping with names of the writer's own; at most so many, or 0 for any number.
    MapOf(&'static KeyType, usize),
    /// A list of so many at least, and at most; 0 for no bound.
    ListOf(&'static KeyType, usize, usize),
    /// One, or a list of one or more.
    OneOrMore(&'static KeyType),
    /// Any of these.
    AnyOf(&'static [KeyType]),
}

/// An address and a port; IPv6 in brackets.
pub(super) const ADDRESS: KeyType = KeyType::Pattern(r"^(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]{1,5}$");
/// The same, or the word `off`.
pub(super) const ADDRESS_OR_OFF: KeyType = KeyType::AnyOf(&[ADDRESS, KeyType::Off]);
/// A path that requests have.
pub(super) const PATH: KeyType = KeyType::Pattern("^/");
/// A server: scheme and authority.
pub(super) const SERVER_URL: KeyType = KeyType::Pattern("^https?://[^/]+/?$");
/// A network, or an address.
pub(super) const NETWORK: KeyType = KeyType::Pattern(r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$");
/// The name of one of `projects`.
pub(super) const PROJECT_NAME: KeyType = KeyType::Text;
/// A name, path or word, `env:NAME` and `file:PATH` among them.
pub(super) const SECRET: KeyType = KeyType::Text;

/// A section of the YAML.
pub(super) struct SectionSchema {
    /// Its name among the definitions, and above its table in docs/configuration.md.
    pub name: &'static str,
    /// Its name in a message.
    pub label: &'static str,
    /// Where the example of everything has it.
    pub at: &'static str,
    /// The keys without which it means nothing.
    pub required: &'static [&'static str],
    /// Exactly one of each of these is given.
    pub one_of: &'static [&'static [&'static str]],
    /// The first is not given without the second.
    pub needs: &'static [(&'static str, &'static str)],
    /// Not both are given.
    pub excludes: &'static [(&'static str, &'static str)],
    /// Its keys, and what each takes.
    pub keys: &'static [(&'static str, KeyType)],
}

/// All sections of a file.
pub(super) type Sections = &'static [&'static SectionSchema];

/// A section without keys and conditions.
pub(super) const PLAIN: SectionSchema = SectionSchema {
    name: "",
    label: "",
    at: "",
    required: &[],
    one_of: &[],
    needs: &[],
    excludes: &[],
    keys: &[],
};

impl SectionSchema {
    /// The names of its keys.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.keys.iter().map(|(name, _)| *name)
    }

    /// Whether it has this key.
    pub fn has(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }
}

impl KeyType {
    /// Whether words or bounds are the reader's own.
    pub fn is_read(&self) -> bool {
        match self {
            Self::Read => true,
            Self::AnyOf(shapes) => shapes.iter().any(Self::is_read),
            // These are read at their own places.
            Self::ReadAt(_)
            | Self::Section(_)
            | Self::Optional(_)
            | Self::MapOf(..)
            | Self::ListOf(..)
            | Self::OneOrMore(_) => false,
            Self::Text
            | Self::Value
            | Self::Number(..)
            | Self::Pattern(_)
            | Self::Words(_)
            | Self::Off
            | Self::Nothing
            | Self::Mapping => false,
        }
    }
}
