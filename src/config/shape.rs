//! The types of the values in the YAML, and the relations between the keys of a section.

/// The type of a key's value.
pub(super) enum KeyType {
    /// A word, size, duration or number. The reader defines the words and the bounds.
    Read,
    /// Like `Read`, but the reader defines the words and bounds at this path of the example.
    ReadAt(&'static str),
    /// A single value of any text.
    Text,
    /// A single text, number or boolean: a constant of a project.
    Value,
    /// A whole number between these bounds, both included.
    Number(usize, usize),
    /// A text that matches this regular expression.
    Pattern(&'static str),
    /// One of these words.
    Words(&'static [&'static str]),
    /// The word `off`.
    Off,
    /// No value after the key.
    Nothing,
    /// The section of this name.
    Section(&'static str),
    /// The section of this name, or nothing.
    Optional(&'static str),
    /// A mapping whose keys Hedgerow does not define.
    Mapping,
    /// A mapping whose keys the author of the file chooses, and the most entries; 0 for no limit.
    MapOf(&'static KeyType, usize),
    /// A list, and the least and the most items; 0 for no bound.
    ListOf(&'static KeyType, usize, usize),
    /// A value of this type, or a list of one or more.
    OneOrMore(&'static KeyType),
    /// A value of any of these types.
    AnyOf(&'static [KeyType]),
}

/// An address and a port; IPv6 in brackets.
pub(super) const ADDRESS: KeyType = KeyType::Pattern(r"^(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]{1,5}$");
/// An address and a port, or the word `off`.
pub(super) const ADDRESS_OR_OFF: KeyType = KeyType::AnyOf(&[ADDRESS, KeyType::Off]);
/// The path of requests.
pub(super) const PATH: KeyType = KeyType::Pattern("^/");
/// The URL of a server: scheme and authority.
pub(super) const SERVER_URL: KeyType = KeyType::Pattern("^https?://[^/]+/?$");
/// A network or an address.
pub(super) const NETWORK: KeyType = KeyType::Pattern(r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$");
/// The name of one of `projects`.
pub(super) const PROJECT_NAME: KeyType = KeyType::Text;
/// A secret, or a reference to it (`env:NAME`, `file:PATH`).
pub(super) const SECRET: KeyType = KeyType::Text;

/// A section of the YAML.
pub(super) struct SectionSchema {
    /// Its name among the definitions of the schema, and the heading of its table in
    /// docs/configuration.md.
    pub name: &'static str,
    /// Its name in a message.
    pub label: &'static str,
    /// Its path in the example that has every section.
    pub at: &'static str,
    /// The keys that it must have.
    pub required: &'static [&'static str],
    /// Groups of keys. The section must have exactly one key of each group.
    pub one_of: &'static [&'static [&'static str]],
    /// Pairs of keys of which the first requires the second.
    pub needs: &'static [(&'static str, &'static str)],
    /// Pairs of keys of which only one may be set.
    pub excludes: &'static [(&'static str, &'static str)],
    /// Its keys, and the type of each key's value.
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
    /// Whether the reader defines the words or bounds of this value itself.
    pub fn is_read(&self) -> bool {
        match self {
            Self::Read => true,
            Self::AnyOf(shapes) => shapes.iter().any(Self::is_read),
            // The values in these have other paths, where the reader defines them.
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
