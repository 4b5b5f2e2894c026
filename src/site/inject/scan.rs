//! Finds the end of a page's head in a stream of bytes.

use bytes::{Bytes, BytesMut};

use super::script::{ScriptState, ScriptStep};

/// The length of the part of a page in which the end of the head is searched for, in bytes.
const FURTHEST: usize = 1024 * 1024;

/// The longest name of a tag that matters (`noscript`, `textarea`).
const LONGEST_NAME: usize = 8;

/// Elements whose content is only text: it contains no tags until the element's own end tag.
const RAW: &[&str] = &[
    "script", "style", "title", "textarea", "noscript", "iframe", "xmp", "noembed", "noframes",
];

/// Puts a snippet into one page as it streams.
///
/// The snippet is put before `</head>`: there the page's title and canonical address are known, and
/// the browser has shown no part of the body. A page may omit that tag (HTML 13.1.2.4). The snippet
/// is then put before `<body`, or, if that is missing too, at the end of a page that has
/// `<!doctype` or `<html`. A fragment without any of these passes unchanged.
///
/// The output does not depend on how the page is divided into chunks. At most the first ten bytes
/// of a tag are held back.
#[derive(Debug)]
pub struct Injector {
    /// `None` after it was put in.
    snippet: Option<Bytes>,
    state: HtmlScanState,
    /// The first bytes of a tag whose name is still incomplete.
    held: BytesMut,
    seen: usize,
    document: Document,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Document {
    Unknown,
    Whole,
}

#[derive(Debug, Clone, Copy)]
enum HtmlScanState {
    /// At the start of the page, where a byte order mark may announce UTF-16.
    Start,
    Text,
    /// After `<`, while the tag's name is read.
    Name,
    /// In a tag, after its name. `raw` is the raw element that the tag opens.
    Tag {
        within: TagPosition,
        raw: Option<&'static str>,
    },
    /// In `<!…>` or `<?…>` that is not a comment, or after `</` without a name; it ends at `>`.
    Declaration,
    Comment(CommentEnd),
    /// In a raw element. `matched` is the number of bytes of `</name` that were just read.
    Raw {
        name: &'static str,
        matched: usize,
    },
    Script(ScriptState),
}

/// The part of a comment's end that was just read (HTML 13.2.5.43 to 13.2.5.52).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CommentEnd {
    /// Before the second dash of `<!--`.
    Opening,
    /// After `<!--`. `<!-->` is a whole comment.
    Start,
    /// After `<!---`. `<!--->` is a whole comment.
    StartDash,
    Text,
    Dash,
    Dashes,
    /// After `--!`.
    Bang,
}

/// The position in a tag. A quote opens a value only where the value begins (HTML 13.2.5.37):
/// many pages have tags such as `<meta content="a 5" screen">`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TagPosition {
    Names,
    /// After `=`.
    BeforeValue,
    /// In a value without quotes.
    Unquoted,
    Quoted(u8),
}

impl Injector {
    /// Returns an injector for one page.
    pub fn new(snippet: Bytes) -> Self {
        Self {
            snippet: Some(snippet),
            state: HtmlScanState::Start,
            held: BytesMut::new(),
            seen: 0,
            document: Document::Unknown,
        }
    }

    /// Returns whether the snippet was put in.
    pub fn is_done(&self) -> bool {
        self.snippet.is_none()
    }

    /// Takes the next bytes of the page and returns the bytes for the visitor.
    pub fn feed(&mut self, chunk: Bytes) -> Bytes {
        if self.is_done() || self.gave_up() {
            return self.with_held(chunk);
        }
        let data = self.with_held(chunk);
        // The bytes that were held back, ten at most, are read again.
        let mut tag = None;
        let mut position = 0;
        while let Some(byte) = data.get(position).copied() {
            if self.seen + position >= FURTHEST {
                self.seen = FURTHEST;
                return data;
            }
            if matches!(self.state, HtmlScanState::Text) && byte == b'<' {
                tag = Some(position);
                self.state = HtmlScanState::Name;
                position += 1;
                continue;
            }
            if let HtmlScanState::Name = self.state {
                let start = tag.unwrap_or(position);
                let name = data.get(start + 1..position).unwrap_or_default();
                match decide(name, byte) {
                    TagName::Unfinished => {}
                    TagName::Here => return self.inject(&data, start),
                    TagName::Document(next) => {
                        self.document = Document::Whole;
                        self.state = next;
                    }
                    TagName::Other(next) => {
                        self.state = next;
                        // This byte may end the tag, or start another.
                        continue;
                    }
                }
                position += 1;
                continue;
            }
            if let HtmlScanState::Start = self.state {
                if data.len() < 2 {
                    break;
                }
                let utf16 = matches!(data.get(..2), Some([0xfe, 0xff] | [0xff, 0xfe]));
                if utf16 {
                    self.seen = FURTHEST;
                    return data;
                }
                self.state = HtmlScanState::Text;
                continue;
            }
            self.state = step(self.state, byte);
            position += 1;
        }
        let undecided = match self.state {
            HtmlScanState::Start => Some(0),
            HtmlScanState::Name => tag,
            _ => None,
        };
        match undecided {
            Some(start) => {
                self.held = BytesMut::from(data.get(start..).unwrap_or_default());
                if matches!(self.state, HtmlScanState::Name) {
                    self.state = HtmlScanState::Text;
                }
                self.seen += start;
                data.slice(..start.min(data.len()))
            }
            None => {
                self.seen += data.len();
                data
            }
        }
    }

