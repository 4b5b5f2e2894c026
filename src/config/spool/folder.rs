//! `path`: a spool in a folder.

use std::path::Path;

use hedgerow_spool::SpoolPlace;

use crate::config::reader::{ConfigReader, Field};

pub(super) fn read(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<SpoolPlace> {
    const EXPECTED: &str = "the path of a folder";
    let text = reader.text(field, EXPECTED)?;
    if text.is_empty() {
        reader.wrong(field, format!("expected {EXPECTED}"));
        return None;
    }
    Some(SpoolPlace::Folder(reader.secrets.resolve(Path::new(text))))
}
