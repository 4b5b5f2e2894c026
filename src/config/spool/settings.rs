//! Reads the settings of a kind of spool. The kind defines the form of each setting.

use std::collections::BTreeMap;
use std::path::Path;

use hedgerow_spool::{
    SettingForm, SettingMistake, SettingValue, SpoolKind, SpoolPlace, SpoolSettings, SpoolTakes,
};

use crate::config::pem::{pem, PemContent};
use crate::config::reader::{ConfigReader, Field};
use crate::config::references;
use crate::config::secret::WithoutSecrets;
use crate::config::shape::SectionSchema;

/// The field of a value, and the text for the start of a message that names the origin of the value.
type ReadValue<'n> = (Field<'n>, &'static str);

/// Reads the value of a kind's key, and creates the place of the spool from it. Returns `None` after a
/// mistake.
pub(super) fn read<'n>(
    reader: &mut ConfigReader<'_>,
    field: &Field<'n>,
    kind: &'static SpoolKind,
    sections: &[&SectionSchema],
) -> Option<SpoolPlace> {
    let before = reader.mistakes.len();
    let mut settings = SpoolSettings::default();
    // By the key of each setting: its field, and the fields of its values.
    let mut given: BTreeMap<&str, (Field<'n>, Vec<ReadValue<'n>>)> = BTreeMap::new();
    let mut take = |reader: &mut ConfigReader<'_>, key, field: &Field<'n>, form| {
        let (value, values) = value(reader, field, form);
        settings.set(key, value.unwrap_or(SettingValue::Mistaken));
        given.insert(key, (field.clone(), values));
    };
    match &kind.takes {
        SpoolTakes::One(form) => take(reader, kind.key, field, form),
        SpoolTakes::Section {
            settings, required, ..
        } => {
            let schema = sections.iter().find(|one| one.name == kind.key)?;
            let section = reader.section(field, schema)?;
            for key in *required {
                section.require(reader, key);
            }
            for (key, form) in *settings {
                if let Some(field) = section.get(key) {
                    take(reader, key, field, form);
                }
            }
        }
    }
    let place = kind.place(settings);
    let mistakes = place.as_ref().err().into_iter().flatten();
    for mistake in mistakes {
        match mistake {
            SettingMistake::Key { key, message } => {
                reader.wrong_key(&given.get(key)?.0, message.as_str());
            }
            SettingMistake::Value {
                key,
                index,
                message,
            } => {
                let (field, values) = given.get(key)?;
                match values.get(*index) {
                    Some((value, origin)) => reader.wrong(value, format!("{origin}{message}")),
                    None => reader.wrong(field, message.as_str()),
                }
            }
        }
    }
    place.ok().filter(|_| reader.mistakes.len() == before)
}

/// Reads a value of this form. The value is `None` if it has a mistake.
fn value<'n>(
    reader: &mut ConfigReader<'_>,
    field: &Field<'n>,
    form: &SettingForm,
) -> (Option<SettingValue>, Vec<ReadValue<'n>>) {
    let alone = |value| (value, vec![(field.clone(), "")]);
    match form {
        SettingForm::Path { expected } => {
            let path = path(reader, field, expected);
            alone(path.map(|text| SettingValue::Path(reader.secrets.resolve(Path::new(text)))))
        }
        SettingForm::Text { expected, .. } => {
            let text = reader.text(field, expected);
            alone(text.map(|text| SettingValue::Text(text.to_owned())))
        }
        SettingForm::Secret { expected } => match references::named(reader, field, expected) {
            None => alone(None),
            Some((text, origin)) if text.trim().is_empty() => {
                reader.wrong(field, format!("{origin}it is empty"));
                alone(None)
            }
            Some((text, origin)) => {
                let text = SettingValue::Text(text.trim().to_owned());
                (Some(text), vec![(field.clone(), origin)])
            }
        },
        SettingForm::Secrets { expected, .. } => secrets(reader, field, expected),
        SettingForm::SecretFile {
            expected,
            holds,
            otherwise,
        } => alone(secret_file(reader, field, expected, *holds, otherwise)),
        SettingForm::Certificates => alone(pem_path(reader, field, PemContent::Certificate)),
        SettingForm::PrivateKey => alone(pem_path(reader, field, PemContent::PrivateKey)),
        SettingForm::Number { least, most } => {
            let number = reader.number_of(field, *least..=*most);
            alone(number.map(SettingValue::Number))
        }
    }
}

fn secrets<'n>(
    reader: &mut ConfigReader<'_>,
    field: &Field<'n>,
    expected: &str,
) -> (Option<SettingValue>, Vec<ReadValue<'n>>) {
    let fields = field.each();
    if fields.is_empty() {
        reader.expected(field, expected);
        return (None, Vec::new());
    }
    let before = reader.mistakes.len();
    let (mut texts, mut values) = (Vec::new(), Vec::new());
    for field in fields {
        if let Some((text, origin)) = references::named(reader, &field, expected) {
            texts.push(text);
            values.push((field, origin));
        }
    }
    let whole = reader.mistakes.len() == before;
    (whole.then_some(SettingValue::Texts(texts)), values)
}

fn secret_file(
    reader: &mut ConfigReader<'_>,
    field: &Field<'_>,
    expected: &str,
    holds: fn(&str) -> bool,
    otherwise: &str,
) -> Option<SettingValue> {
    let text = path(reader, field, expected)?;
    // A user may paste the file instead of its path; the log must not show it.
    if text.len() > 1024 || text.contains('\n') {
        reader.wrong(field, format!("expected {expected}"));
        return None;
    }
    let path = reader.secrets.resolve(Path::new(text));
    let message = match reader.secrets.secret_file(&path).map(String::from_utf8) {
        Ok(Ok(held)) if holds(&held) || WithoutSecrets::is_placeholder(&held) => {
            return Some(SettingValue::Text(held));
        }
        Ok(_) => format!("{} {otherwise}", path.display()),
        Err(error) => format!("cannot read {}: {error}", path.display()),
    };
    reader.wrong(field, message);
    None
}

fn pem_path(
    reader: &mut ConfigReader<'_>,
    field: &Field<'_>,
    content: PemContent,
) -> Option<SettingValue> {
    pem(reader, field, content).map(|(path, _)| SettingValue::Path(path))
}

fn path<'n>(reader: &mut ConfigReader<'_>, field: &Field<'n>, expected: &str) -> Option<&'n str> {
    let text = reader.text(field, expected)?;
    if text.is_empty() {
        reader.wrong(field, format!("expected {expected}"));
        return None;
    }
    Some(text)
}
