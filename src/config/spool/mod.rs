//! `delivery.spool`: its bounds, and where it is. Each kind of spool is one line of [`KINDS`] and a
//! file of this folder.

mod folder;
mod nats;

use std::time::Duration;

use hedgerow_spool::SpoolPlace;

use super::model::SpoolConfig;
use super::reader::{ConfigReader, Field, Section};
use super::schema;

/// How a kind of spool is read from the value of its key.
type SpoolReader = fn(&mut ConfigReader<'_>, &Field<'_>) -> Option<SpoolPlace>;

/// The kinds of spool, by their keys.
const KINDS: [(&str, SpoolReader); 2] = [("path", folder::read), ("nats", nats::read)];

/// Reads `delivery.spool`.
pub(super) fn read(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<SpoolConfig> {
    const DAY: Duration = Duration::from_secs(86_400);
    if field.is_off() {
        return None;
    }
    if field.text().is_some() {
        let forms = KINDS.map(|(key, _)| format!("{{{key}, max_size, max_age}}"));
        reader.wrong(field, format!("expected off, {}", forms.join(" or ")));
        return None;
    }
    let section = reader.section(field, &schema::SPOOL)?;
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
    for (key, read) in KINDS {
        let Some(field) = section.get(key).cloned() else {
            continue;
        };
        let place = read(reader, &field);
        if !places.is_empty() {
            reader.wrong_key(
                &field,
                format!("a spool has one place: {}, not both", keys()),
            );
            return None;
        }
        let lacking = place
            .as_ref()
            .and_then(|place| place.backend().missing_feature());
        if let Some(feature) = lacking {
            reader.wrong_key(
                &field,
                format!(
                    "this build has no such spool: it was built without the cargo feature {feature}"
                ),
            );
            return None;
        }
        places.push(place);
    }
    if places.is_empty() {
        reader.lacking(section, format!("needs {}", keys()));
    }
    places.pop()?
}

/// The keys, of which one is needed.
fn keys() -> String {
    KINDS.map(|(key, _)| format!("`{key}`")).join(" or ")
}