    /// Ends the page and returns its last bytes for the visitor.
    pub fn finish(&mut self) -> Bytes {
        let mut last = std::mem::take(&mut self.held);
        if self.document == Document::Whole
            && matches!(self.state, HtmlScanState::Text)
            && !self.gave_up()
        {
            if let Some(snippet) = self.snippet.take() {
                last.extend_from_slice(&snippet);
            }
        }
        last.freeze()
    }

    fn gave_up(&self) -> bool {
        self.seen >= FURTHEST
    }

    fn with_held(&mut self, chunk: Bytes) -> Bytes {
        if self.held.is_empty() {
            return chunk;
        }
        let mut joined = std::mem::take(&mut self.held);
        joined.extend_from_slice(&chunk);
        joined.freeze()
    }

    fn inject(&mut self, data: &Bytes, at: usize) -> Bytes {
        let snippet = self.snippet.take().unwrap_or_default();
        let (before, after) = data.split_at(at.min(data.len()));
        let mut joined = BytesMut::with_capacity(data.len() + snippet.len());
        joined.extend_from_slice(before);
        joined.extend_from_slice(&snippet);
        joined.extend_from_slice(after);
        joined.freeze()
    }
}

/// The meaning of a tag's name, as far as it was read.
enum TagName {
    Unfinished,
    /// `</head` or `<body`.
    Here,
    /// `<!doctype` or `<html`, and the state to continue with.
    Document(HtmlScanState),
    Other(HtmlScanState),
}

/// Decides what the next byte makes of a tag's name. `name` is the text between `<` and `byte`.
fn decide(name: &[u8], byte: u8) -> TagName {
    let tag = HtmlScanState::Tag {
        within: TagPosition::Names,
        raw: None,
    };
    if name.is_empty() {
        return match byte {
            b'!' | b'/' | b'?' => TagName::Unfinished,
            _ if byte.is_ascii_alphabetic() => TagName::Unfinished,
            // A lone `<` is text.
            _ => TagName::Other(HtmlScanState::Text),
        };
    }
    if let Some(rest) = name.strip_prefix(b"!") {
        return declaration(rest, byte);
    }
    if name.starts_with(b"?") {
        return TagName::Other(HtmlScanState::Declaration);
    }
    let (closes, rest) = match name.strip_prefix(b"/") {
        Some(rest) => (true, rest),
        None => (false, name),
    };
    if closes && rest.is_empty() && !byte.is_ascii_alphabetic() {
        // `</` without a name starts a bogus comment, which ends at the next `>`.
        return TagName::Other(HtmlScanState::Declaration);
    }
    let ends = byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/');
    if !ends {
        return if rest.len() >= LONGEST_NAME {
            TagName::Other(tag)
        } else {
            TagName::Unfinished
        };
    }
    let is = |wanted: &str| rest.eq_ignore_ascii_case(wanted.as_bytes());
    if (closes && is("head")) || (!closes && is("body")) {
        return TagName::Here;
    }
    if !closes && is("html") {
        return TagName::Document(step(tag, byte));
    }
    let raw = RAW.iter().copied().find(|raw| !closes && is(raw));
    let within = TagPosition::Names;
    TagName::Other(HtmlScanState::Tag { within, raw })
}

