//! References to values outside the file: `env:NAME` and `file:PATH`.

use std::env::VarError;
use std::path::Path;

use super::reader::{ConfigReader, Field};

/// Reads a secret: `env:NAME`, `file:PATH` or the value itself. Also returns the name of its source, with
/// which a message begins. No message repeats the value.
pub(super) fn named(
    reader: &mut ConfigReader<'_>,
    field: &Field<'_>,
    expected: &str,
) -> Option<(String, &'static str)> {
    let text = reader.literal(field, expected)?.trim();
    if let Some(name) = text.strip_prefix("env:") {
        return Some((variable(reader, field, name.trim())?, "the variable: "));
    }
    if let Some(path) = text.strip_prefix("file:") {
        return Some((file(reader, field, path.trim())?, "the file: "));
    }
    if text.starts_with('$') {
        reader.wrong(field, "variables are written as env:NAME");
        return None;
    }
    Some((text.to_owned(), ""))
}

fn variable(reader: &mut ConfigReader<'_>, field: &Field<'_>, name: &str) -> Option<String> {
    let is_name = !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    // A key after `env:` is a mistake, and the message must not repeat it as a variable's name.
    if !is_name || name.starts_with("phc_") || name.starts_with("phx_") {
        reader.wrong(
            field,
            "expected the name of an environment variable after env:",
        );
        return None;
    }
    match reader.secrets.variable(name) {
        Ok(value) => Some(value),
        Err(VarError::NotPresent) => {
            let message = format!("the environment variable {name} is not set");
            reader.wrong(field, message);
            None
        }
        Err(VarError::NotUnicode(_)) => {
            let message = format!("the environment variable {name} is not UTF-8 text");
            reader.wrong(field, message);
            None
        }
    }
}

fn file(reader: &mut ConfigReader<'_>, field: &Field<'_>, path: &str) -> Option<String> {
    if path.is_empty() {
        reader.wrong(field, "expected a path after file:");
        return None;
    }
    let path = reader.secrets.resolve(Path::new(path));
    let read = reader.secrets.secret_file(&path);
    let message = match read.map(String::from_utf8) {
        Ok(Ok(text)) => return Some(text),
        Ok(Err(_)) => format!("{} is not UTF-8 text", path.display()),
        Err(error) => format!("cannot read {}: {error}", path.display()),
    };
    reader.wrong(field, message);
    None
}
