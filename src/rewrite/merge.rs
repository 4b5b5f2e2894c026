//! Batch-level values and a message's own become one: a deep merge in which the message wins
//! (segment-tracking 2.6).

use std::collections::HashMap;

use super::json::{Entry, Malformed, Scratch, Shape};
use super::message::Part;

/// Writes `base` with `over` merged into it. Both are clean values; where both are objects their
/// entries are merged, else `over` stands.
///
/// Recursion goes as deep as the texts nest, which the scanner has bounded.
pub(super) fn merge(
    base: &[u8],
    over: &[u8],
    out: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<(), Malformed> {
    let (mut below, mut above) = (Part::default(), Part::default());
    below.scan_text(base, scratch)?;
    above.scan_text(over, scratch)?;
    let object = |part: &Part| part.value.is_some_and(|value| value.shape == Shape::Object);
    if !object(&below) || !object(&above) {
        out.extend_from_slice(over);
        return Ok(());
    }
    let mut winners: HashMap<&[u8], &Entry> = HashMap::with_capacity(above.entries.len());
    for entry in &above.entries {
        winners.insert(entry.key.of(over), entry);
    }
    let mut first = true;
    let mut key = |out: &mut Vec<u8>, key: &[u8]| {
        if !std::mem::replace(&mut first, false) {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(key);
        out.extend_from_slice(b"\":");
    };
    out.push(b'{');
    for entry in &below.entries {
        let name = entry.key.of(base);
        key(out, name);
        match winners.remove(name) {
            Some(winner) => merge(entry.value.of(base), winner.value.of(over), out, scratch)?,
            None => out.extend_from_slice(entry.value.of(base)),
        }
    }
    for entry in &above.entries {
        let name = entry.key.of(over);
        if winners.contains_key(name) {
            key(out, name);
            out.extend_from_slice(entry.value.of(over));
        }
    }
    out.push(b'}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    #[test]
    fn the_message_wins_at_every_level_and_nothing_else_is_lost() {
        for (base, over, expected) in [
            (
                json!({"device": {"type": "phone", "name": "iPhone"}, "ip": "1.2.3.4"}),
                json!({"device": {"name": "override"}, "os": {"name": "x"}}),
                json!({"device": {"type": "phone", "name": "override"}, "ip": "1.2.3.4", "os": {"name": "x"}}),
            ),
            (
                json!({"a": {"b": 1}}),
                json!({"a": null}),
                json!({"a": null}),
            ),
            (json!({"a": 1}), json!({}), json!({"a": 1})),
            (json!({}), json!({"a": {"b": []}}), json!({"a": {"b": []}})),
            (json!([1]), json!({"a": 1}), json!({"a": 1})),
            (json!({"a": 1}), json!("text"), json!("text")),
        ] {
            let mut out = Vec::new();
            merge(
                base.to_string().as_bytes(),
                over.to_string().as_bytes(),
                &mut out,
                &mut Scratch::default(),
            )
            .unwrap();
            let merged: Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(merged, expected, "{base} + {over}");
        }
    }
}