fn declaration(rest: &[u8], byte: u8) -> TagName {
    match (rest, byte) {
        ([], b'-') => TagName::Unfinished,
        ([b'-'], b'-') => TagName::Other(HtmlScanState::Comment(CommentEnd::Opening)),
        ([b'-'], _) => TagName::Other(HtmlScanState::Declaration),
        _ => {
            let expected = b"doctype";
            match expected.get(rest.len()) {
                Some(wanted)
                    if byte.eq_ignore_ascii_case(wanted) && expected.len() > rest.len() + 1 =>
                {
                    TagName::Unfinished
                }
                Some(wanted) if byte.eq_ignore_ascii_case(wanted) => {
                    TagName::Document(HtmlScanState::Declaration)
                }
                _ => TagName::Other(HtmlScanState::Declaration),
            }
        }
    }
}

/// Returns the state after the next byte, outside of names.
fn step(state: HtmlScanState, byte: u8) -> HtmlScanState {
    match state {
        HtmlScanState::Start | HtmlScanState::Name | HtmlScanState::Text => HtmlScanState::Text,
        HtmlScanState::Tag { within, raw } => tag(within, raw, byte),
        HtmlScanState::Declaration if byte == b'>' => HtmlScanState::Text,
        HtmlScanState::Declaration => state,
        HtmlScanState::Comment(comment) => HtmlScanState::Comment(match (comment, byte) {
            (
                CommentEnd::Start | CommentEnd::StartDash | CommentEnd::Dashes | CommentEnd::Bang,
                b'>',
            ) => return HtmlScanState::Text,
            (CommentEnd::Opening, _) => CommentEnd::Start,
            (CommentEnd::Start, b'-') => CommentEnd::StartDash,
            (CommentEnd::StartDash | CommentEnd::Dash | CommentEnd::Dashes, b'-') => {
                CommentEnd::Dashes
            }
            (CommentEnd::Text | CommentEnd::Bang, b'-') => CommentEnd::Dash,
            (CommentEnd::Dashes, b'!') => CommentEnd::Bang,
            _ => CommentEnd::Text,
        }),
        HtmlScanState::Raw { name, matched } => raw(name, matched, byte),
        HtmlScanState::Script(script) => match script.step(byte) {
            ScriptStep::Within(script) => HtmlScanState::Script(script),
            ScriptStep::Ended if byte == b'>' => HtmlScanState::Text,
            ScriptStep::Ended => HtmlScanState::Tag {
                within: TagPosition::Names,
                raw: None,
            },
        },
    }
}

/// Returns the state after the next byte of a tag.
fn tag(within: TagPosition, raw: Option<&'static str>, byte: u8) -> HtmlScanState {
    let within = match (within, byte) {
        (TagPosition::Quoted(open), _) if byte == open => TagPosition::Names,
        (TagPosition::Quoted(_), _) => within,
        (_, b'>') => {
            return match raw {
                None => HtmlScanState::Text,
                Some("script") => HtmlScanState::Script(ScriptState::new()),
                Some(name) => HtmlScanState::Raw { name, matched: 0 },
            }
        }
        (TagPosition::Names, b'=') => TagPosition::BeforeValue,
        (TagPosition::Names, _) => TagPosition::Names,
        (TagPosition::BeforeValue, b'"' | b'\'') => TagPosition::Quoted(byte),
        (TagPosition::BeforeValue, _) if byte.is_ascii_whitespace() => within,
        (TagPosition::Unquoted, _) if byte.is_ascii_whitespace() => TagPosition::Names,
        (TagPosition::BeforeValue | TagPosition::Unquoted, _) => TagPosition::Unquoted,
    };
    HtmlScanState::Tag { within, raw }
}

/// Returns the state after the next byte of a raw element, which only its own end tag ends.
fn raw(name: &'static str, matched: usize, byte: u8) -> HtmlScanState {
    let again = HtmlScanState::Raw {
        name,
        matched: usize::from(byte == b'<'),
    };
    match matched {
        0 => again,
        1 if byte == b'/' => HtmlScanState::Raw { name, matched: 2 },
        1 => again,
        _ => match name.as_bytes().get(matched - 2) {
            Some(wanted) if byte.eq_ignore_ascii_case(wanted) => HtmlScanState::Raw {
                name,
                matched: matched + 1,
            },
            Some(_) => again,
            None if byte == b'>' => HtmlScanState::Text,
            None if byte.is_ascii_whitespace() || byte == b'/' => HtmlScanState::Tag {
                within: TagPosition::Names,
                raw: None,
            },
            None => again,
        },
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
