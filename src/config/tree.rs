//! Parses YAML text into a tree in which each value stores its position.
//!
//! This does not use serde, because a deserializer stops at its first error, and a mistake in one route
//! must not hide a mistake in the next one.

use std::collections::HashMap;
use std::rc::Rc;

use granit_parser::{options, ErrorKind, Event, Marker, Parser, ScanError, Tag};

use super::problem::SourcePosition;

/// The deepest allowed nesting of lists and mappings, with aliases expanded. The deepest known key is at
/// level 5.
const NESTING_LIMIT: usize = 32;

/// The most values that a file may hold, with aliases expanded. This limit stops a "billion laughs" attack.
/// Every [`TEXT_WEIGHT`] bytes of text count as one more value.
const NODE_LIMIT: usize = 200_000;

/// The number of bytes of text that count as one value for [`NODE_LIMIT`].
const TEXT_WEIGHT: usize = 16;

/// A range of the text; `end` is not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SourceSpan {
    pub start: SourcePosition,
    pub end: SourcePosition,
}

impl SourceSpan {
    fn new(start: &Marker, end: &Marker) -> Self {
        Self {
            start: position(start),
            end: position(end),
        }
    }

    /// Returns an empty span at this position.
    pub fn point(position: SourcePosition) -> Self {
        Self {
            start: position,
            end: position,
        }
    }
}

fn position(marker: &Marker) -> SourcePosition {
    SourcePosition {
        line: marker.line().max(1),
        column: marker.col() + 1,
    }
}

/// One value.
#[derive(Debug)]
pub(super) struct Node {
    pub span: SourceSpan,
    pub kind: NodeKind,
    /// The number of values in it, including itself, as [`NODE_LIMIT`] counts them.
    size: usize,
    /// The number of nesting levels in it, including its own.
    height: usize,
}

/// The kind of a value. Scalars stay text: each key decides how to read its text.
#[derive(Debug)]
pub(super) enum NodeKind {
    Nothing,
    Text(String),
    List(Vec<Rc<Node>>),
    Mapping(Vec<MappingEntry>),
}

impl NodeKind {
    /// Its name in a message.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Text(_) => "a single value",
            Self::List(items) if items.is_empty() => "an empty list",
            Self::List(_) => "a list",
            Self::Mapping(_) => "a mapping",
        }
    }
}

/// One `key: value`.
#[derive(Debug)]
pub(super) struct MappingEntry {
    pub key: String,
    pub key_span: SourceSpan,
    pub value: Rc<Node>,
}

/// Why the text could not be parsed.
#[derive(Debug)]
pub(super) struct YamlError {
    pub position: SourcePosition,
    pub message: String,
}

/// Parses `text`, which may contain only one document.
pub(super) fn read(text: &str) -> Result<Rc<Node>, YamlError> {
    let options = options! {
        emit_comments: false,
        flow_nesting_limit: NESTING_LIMIT,
        block_nesting_limit: NESTING_LIMIT,
    };
    let mut builder = TreeBuilder::default();
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| in_plain_words(&error))?;
        builder.take(event, SourceSpan::new(&span.start, &span.end))?;
    }
    Ok(builder.root.unwrap_or_else(|| {
        let start = SourcePosition { line: 1, column: 1 };
        Rc::new(Node::leaf(SourceSpan::point(start), NodeKind::Nothing))
    }))
}

impl Node {
    fn leaf(span: SourceSpan, kind: NodeKind) -> Self {
        let text = match &kind {
            NodeKind::Text(text) => text.len(),
            _ => 0,
        };
        Self {
            span,
            kind,
            size: 1 + text / TEXT_WEIGHT,
            height: 1,
        }
    }
}

/// Adds `key: value` to the mapping at `path` (such as `routes[1].posthog`), if it has no such key.
pub(super) fn add_if_missing(root: &mut Rc<Node>, path: &str, key: &str, value: &str) {
    let Some(node) = Rc::get_mut(root) else {
        return;
    };
    let (step, rest) = path.split_once(['.', '[']).unwrap_or((path, ""));
    match &mut node.kind {
        NodeKind::List(items) => {
            let number = step.trim_end_matches(']').parse::<usize>();
            if let Some(item) = number.ok().and_then(|number| items.get_mut(number)) {
                add_if_missing(item, rest, key, value);
            }
        }
        NodeKind::Mapping(entries) if !path.is_empty() => {
            if let Some(entry) = entries.iter_mut().find(|entry| entry.key == step) {
                add_if_missing(&mut entry.value, rest, key, value);
            }
        }
        NodeKind::Mapping(entries) if entries.iter().all(|entry| entry.key != key) => {
            entries.push(MappingEntry {
                key: key.to_owned(),
                key_span: node.span,
                value: Rc::new(Node::leaf(node.span, NodeKind::Text(value.to_owned()))),
            });
        }
        _ => {}
    }
}

#[derive(Default)]
struct TreeBuilder {
    root: Option<Rc<Node>>,
    documents: usize,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
}

/// A list or a mapping that has not ended yet.
struct Open {
    start: SourcePosition,
    anchor: usize,
    size: usize,
    height: usize,
    content: Content,
}

