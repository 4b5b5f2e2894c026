//! `delivery.spool`: its place and its limits. The spool's crate defines the settings of each kind of
//! spool ([`KINDS`]).

mod settings;

use std::sync::LazyLock;
use std::time::Duration;

use hedgerow_spool::{SettingForm, SpoolKind, SpoolLimits, SpoolPlace, SpoolTakes, KINDS};

use super::reader::{ConfigReader, Field, Section};
use super::shape::{KeyType, SectionSchema, PLAIN, SECRET};

/// The spool, in which batches wait until PostHog is available again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolConfig {
    /// The place of the spool: a disk of this machine, or a shared store.
    pub place: SpoolPlace,
    /// The most that it may hold, in bytes.
    pub max_size: u64,
    /// The longest time that a batch may wait.
    pub max_age: Duration,
}

impl SpoolConfig {
    /// The limits of size and age.
    pub fn limits(&self) -> SpoolLimits {
        SpoolLimits {
            max_size: self.max_size,
            max_age: self.max_age,
        }
    }
}

/// The section of the spool, then the section of each kind that has one.
pub(super) static SECTIONS: LazyLock<Vec<&'static SectionSchema>> = LazyLock::new(|| {
    let mut sections = vec![&*SPOOL];
    sections.extend(KINDS.iter().filter_map(of_kind));
    sections
});

/// `delivery.spool`.
static SPOOL: LazyLock<SectionSchema> = LazyLock::new(|| {
    let named = KINDS.iter().map(|kind| {
        let key_type = match &kind.takes {
            SpoolTakes::One(form) => key_type(form),
            SpoolTakes::Section { .. } => KeyType::Section(kind.key),
        };
        (kind.key, key_type)
    });
    let bounds = [("max_size", KeyType::Read), ("max_age", KeyType::Read)];
    let keys: Vec<_> = named.chain(bounds).collect();
    let places: Vec<_> = KINDS.iter().map(|kind| kind.key).collect();
    SectionSchema {
        name: "spool",
        label: "`spool` of `delivery`",
        at: "delivery.spool",
        one_of: vec![&*places.leak()].leak(),
        keys: keys.leak(),
        ..PLAIN
    }
});

/// Creates the section of a kind, if it has one. The memory is never freed, but this runs once in a
/// process.
fn of_kind(kind: &'static SpoolKind) -> Option<&'static SectionSchema> {
    let SpoolTakes::Section {
        settings,
        required,
        needs,
        excludes,
    } = &kind.takes
    else {
        return None;
    };
    let keys = settings.iter();
    let keys: Vec<_> = keys.map(|(key, form)| (*key, key_type(form))).collect();
    Some(Box::leak(Box::new(SectionSchema {
        name: kind.key,
        label: format!("`{}` of `spool`", kind.key).leak(),
        at: format!("delivery.spool.{}", kind.key).leak(),
        required,
        needs,
        excludes,
        keys: keys.leak(),
        ..PLAIN
    })))
}

fn key_type(form: &'static SettingForm) -> KeyType {
    match form {
        SettingForm::Path { .. }
        | SettingForm::SecretFile { .. }
        | SettingForm::Certificates
        | SettingForm::PrivateKey => KeyType::Text,
        SettingForm::Secret { .. } => SECRET,
        SettingForm::Text { pattern, .. } => KeyType::Pattern(pattern),
        SettingForm::Secrets { pattern, .. } => {
            KeyType::OneOrMore(Box::leak(Box::new(KeyType::Pattern(pattern))))
        }
        SettingForm::Number { least, most } => KeyType::Number(*least, *most),
    }
}

/// Reads `delivery.spool`.
pub(super) fn read(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<SpoolConfig> {
    const DAY: Duration = Duration::from_secs(86_400);
    if field.is_off() {
        return None;
    }
    if field.text().is_some() {
        let forms = KINDS.iter().map(|kind| kind.key);
        let forms: Vec<_> = forms
            .map(|key| format!("{{{key}, max_size, max_age}}"))
            .collect();
        reader.wrong(field, format!("expected off, {}", forms.join(" or ")));
        return None;
    }
    let section = reader.section(field, &SPOOL)?;
    let place = place(reader, &section);
    let max_size = reader.size(&section, "max_size", 1 << 20..=1 << 50);
    let max_age = reader.duration(&section, "max_age", Duration::from_secs(1)..=DAY * 366);
    Some(SpoolConfig {
        place: place?,
        max_size: max_size.unwrap_or(1 << 30),
        max_age: max_age.unwrap_or(DAY * 7),
    })
}

fn place(reader: &mut ConfigReader<'_>, section: &Section<'_>) -> Option<SpoolPlace> {
    let mut places = Vec::new();
    for kind in KINDS {
        let Some(field) = section.get(kind.key).cloned() else {
            continue;
        };
        if let Some(feature) = kind.missing_feature() {
            reader.wrong_key(
                &field,
                format!(
                    "this build has no such spool: it was built without the cargo feature {feature}"
                ),
            );
            return None;
        }
        let place = settings::read(reader, &field, kind, &SECTIONS);
        if !places.is_empty() {
            reader.wrong_key(
                &field,
                format!("a spool has one place: {}, not both", keys()),
            );
            return None;
        }
        places.push(place);
    }
    if places.is_empty() {
        reader.incomplete(section, format!("needs {}", keys()));
    }
    places.pop()?
}

/// Lists the keys of all kinds for a message.
fn keys() -> String {
    let keys: Vec<_> = KINDS.iter().map(|kind| format!("`{}`", kind.key)).collect();
    keys.join(" or ")
}
