//! Writes the fields of a pixel's query as a JSON object. A dot in a field's name begins a nested level.
//!
//! A query of 64 KiB can name about sixteen thousand fields, or twenty thousand levels. Each of them costs
//! a few steps, whatever its name is.

use std::borrow::Cow;
use std::collections::HashMap;

use ahash::RandomState;

/// The largest number of levels in one name. Further dots are part of the last level.
const LEVELS: usize = 8;

/// A field of the query, with its full name.
pub(super) struct PixelField<'q> {
    name: Cow<'q, str>,
    value: Cow<'q, str>,
    levels: Levels,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Levels {
    One,
    Several,
}

impl<'q> PixelField<'q> {
    pub(super) fn new(name: Cow<'q, str>, value: Cow<'q, str>) -> Self {
        let levels = match name.bytes().any(|byte| byte == b'.') {
            true => Levels::Several,
            false => Levels::One,
        };
        Self {
            name,
            value,
            levels,
        }
    }
}

/// Writes the fields as one JSON object. A later field replaces an earlier one of the same name. A name
/// without dots can appear twice in the output; readers of JSON then use the last value.
pub(super) fn write_fields(fields: &[PixelField<'_>]) -> Vec<u8> {
    let length = fields
        .iter()
        .map(|PixelField { name, value, .. }| name.len() + value.len() + 6);
    let mut out = Vec::with_capacity(2 + length.sum::<usize>());
    let mut tree = FieldTree::default();
    let dotted = fields
        .iter()
        .filter(|field| field.levels == Levels::Several);
    for (first, _) in dotted.filter_map(|field| field.name.split_once('.')) {
        tree.find_or_add(ROOT, first);
    }
    out.push(b'{');
    let mut rest = fields;
    while let [PixelField {
        name,
        value,
        levels,
    }, others @ ..] = rest
    {
        rest = others;
        // A name without nested fields is written at once, without the tree.
        if *levels == Levels::Several || tree.find(ROOT, name).is_some() {
            tree.set(name, value);
            continue;
        }
        // Most repeated names follow each other directly, so only the next field is compared.
        if others.first().is_some_and(|next| next.name == *name) {
            continue;
        }
        write_key(&mut out, name);
        write_text(&mut out, value);
    }
    tree.write(ROOT, LEVELS, &mut out);
    out.push(b'}');
    out
}

/// The fields whose values can be objects, as a tree.
struct FieldTree<'q> {
    nodes: Vec<FieldNode<'q>>,
    objects: Vec<FieldObject>,
    /// The fields of each object that has more than `FEW`, by object and name.
    many: HashMap<(u32, &'q str), u32, RandomState>,
}

struct FieldNode<'q> {
    name: &'q str,
    content: FieldContent<'q>,
    /// The next field of the same object.
    next: Option<u32>,
}

#[derive(Clone, Copy)]
enum FieldContent<'q> {
    Nothing,
    Text(&'q str),
    /// A single nested field: the rest of its name, and its value. Most names share no level with another
    /// name, so they need no object of their own.
    Path(&'q str, &'q str),
    Object(u32),
}

#[derive(Default)]
struct FieldObject {
    first: Option<u32>,
    last: Option<u32>,
    length: u32,
}

/// The outermost object.
const ROOT: u32 = 0;

/// The names of an object are compared one by one up to this number; above it, they are in a map.
const FEW: u32 = 6;

impl Default for FieldTree<'_> {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            objects: vec![FieldObject::default()],
            many: HashMap::default(),
        }
    }
}

impl<'q> FieldTree<'q> {
    fn object(&self, object: u32) -> Option<&FieldObject> {
        self.objects.get(object as usize)
    }

