//! JSON as text and as a value. The code under test gets the text and the independent
//! implementation the value, so that neither depends on the other's reader.

use serde_json::{Map, Value};

#[derive(Debug, Clone)]
pub enum Node {
    Null,
    Bool(bool),
    /// A number as written, and as read.
    Number(&'static str),
    /// `NaN`, `1e400` and the like, which are read as null.
    NoNumber(&'static str),
    Text(Text),
    Array(Vec<Node>),
    /// Keys in the order of writing; some are repeated.
    Object(Vec<(Text, Node)>),
}

/// A string between its quotes, as written, and as read.
#[derive(Debug, Clone)]
pub struct Text {
    written: String,
    means: String,
}

impl Text {
    /// Written with as few escapes as JSON allows.
    pub fn plain(means: &str) -> Self {
        let quoted = Value::from(means).to_string();
        Self {
            written: quoted[1..quoted.len() - 1].to_owned(),
            means: means.to_owned(),
        }
    }

    /// Written with an escape for each UTF-16 unit.
    pub fn escaped(means: &str) -> Self {
        let units = means.encode_utf16();
        Self {
            written: units.map(|unit| format!("\\u{unit:04x}")).collect(),
            means: means.to_owned(),
        }
    }

    /// With half a surrogate pair or a raw control character, which the rewriting repairs.
    pub fn odd(written: &str, means: &str) -> Self {
        Self {
            written: written.to_owned(),
            means: means.to_owned(),
        }
    }
}

impl From<&str> for Node {
    fn from(means: &str) -> Self {
        Self::Text(Text::plain(means))
    }
}

pub fn object<const N: usize>(entries: [(&str, Node); N]) -> Node {
    let entries = entries.into_iter();
    Node::Object(
        entries
            .map(|(key, node)| (Text::plain(key), node))
            .collect(),
    )
}

impl Node {
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
            Self::Number(written) | Self::NoNumber(written) => out.push_str(written),
            Self::Text(text) => write_text(text, out),
            Self::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at == 0 { "[" } else { ", " });
                    item.write(out);
                }
                out.push_str(if items.is_empty() { "[]" } else { "]" });
            }
            Self::Object(entries) => {
                for (at, (key, value)) in entries.iter().enumerate() {
                    out.push_str(if at == 0 { "{" } else { "," });
                    write_text(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push_str(if entries.is_empty() { "{ }" } else { "}" });
            }
        }
    }

    /// Of a repeated key, the last value counts.
    pub fn value(&self) -> Value {
        match self {
            Self::Null | Self::NoNumber(_) => Value::Null,
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Number(written) => serde_json::from_str(written).unwrap(),
            Self::Text(text) => Value::from(text.means.as_str()),
            Self::Array(items) => items.iter().map(Self::value).collect(),
            Self::Object(entries) => {
                let mut all = Map::new();
                for (key, value) in entries {
                    all.insert(key.means.clone(), value.value());
                }
                Value::Object(all)
            }
        }
    }
}

fn write_text(text: &Text, out: &mut String) {
    out.push('"');
    out.push_str(&text.written);
    out.push('"');
}
