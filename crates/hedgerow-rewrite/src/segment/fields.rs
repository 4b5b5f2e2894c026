//! The fields of a pixel's query as a JSON object: dots in their names are levels.
//!
//! A query of 64 KiB can name some sixteen thousand fields, or twenty thousand levels; each takes a few
//! steps, whatever they are called.

use std::borrow::Cow;
use std::collections::HashMap;

use ahash::RandomState;

/// Levels of one name; more dots stay in the last one.
const LEVELS: usize = 8;

/// Writes fields, of which a later one takes the place of an earlier one. Names without dots may stand
/// there twice, of which the last one counts.
pub(super) fn write_fields(fields: &[(Cow<'_, str>, Cow<'_, str>)]) -> Vec<u8> {
    let length = fields
        .iter()
        .map(|(name, value)| name.len() + value.len() + 6);
    let mut out = Vec::with_capacity(2 + length.sum::<usize>());
    let mut tree = FieldTree::default();
    let dotted = fields.iter().filter_map(|(name, _)| name.split_once('.'));
    for (first, _) in dotted {
        tree.find_or_add(ROOT, first);
    }
    out.push(b'{');
    for (name, value) in fields {
        // Where nothing is within a field of this name, it does not have to be looked for.
        if name.contains('.') || tree.find(ROOT, name).is_some() {
            tree.set(name, value);
            continue;
        }
        write_key(&mut out, name);
        write_text(&mut out, value);
    }
    tree.write(ROOT, &mut out);
    out.push(b'}');
    out
}

/// The names that are fields of fields.
struct FieldTree<'q> {
    nodes: Vec<Node<'q>>,
    objects: Vec<Object>,
    /// The fields of objects that have many.
    many: HashMap<(u32, &'q str), u32, RandomState>,
}

struct Node<'q> {
    name: &'q str,
    holds: Holds<'q>,
    /// The next field of the same object.
    next: Option<u32>,
}

#[derive(Clone, Copy)]
enum Holds<'q> {
    Nothing,
    Text(&'q str),
    Object(u32),
}

#[derive(Default)]
struct Object {
    first: Option<u32>,
    last: Option<u32>,
    length: u32,
}

/// The object that all are in.
const ROOT: u32 = 0;

/// So many names are compared one by one.
const FEW: u32 = 6;

impl Default for FieldTree<'_> {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            objects: vec![Object::default()],
            many: HashMap::default(),
        }
    }
}

impl<'q> FieldTree<'q> {
    fn object(&self, object: u32) -> Option<&Object> {
        self.objects.get(object as usize)
    }

    fn node(&self, node: u32) -> Option<&Node<'q>> {
        self.nodes.get(node as usize)
    }

    /// The fields of an object, in the order in which they came.
    fn fields(&self, object: u32) -> impl Iterator<Item = (u32, &Node<'q>)> {
        let mut at = self.object(object).and_then(|object| object.first);
        std::iter::from_fn(move || {
            let number = at?;
            let node = self.node(number)?;
            at = node.next;
            Some((number, node))
        })
    }

    fn find(&self, object: u32, name: &str) -> Option<u32> {
        if self.object(object)?.length > FEW {
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
        self.nodes.push(Node {
            name,
            holds: Holds::Nothing,
            next: None,
        });
        let Some(Object {
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

    fn set(&mut self, name: &'q str, value: &'q str) {
        let mut at = ROOT;
        let mut levels = name.splitn(LEVELS, '.').peekable();
        while let Some(level) = levels.next() {
            let number = self.find_or_add(at, level);
            let Some(node) = self.nodes.get_mut(number as usize) else {
                return;
            };
            if levels.peek().is_none() {
                node.holds = Holds::Text(value);
                return;
            }
            at = match node.holds {
                Holds::Object(object) => object,
                Holds::Nothing | Holds::Text(_) => {
                    let object = self.objects.len() as u32;
                    node.holds = Holds::Object(object);
                    self.objects.push(Object::default());
                    object
                }
            };
        }
    }

    /// Writes an object's fields. It is as deep as a name has levels.
    fn write(&self, object: u32, out: &mut Vec<u8>) {
        for (_, node) in self.fields(object) {
            match node.holds {
                Holds::Nothing => {}
                Holds::Text(text) => {
                    write_key(out, node.name);
                    write_text(out, text);
                }
                Holds::Object(object) => {
                    write_key(out, node.name);
                    out.push(b'{');
                    self.write(object, out);
                    out.push(b'}');
                }
            }
        }
    }
}

/// A key, behind the comma that separates it from what comes before it.
fn write_key(out: &mut Vec<u8>, name: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    write_text(out, name);
    out.push(b':');
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    // Writing to a vector cannot fail.
    let _ = serde_json::to_writer(out, text);
}