    fn node(&self, node: u32) -> Option<&FieldNode<'q>> {
        self.nodes.get(node as usize)
    }

    /// Returns the fields of an object, in the order in which they were added.
    fn fields(&self, object: u32) -> impl Iterator<Item = (u32, &FieldNode<'q>)> {
        let mut at = self.object(object).and_then(|object| object.first);
        std::iter::from_fn(move || {
            let number = at?;
            let node = self.node(number)?;
            at = node.next;
            Some((number, node))
        })
    }

    fn find(&self, object: u32, name: &str) -> Option<u32> {
        let length = self.object(object)?.length;
        if length == 0 {
            return None;
        }
        if length > FEW {
            return self.many.get(&(object, name)).copied();
        }
        let mut fields = self.fields(object);
        fields
            .find(|(_, node)| node.name == name)
            .map(|(number, _)| number)
    }

    fn find_or_add(&mut self, object: u32, name: &'q str) -> u32 {
        if let Some(known) = self.find(object, name) {
            return known;
        }
        let number = self.nodes.len() as u32;
        self.nodes.push(FieldNode {
            name,
            content: FieldContent::Nothing,
            next: None,
        });
        let Some(FieldObject {
            first,
            last,
            length,
        }) = self.objects.get_mut(object as usize)
        else {
            return number;
        };
        let before = last.replace(number);
        first.get_or_insert(number);
        *length += 1;
        let length = *length;
        if let Some(before) = before.and_then(|before| self.nodes.get_mut(before as usize)) {
            before.next = Some(number);
        }
        if length == FEW + 1 {
            let all = self
                .fields(object)
                .map(|(number, node)| ((object, node.name), number));
            let all: Vec<_> = all.collect();
            self.many.extend(all);
        } else if length > FEW {
            self.many.insert((object, name), number);
        }
        number
    }

    fn set_content(&mut self, node: u32, content: FieldContent<'q>) {
        if let Some(node) = self.nodes.get_mut(node as usize) {
            node.content = content;
        }
    }

    fn set(&mut self, name: &'q str, value: &'q str) {
        let (mut at, mut left, mut name) = (ROOT, LEVELS, name);
        loop {
            let (level, rest) = split(name, left);
            let node = self.find_or_add(at, level);
            let Some(rest) = rest else {
                return self.set_content(node, FieldContent::Text(value));
            };
            (left, name) = (left - 1, rest);
            let content = self
                .node(node)
                .map_or(FieldContent::Nothing, |node| node.content);
            at = match content {
                FieldContent::Object(object) => object,
                FieldContent::Nothing | FieldContent::Text(_) => {
                    return self.set_content(node, FieldContent::Path(rest, value));
                }
                FieldContent::Path(other, other_value) => {
                    let object = self.objects.len() as u32;
                    self.objects.push(FieldObject::default());
                    self.set_content(node, FieldContent::Object(object));
                    let (level, rest) = split(other, left);
                    let inner = self.find_or_add(object, level);
                    self.set_content(
                        inner,
                        match rest {
                            None => FieldContent::Text(other_value),
                            Some(rest) => FieldContent::Path(rest, other_value),
                        },
                    );
                    object
                }
            };
        }
    }

    /// Writes an object's fields, which have at most `left` levels. The recursion is as deep as the levels.
    fn write(&self, object: u32, left: usize, out: &mut Vec<u8>) {
        for (_, node) in self.fields(object) {
            match node.content {
                FieldContent::Nothing => {}
                FieldContent::Text(text) => {
                    write_key(out, node.name);
                    write_text(out, text);
                }
                FieldContent::Path(rest, value) => {
                    write_key(out, node.name);
                    let mut depth = 0;
                    for level in rest.splitn(left - 1, '.') {
                        out.push(b'{');
                        write_key(out, level);
                        depth += 1;
                    }
                    write_text(out, value);
                    out.resize(out.len() + depth, b'}');
                }
                FieldContent::Object(object) => {
                    write_key(out, node.name);
                    out.push(b'{');
                    self.write(object, left - 1, out);
                    out.push(b'}');
                }
            }
        }
    }
}

/// Splits a name into its first level and the rest. The rest is `None` if the name has no dot or only one
/// level is left.
fn split(name: &str, left: usize) -> (&str, Option<&str>) {
    let dot = name.bytes().position(|byte| byte == b'.');
    match dot.filter(|_| left > 1) {
        None => (name, None),
        Some(dot) => {
            let rest = name.get(dot + 1..).unwrap_or_default();
            (name.get(..dot).unwrap_or_default(), Some(rest))
        }
    }
}

/// Writes a key and its colon, after a comma if it is not the first key of its object.
fn write_key(out: &mut Vec<u8>, name: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    write_text(out, name);
    out.push(b':');
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    let is_special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    // The fold reads every byte and never stops early, so that the compiler can check many bytes at once.
    let special = text.bytes().fold(false, |any, byte| any | is_special(byte));
    if !special {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    // Writing to a vector cannot fail.
    let _ = serde_json::to_writer(out, text);
}
