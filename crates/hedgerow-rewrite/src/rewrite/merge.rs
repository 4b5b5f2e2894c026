//! Merges a batch-level value with the message's own value: a deep merge in which the message wins
//! (segment-tracking 2.6).

use std::collections::HashMap;
use std::ops::Range;

use super::json::{Malformed, Scanner, Scratch, Shape, Span, Value};

/// An index of a value and of the objects nested in it, at every level, built in one pass over the text.
/// Arrays are not indexed, because they are never merged.
#[derive(Debug, Default)]
pub(super) struct MergeTree {
    value: Option<Value>,
    /// Each entry, followed by the entries of its value.
    nodes: Vec<MergeNode>,
}

#[derive(Debug, Clone, Copy)]
struct MergeNode {
    key: Span,
    value: Value,
    /// The index in `nodes` after the last entry of its value.
    end: usize,
}

impl MergeTree {
    /// Indexes a text that is one clean value.
    pub(super) fn read(&mut self, text: &[u8], scratch: &mut Scratch) -> Result<(), Malformed> {
        self.nodes.clear();
        let mut scanner = Scanner::new(text, scratch);
        self.value = Some(read_value(&mut scanner, &mut self.nodes)?);
        Ok(())
    }

    fn is_object(&self) -> bool {
        self.value.is_some_and(|value| value.shape == Shape::Object)
    }

    /// Returns the entries of the object whose nodes are in the range `object`, each with its index.
    fn entries(&self, object: Range<usize>) -> impl Iterator<Item = (usize, MergeNode)> + '_ {
        let mut at = object.start;
        std::iter::from_fn(move || {
            let node = *self.nodes.get(at..object.end)?.first()?;
            let place = at;
            at = node.end;
            Some((place, node))
        })
    }

    fn whole(&self) -> Range<usize> {
        0..self.nodes.len()
    }
}

/// Scans one value and appends its entries to `nodes`. The recursion is as deep as the text is nested;
/// the scanner limits that depth.
fn read_value(
    scanner: &mut Scanner<'_, '_>,
    nodes: &mut Vec<MergeNode>,
) -> Result<Value, Malformed> {
    if scanner.peek() != Some(b'{') {
        return scanner.value();
    }
    scanner.object_value(|scanner, key| {
        let place = nodes.len();
        nodes.push(MergeNode {
            key,
            value: Value::default(),
            end: place,
        });
        let value = read_value(scanner, nodes)?;
        let end = nodes.len();
        if let Some(node) = nodes.get_mut(place) {
            (node.value, node.end) = (value, end);
        }
        Ok(value)
    })
}

/// A text and its index.
pub(super) type TextWithTree<'t> = (&'t [u8], &'t MergeTree);

/// Writes `base` with `over` merged into it. If both are objects, their entries are merged; otherwise
/// `over` is written.
pub(super) fn merge(base: TextWithTree<'_>, over: TextWithTree<'_>, out: &mut Vec<u8>) {
    if base.1.is_object() && over.1.is_object() {
        merge_objects(base, base.1.whole(), over, over.1.whole(), out);
    } else {
        out.extend_from_slice(over.0);
    }
}

fn merge_objects(
    (base, base_tree): TextWithTree<'_>,
    base_entries: Range<usize>,
    (over, over_tree): TextWithTree<'_>,
    over_entries: Range<usize>,
    out: &mut Vec<u8>,
) {
    let mut over_nodes: HashMap<&[u8], (usize, MergeNode)> = HashMap::new();
    for (place, node) in over_tree.entries(over_entries.clone()) {
        over_nodes.insert(node.key.of(over), (place, node));
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
    for (place, node) in base_tree.entries(base_entries) {
        let name = node.key.of(base);
        key(out, name);
        match over_nodes.remove(name) {
            None => out.extend_from_slice(node.value.of(base)),
            Some((over_place, over_node))
                if node.value.shape == Shape::Object && over_node.value.shape == Shape::Object =>
            {
                merge_objects(
                    (base, base_tree),
                    place + 1..node.end,
                    (over, over_tree),
                    over_place + 1..over_node.end,
                    out,
                );
            }
            Some((_, over_node)) => out.extend_from_slice(over_node.value.of(over)),
        }
    }
    for (_, node) in over_tree.entries(over_entries) {
        let name = node.key.of(over);
        if over_nodes.contains_key(name) {
            key(out, name);
            out.extend_from_slice(node.value.of(over));
        }
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tree(text: &str) -> MergeTree {
        let mut tree = MergeTree::default();
        tree.read(text.as_bytes(), &mut Scratch::default()).unwrap();
        tree
    }

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
            (
                json!({"a": {"b": {"c": 1, "d": {"e": 2}}, "f": [{"g": 1}]}, "h": 3}),
                json!({"a": {"f": [], "b": {"d": {"x": 4}, "c": {}}}, "i": {"j": 5}}),
                json!({"a": {"b": {"c": {}, "d": {"e": 2, "x": 4}}, "f": []}, "h": 3, "i": {"j": 5}}),
            ),
        ] {
            let mut out = Vec::new();
            let (base, over) = (base.to_string(), over.to_string());
            let (base_tree, over_tree) = (tree(&base), tree(&over));
            merge(
                (base.as_bytes(), &base_tree),
                (over.as_bytes(), &over_tree),
                &mut out,
            );
            let merged: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(merged, expected, "{base} + {over}");
        }
    }
}