enum Content {
    List(Vec<Rc<Node>>),
    Mapping {
        entries: Vec<MappingEntry>,
        key: Option<(String, SourceSpan)>,
    },
}

impl TreeBuilder {
    fn take(&mut self, event: Event<'_>, span: SourceSpan) -> Result<(), YamlError> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return broken(span, "a second document begins here; only one is allowed");
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(tag.as_deref(), span)?;
                let plain = matches!(style, granit_parser::ScalarStyle::Plain);
                let kind = if plain && is_nothing(&text) {
                    NodeKind::Nothing
                } else {
                    NodeKind::Text(text.into_owned())
                };
                self.complete(Rc::new(Node::leaf(span, kind)), anchor, span)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_tag(tag.as_deref(), span)?;
                self.begin(span, anchor, Content::List(Vec::new()));
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(tag.as_deref(), span)?;
                let content = Content::Mapping {
                    entries: Vec::new(),
                    key: None,
                };
                self.begin(span, anchor, content);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let anchor = open.anchor;
                    self.complete(Rc::new(open.close(span.end)), anchor, span)?;
                }
            }
            Event::Alias(id) => match self.anchors.get(&id) {
                Some(node) => self.complete(Rc::clone(node), 0, span)?,
                None => return broken(span, "this alias is inside the value to which it refers"),
            },
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, span: SourceSpan, anchor: usize, content: Content) {
        self.open.push(Open {
            start: span.start,
            anchor,
            size: 1,
            height: 1,
            content,
        });
    }

    /// Adds a complete value to the open list or mapping; `span` is the position that uses the value.
    fn complete(
        &mut self,
        node: Rc<Node>,
        anchor: usize,
        span: SourceSpan,
    ) -> Result<(), YamlError> {
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.size = open.size.saturating_add(node.size);
        open.height = open.height.max(node.height + 1);
        if open.size > NODE_LIMIT {
            return broken(span, "too many values, with aliases expanded");
        }
        if open.height > NESTING_LIMIT {
            return broken(span, "nested too deeply, with aliases expanded");
        }
        match &mut open.content {
            Content::List(items) => items.push(node),
            Content::Mapping { entries, key } => match key.take() {
                Some((key, key_span)) => entries.push(MappingEntry {
                    key,
                    key_span,
                    value: node,
                }),
                None => match &node.kind {
                    NodeKind::Text(text) => *key = Some((text.clone(), span)),
                    _ => return broken(span, "expected a name as the key"),
                },
            },
        }
        Ok(())
    }
}

impl Open {
    fn close(self, end: SourcePosition) -> Node {
        Node {
            span: SourceSpan {
                start: self.start,
                end,
            },
            size: self.size,
            height: self.height,
            kind: match self.content {
                Content::List(items) => NodeKind::List(items),
                Content::Mapping { entries, .. } => NodeKind::Mapping(entries),
            },
        }
    }
}

fn is_nothing(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

fn refuse_tag(tag: Option<&Tag>, span: SourceSpan) -> Result<(), YamlError> {
    match tag {
        Some(_) => broken(span, "tags such as !name are not supported"),
        None => Ok(()),
    }
}

fn broken<T>(span: SourceSpan, message: &str) -> Result<T, YamlError> {
    Err(YamlError {
        position: span.start,
        message: message.to_owned(),
    })
}

fn in_plain_words(error: &ScanError) -> YamlError {
    use ErrorKind as E;
    let message = match error.kind() {
        E::MappingValueNotAllowed => {
            "a `:` is not possible here; put the text into quotes, or correct the \
             indentation"
                .to_owned()
        }
        E::ExpectedBlockMappingKey | E::SimpleKeyExpected => {
            "expected `key: value`; is the indentation right?".to_owned()
        }
        E::ExpectedBlockSequenceEntry => {
            "expected the next `- ` of the list; an IPv6 address such as [::1]:80 needs quotes"
                .to_owned()
        }
        E::InvalidIndentation => "the indentation matches no line above".to_owned(),
        E::TabNotAllowed | E::TabInBlockIndentation | E::TabInIndentation => {
            "a tab cannot indent; use spaces".to_owned()
        }
        E::UnclosedQuotedScalar => "this quote is never closed".to_owned(),
        E::UnclosedFlowCollection { open } => format!("this `{open}` is never closed"),
        E::MisplacedFlowCollectionEnd | E::MismatchedFlowCollectionEnd { .. } => {
            "this bracket has no opening bracket".to_owned()
        }
        E::ExpectedFlowMappingSeparator => "expected `,` or `}`".to_owned(),
        E::ExpectedFlowSequenceSeparator => "expected `,` or `]`".to_owned(),
        E::UnknownAnchor => "no anchor above has the name of this alias".to_owned(),
        E::RecursionLimitExceeded => "nested too deeply".to_owned(),
        E::UnexpectedCharacter { character } => {
            format!("{character:?} cannot begin a value; put it into quotes")
        }
        other => other.to_string(),
    };
    YamlError {
        position: position(error.marker()),
        message: format!("not valid YAML: {message}"),
    }
}
