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
            _ => false,
        }
    }
}
